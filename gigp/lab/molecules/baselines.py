"""Least-squares fits of molecules' properties, which a network must beat to be of use.

Each is a linear fit, with an intercept, of the training molecules' properties on a few numbers of a
molecule, with positions relative to the center of mass.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gigp.lab.molecules.atoms import MASSES
from gigp.lab.molecules.clouds import MoleculeClouds
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
    """Errors of a linear fit on the test molecules in the units of tables, (n_test, T); NaN where a
    target is not known.

    Args:
        data: set up.
        known: numbers of every molecule, (M, k).
    """
    train, test = data.indices["train"], data.indices["test"]
    values = data.values.double()
    y, missing = values[train], values[train].isnan()
    solution = _solve(known[train], y.nan_to_num(0.0))
    for t in missing.any(0).nonzero()[:, 0].tolist():
        labelled = ~missing[:, t]
        solution[:, t] = _solve(known[train][labelled], y[labelled, t])
    factors = torch.tensor([target.factor for target in data.targets], dtype=torch.double)
    return (known[test] @ solution - values[test]) * factors


def _solve(x: Tensor, y: Tensor) -> Tensor:
    """The solution of least norm: an element may have no atom in a shell."""
    return torch.linalg.pinv(x.T @ x, hermitian=True) @ (x.T @ y)


def molecule_errors(data: MoleculeClouds, names: Sequence[str] = tuple(NAMES)) -> Baselines:
    """Mean absolute test error of each baseline by target.

    Args:
        data: set up.
        names: names of the baselines.
    """
    known, targets = descriptors(data), [target.name for target in data.targets]
    errors = {name: fit_errors(data, known[name]).abs().nanmean(0).tolist() for name in names}
    return {name: dict(zip(targets, values, strict=True)) for name, values in errors.items()}


def trivial_errors(data: MoleculeClouds) -> Baselines:
    """Mean absolute test errors, by target, of what needs no network: `mean`, the mean of the
    training set, and of `NAMES` the fits of fewer numbers than there are training molecules.

    Args:
        data: set up.
    """
    known = descriptors(data)
    train, test = (data.true_targets(data.indices[part]) for part in ("train", "test"))
    fits = [name for name in NAMES if known[name].shape[1] < len(train)]
    mean = (test - train.nanmean(0)).abs().nanmean(0).tolist()
    names = [target.name for target in data.targets]
    return {"mean": dict(zip(names, mean, strict=True))} | molecule_errors(data, fits)
