"""What the tests of a run say of its data: errors by kind of molecule, the worst, confusions."""

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.molecules.atoms import SYMBOLS, formula
from gigp.lab.molecules.baselines import fit_errors
from gigp.lab.molecules.bonds import Geometry
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.molecules.references import count_atoms

WORST = 10  # molecules that are drawn
WRONG = 24  # images that are shown
SMALL = 0.1  # part of the spread of a target that references leave
ALIKE = 3  # wrong images of one confusion at most
CHUNK = 10_000  # molecules at a time: bounds the memory
THUMBNAIL = 96  # pixels on a side of an image that is shown, at most
FEWEST = 5  # molecules of a group at least
BASELINE = "least squares on the elements"


class Group(NamedTuple):
    """Test molecules of one size, or with one element.

    Attributes:
        name: `7`, or `N`.
        num: how many they are.
        ratios: their mean absolute error over that of all test molecules, by target; None: none of
            them has it.
    """

    name: str
    num: int
    ratios: list[float | None]


class Drawn(NamedTuple):
    """A molecule in a plane, those behind first.

    Attributes:
        name, formula: what it is.
        atoms: nuclear charge, x and y in Angstrom.
        bonds: x, y of both ends.
        size: half of the side of a square that holds it.
        facts: its worst targets with their errors and true values, in the units of tables.
    """

    name: str
    formula: str
    atoms: list[tuple[int, float, float]]
    bonds: list[tuple[float, float, float, float]]
    size: float
    facts: list[str]


def tested_data(data: PointCloudDataModule) -> PointCloudDataModule:
    """The molecules or images themselves, where a run is on features of another run."""
    source = getattr(data, "source", None)
    return source if isinstance(source, PointCloudDataModule) else data


def on_host(data: PointCloudDataModule) -> PointCloudDataModule:
    """The same data, whose arrays a training may have moved to a device."""
    copied = copy.copy(data)
    for name in data.arrays:
        array = getattr(data, name)
        setattr(copied, name, None if array is None else array.cpu())
    return copied


def true_values(data: PointCloudDataModule) -> tuple[np.ndarray, list[bool]]:
    """Targets of the test set in the units of tables, (n, T); and of which of them what counting
    atoms explains is left out, because nothing else could be seen beside it.
    """
    indices, factors = data.indices["test"], np.array([target.factor for target in data.targets])
    whole = data.true_targets(indices).numpy()
    rest = data.values.cpu()[indices].double().numpy() * factors
    small = [
        bool(np.nanstd(rest[:, t]) < SMALL * np.nanstd(whole[:, t])) for t in range(len(factors))
    ]
    return np.where(small, rest, whole), small


def baseline_errors(data: MoleculeClouds) -> np.ndarray:
    """Errors of a linear fit on the number of atoms of each element, (n, T)."""
    assert data.atoms is not None
    elements, num = [*data.atoms.charges], max(data.atoms.charges) + 1
    counts = [count_atoms(charges, num)[:, elements] for charges in data.charges.split(CHUNK)]
    known = torch.from_numpy(np.pad(np.concatenate(counts), ((0, 0), (0, 1)), constant_values=1))
    return fit_errors(data, known).numpy()


def by_size_and_elements(
    data: MoleculeClouds, errors: np.ndarray
) -> tuple[list[Group], list[Group]]:
    """Test molecules by their number of heavy atoms, and by the elements that they have.

    Args:
        errors: predictions minus targets, (n, T).
    """
    charges = data.charges[data.indices["test"]].numpy()
    heavy = (charges > 1).sum(1)
    sizes = [(str(n), heavy == n) for n in np.unique(heavy).tolist()]
    elements = [(SYMBOLS[z], (charges == z).any(1)) for z in np.unique(charges[charges > 0])]
    return [
        [
            Group(name, int(held.sum()), _ratios(errors, held))
            for name, held in groups
            if held.sum() >= FEWEST
        ]
        for groups in (sizes, elements)
    ]  # type: ignore[return-value]


def _ratios(errors: np.ndarray, held: np.ndarray) -> list[float | None]:
    """Mean absolute error of some rows over that of all, by target; None where none is known."""
    part, whole = _mean_absolute(errors[held]), _mean_absolute(errors)
    ratios = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return [None if np.isnan(ratio) else float(ratio) for ratio in ratios]


