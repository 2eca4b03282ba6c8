"""Baselines by least squares, without a network, that a pool must beat to be of use.

On molecules each is a linear fit, with an intercept, of the training molecules' properties on a few
numbers of a molecule, with positions relative to the center of mass; on images the most frequent
class, and a linear fit of the classes on the pixels.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from gigp.lab.images.clouds import ImageClouds
from gigp.lab.molecules.atoms import MASSES
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.molecules.qm9 import QM9
from gigp.pointcloud import center_points

SHELLS = 25
WIDEST = 8.0  # Angstrom, the radius of the last shell
NAMES = {
    "counts": "least squares: number of atoms of each element",
    "moments": "the same, and the sum of r^2 for each element",
    "shells": "the same, and 25 shells of radii for each element",
}

Baselines = dict[str, dict[str, float]]  # test errors by baseline and metric, in units of tables


def descriptors(data: MoleculeClouds) -> dict[str, Tensor]:
    """The numbers that each baseline knows of every molecule, (M, k) in double precision.

    Args:
        data: set up.
    """
    assert data.atoms is not None
    charges, elements = data.charges.long(), len(data.atoms.charges)
    masses = torch.tensor(MASSES)[charges]
    scale = data.positions_std if data.scale_positions and data.positions_std else 1.0
    pos = center_points(scale * data.positions, data.mask, masses)  # in Angstrom
    radius = pos.norm(dim=-1)[data.mask].double()  # (A,) of all atoms
    molecule = data.mask.nonzero()[:, 0]  # (A,)
    element = torch.searchsorted(torch.tensor(data.atoms.charges), charges[data.mask])  # (A,)
    num = len(charges)

    def sums(values: Tensor, columns: Tensor, width: int) -> Tensor:
        """Sums of one value for each atom in a column of its molecule, (M, width)."""
        flat = torch.bincount(molecule * width + columns, values, minlength=num * width)
        return flat.view(num, width)

    counts = sums(torch.ones_like(radius), element, elements)
    moments = sums(radius.square(), element, elements)
    # a hat function is 1 at the radius of its shell and 0 at the radii of its neighbors
    place = (radius * ((SHELLS - 1) / WIDEST)).clamp(max=SHELLS - 1 - 1e-9)
    inner, outside = place.long(), place.frac()
    width = SHELLS * elements
    shells = sums(1 - outside, element * SHELLS + inner, width)
    shells += sums(outside, element * SHELLS + inner + 1, width)
    one = torch.ones(num, 1, dtype=torch.double)
    return {
        "counts": torch.cat([counts, one], 1),
        "moments": torch.cat([counts, moments, one], 1),
        "shells": torch.cat([counts, shells, one], 1),
    }


def fit_errors(data: MoleculeClouds, known: Tensor) -> Tensor:
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


def molecule_errors(data: MoleculeClouds, names: Sequence[str] = tuple(NAMES)) -> Baselines:
    """Mean absolute test error of each baseline by target.

    Args:
        data: set up.
        names: names of the baselines.
    """
    known, targets = descriptors(data), [target.name for target in data.targets]
    errors = {name: fit_errors(data, known[name]).abs().mean(0).tolist() for name in names}
    return {name: dict(zip(targets, values, strict=True)) for name, values in errors.items()}


def image_errors(data: ImageClouds) -> Baselines:
    """Percent of wrong test images of each baseline.

    Args:
        data: set up.
    """
    train, test = data.indices["train"], data.indices["test"]
    pixels = (data.images.flatten(1)[:, data.points] / 255).double()
    known = torch.cat([pixels, torch.ones(len(pixels), 1, dtype=torch.double)], 1)  # (M, N + 1)
    classes = torch.nn.functional.one_hot(data.labels, data.out_dim).double()  # (M, C)
    x = known[train]
    fit = torch.linalg.pinv(x.T @ x, hermitian=True) @ (x.T @ classes[train])
    predicted = {
        "most frequent class": classes[train].sum(0).expand(len(test), -1),
        "least squares on the pixels": known[test] @ fit,
    }
    wrong = {name: values.argmax(1) != data.labels[test] for name, values in predicted.items()}
    return {name: {"error": 100 * w.double().mean().item()} for name, w in wrong.items()}


@cache
def baseline_errors(
    root: Path, train_size: int | None = None, names: tuple[str, ...] = tuple(NAMES)
) -> Baselines:
    """Mean absolute test error of each baseline on QM9 by target; computed once.

    Args:
        root: folder of the data.
        train_size: number of training molecules; None takes all 100,000.
        names: names of the baselines.
    """
    data = QM9(
        root=str(root), cache=str(root), target="all", reference="atoms", train_size=train_size
    )
    data.setup()
    return molecule_errors(data, names)
