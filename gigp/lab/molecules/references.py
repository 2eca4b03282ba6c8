"""Reference values of atoms, subtracted from a target before training.

A network need not learn what counting atoms explains. Every method gives one table of values by
nuclear charge; the reference of a molecule is their sum over its atoms.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gigp.lab.data.targets import TARGETS, Target
from gigp.lab.molecules.atoms import ELEMENTS

Reference = Literal["atoms", "composition", "none"]
ATOM_HEAT_CAPACITY = 2.981  # cal/(mol K), 3/2 R


def atom_references() -> np.ndarray:
    """Targets of free atoms, (10, 12) by nuclear charge; 0 where none is defined.

    Energies are those that PyTorch Geometric lists. It lists none for Cv: a free atom has 3/2 R, as
    in QM9's own table.
    """
    from torch_geometric.datasets.qm9 import atomrefs

    references = np.zeros((10, len(TARGETS)))
    for index, values in atomrefs.items():
        references[list(ELEMENTS.values()), index] = values
    references[list(ELEMENTS.values()), list(TARGETS).index("Cv")] = ATOM_HEAT_CAPACITY
    return references


def free_atoms(targets: tuple[Target, ...], table: np.ndarray) -> np.ndarray:
    """The columns of `atom_references` for some targets; 0 where `Target.referenced` is false.

    Args:
        targets: T targets.
        table: (10, 12), as from `atom_references`.

    Returns:
        (10, T) float64 by nuclear charge.
    """
    columns = [list(TARGETS).index(target.name) for target in targets]
    return table[:, columns] * [target.referenced for target in targets]


def composition(counts: np.ndarray, targets: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Least-squares fit of targets on the number of atoms of each element, with an intercept.

    The intercept is left to the standardization of targets, which subtracts their mean. What the
    molecules do not determine, such as an element that none of them has, stays as in `start`.

    Args:
        counts: atoms by nuclear charge of M molecules, (M, Z).
        targets: quantities before references are subtracted, (M, T); NaN where not known.
        start: a first guess by nuclear charge, (Z, T).

    Returns:
        (Z, T) float64 by nuclear charge.
    """
    known = np.isfinite(targets)
    if not known.all():  # each target on the molecules that have it
        columns = [
            composition(counts[k], targets[k, i : i + 1], start[:, i : i + 1])
            for i, k in enumerate(known.T)
        ]
        return np.concatenate(columns, 1)
    rest = targets - counts @ start
    # for centered columns, the least-squares solution of smallest norm is 0 for absent elements
    centered, rest = counts - counts.mean(0), rest - rest.mean(0)
    return start + np.linalg.lstsq(centered, rest, rcond=1e-10)[0]


def count_atoms(charges: Tensor, num: int) -> np.ndarray:
    """Atoms of every molecule by nuclear charge.

    Args:
        charges: nuclear charges, 0 for padding, (M, N).
        num: number of columns, larger than any charge.

    Returns:
        (M, num) float64; column 0, of padding, is 0.
    """
    counts = torch.zeros(len(charges), num, dtype=torch.float64)
    ones = torch.ones(charges.shape, dtype=torch.float64)
    counts.scatter_add_(1, charges.long(), ones)
    counts[:, 0] = 0
    return counts.numpy()