def _mean_absolute(errors: np.ndarray) -> np.ndarray:
    """Mean over the rows that are known, (T,); NaN where none is."""
    known = np.isfinite(errors)
    total = np.where(known, np.abs(errors), 0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(len(total), np.nan), where=known.any(0))


def worst_molecules(data: MoleculeClouds, errors: np.ndarray) -> list[Drawn]:
    """Those with the largest errors, over the mean error of each target, averaged over targets.

    Args:
        errors: predictions minus targets, (n, T).
    """
    relative = np.abs(errors) / np.maximum(_mean_absolute(errors), 1e-12)
    score = np.where(np.isfinite(relative), relative, 0).mean(1)
    places = np.argsort(-score, kind="stable")[:WORST]
    indices = data.indices["test"][torch.from_numpy(places)]
    names, truth = data.sample_names(indices), data.true_targets(indices).numpy()
    drawn = []
    for place, index, name, row in zip(places, indices.tolist(), names, truth, strict=True):
        order = np.argsort(-np.nan_to_num(relative[place]))[:2]  # its worst targets
        facts = [
            f"{data.targets[t].name}: {_fact(row[t], errors[place, t])} {data.targets[t].unit}"
            for t in order
            if np.isfinite(row[t])
        ]
        drawn.append(_draw(data, index, name, facts))
    return drawn


def _fact(truth: float, error: float) -> str:
    """An error with three digits, and the truth with as many decimals."""
    digits = max(0, 2 - int(np.floor(np.log10(max(abs(error), 1e-6)))))
    return f"{error:+,.{digits}f} from {truth:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _draw(data: MoleculeClouds, index: int, name: str, facts: list[str]) -> Drawn:
    """A molecule seen along the direction in which it is flattest."""
    mask = data.mask[index]
    charges = data.charges[index][mask].long().numpy()
    scale = data.positions_std if data.scale_positions and data.positions_std else 1.0
    pos = scale * data.positions[index][mask].double().numpy()
    pos = pos - pos.mean(0)
    axes = np.linalg.svd(pos, full_matrices=True)[2]
    flat = pos @ axes.T  # (n, 3), the widest direction first
    order = np.argsort(flat[:, 2])
    geometry = Geometry.of(charges[None], pos[None])
    ends = np.argwhere(np.triu(geometry.bonded[0]))
    return Drawn(
        name,
        formula(charges.tolist()),
        [(int(charges[i]), *flat[i, :2].round(2).tolist()) for i in order],
        [(*flat[i, :2].round(2).tolist(), *flat[j, :2].round(2).tolist()) for i, j in ends],
        float(np.abs(flat[:, :2]).max()) + 0.8,
        facts,
    )


def confusion(samples: Mapping[str, np.ndarray], num: int) -> list[list[int]]:
    """How many test images of each class, a row, were taken for each class, a column."""
    table = np.zeros((num, num), np.int64)
    np.add.at(table, (samples["label"], samples["predicted"]), 1)
    return table.tolist()


def wrong_images(data: ImageClouds, samples: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Images that were taken for another class, those of the commonest confusions first."""
    label, predicted = samples["label"].astype(int), samples["predicted"].astype(int)
    table = np.array(confusion(samples, data.out_dim))
    wrong = np.flatnonzero(label != predicted)
    often, seen = table[label[wrong], predicted[wrong]], Counter[tuple[int, int]]()
    chosen: list[int] = []
    for place in wrong[np.argsort(-often, kind="stable")].tolist():
        seen[pair := (label[place], predicted[place])] += 1
        chosen += [place] if seen[pair] <= ALIKE and len(chosen) < WRONG else []
    indices = data.indices["test"][chosen]
    names, classes = data.sample_names(indices), data.class_names()
    return [
        {
            "name": name,
            "true": classes[label[place]],
            "predicted": classes[predicted[place]],
            "image": data_uri(data.images[index].numpy()),
        }
        for place, index, name in zip(chosen, indices.tolist(), names, strict=True)
    ]


def data_uri(image: np.ndarray) -> str:
    """A gray image (side, side) uint8 as the address of a PNG."""
    import base64
    import io

    from PIL import Image

    file = io.BytesIO()
    picture = Image.fromarray(image)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
