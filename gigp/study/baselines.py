"""Baselines by least squares on QM9, without a network, that a pool must beat to be of use.

Each is a linear fit, with an intercept, of the training molecules' properties on a few numbers of a
molecule. Positions are relative to the center of mass.
"""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from gigp.datasets import QM9
from gigp.datasets.atoms import ELEMENTS, MASSES
from gigp.pointcloud import center_points

SHELLS = 25
WIDEST = 8.0  # Angstrom, the radius of the last shell
NAMES = {
    "counts": "least squares: number of atoms of each element",
    "moments": "the same, and the sum of r^2 for each element",
    "shells": "the same, and 25 shells of radii for each element",
}


def descriptors(data: QM9) -> dict[str, Tensor]:
    """The numbers that each baseline knows of every molecule, (M, k) in double precision.

    Args:
        data: set up, its positions as they are in the source.
    """
    charges = data.charges.long()
    masses = torch.tensor(MASSES)[charges]
    pos = center_points(data.positions, data.mask, masses)
    radius = pos.norm(dim=-1)[data.mask].double()  # (A,) of all atoms
    molecule = data.mask.nonzero()[:, 0]  # (A,)
    element = element_indices()[charges[data.mask]]  # (A,)
    num = len(charges)

    def sums(values: Tensor, columns: Tensor, width: int) -> Tensor:
        """Sums of one value for each atom in a column of its molecule, (M, width)."""
        flat = torch.bincount(molecule * width + columns, values, minlength=num * width)
        return flat.view(num, width)

    counts = sums(torch.ones_like(radius), element, len(ELEMENTS))
    moments = sums(radius.square(), element, len(ELEMENTS))
    # a hat function is 1 at the radius of its shell and 0 at the radii of its neighbors
    place = (radius * ((SHELLS - 1) / WIDEST)).clamp(max=SHELLS - 1 - 1e-9)
    inner, outside = place.long(), place.frac()
    width = SHELLS * len(ELEMENTS)
    shells = sums(1 - outside, element * SHELLS + inner, width)
    shells += sums(outside, element * SHELLS + inner + 1, width)
    one = torch.ones(num, 1, dtype=torch.double)
    return {
        "counts": torch.cat([counts, one], 1),
        "moments": torch.cat([counts, moments, one], 1),
        "shells": torch.cat([counts, shells, one], 1),
    }


def element_indices() -> Tensor:
    """Place of each nuclear charge in `ELEMENTS`, (10,)."""
    places = torch.zeros(len(MASSES), dtype=torch.long)
    for i, charge in enumerate(ELEMENTS.values()):
        places[charge] = i
    return places


def fit_errors(data: QM9, known: Tensor) -> Tensor:
    """Errors of a linear fit on the test molecules in the units of tables, (n_test, T).

    Args:
        data: set up.
        known: numbers of every molecule, (M, k).
    """
    train, test = data.indices["train"], data.indices["test"]
    values = data.values.double()
    x, y = known[train], values[train]
    # an element may have no atom in a shell: the solution of least norm
    solution = torch.linalg.pinv(x.T @ x, hermitian=True) @ (x.T @ y)
    factors = torch.tensor([target.factor for target in data.targets], dtype=torch.double)
    return (known[test] @ solution - values[test]) * factors


@cache
def baseline_errors(
    root: Path, train_size: int | None = None, names: tuple[str, ...] = tuple(NAMES)
) -> dict[str, dict[str, float]]:
    """Mean absolute test error of each baseline by target, in the units of tables; computed once.

    Args:
        root: folder of the data.
        train_size: number of training molecules; None takes all 100,000.
        names: names of the baselines.
    """
    data = QM9(
        root=str(root), cache=str(root), target="all", reference="atoms", train_size=train_size
    )
    data.setup()
    known = descriptors(data)
    found = {}
    for name in names:
        errors = fit_errors(data, known[name]).abs().mean(0).tolist()
        found[name] = dict(zip([target.name for target in data.targets], errors, strict=True))
    return found
