"""From an input file to one page that opens without a network; see docs/using_models.md."""

import json
import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError, printable
from gigp.groups import SO3
from gigp.lab.data.entries import InputEntry, iterate_entries
from gigp.lab.images.clouds import turn_images
from gigp.lab.molecules.atoms import COLORS, RADII, SYMBOLS, formula
from gigp.lab.molecules.bonds import geometries
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.prediction.explain.orbit_sums import OrbitSum, check_model, length_unit, orbit_sum
from gigp.lab.prediction.inputs import ImageInputs
from gigp.lab.prediction.models import load
from gigp.lab.prediction.predictor import Predictor
from gigp.lab.prediction.steady import steady_state
from gigp.lab.prediction.table import predict_entries
from gigp.lab.prediction.trained import TrainedModel
from gigp.lab.runs.quiet import quiet_libraries
from gigp.lab.web import render

log = logging.getLogger(__name__)

MOST = 12  # inputs on a page, unless more are asked for
ORIENTATIONS = 6  # of every molecule, its own first
ANGLES = (0, 45, 90, 135, 180, 225, 270, 315)  # of every image, in degrees
START = "homo"  # the target that is shown at first, where there is one of this name
Page = dict[str, Any]


def explain(
    run: str | Path | Sequence[str | Path], path: str | Path, limit: int = MOST, check: bool = True
) -> tuple[str, list[InputEntry]]:
    """Show the orbits of molecules or images from a file, and what each adds to the predictions.

    Args:
        run: folder of a run or model, or the name of a model, see `load`; one alone.
        path: input, see docs/using_models.md for the formats.
        limit: how many of them, the first that can be predicted.
        check: refuse what the model has never seen.

    Returns:
        A page in HTML, empty where nothing could be predicted; and the entries of the input that
        were read, without their contents.

    Raises:
        InputError: the run or the input as a whole is wrong, or the model is no sum over orbits.
    """
    quiet_libraries()
    predictor = load(run, check=False)
    if len(predictor.models) > 1:
        raise InputError(
            f"run= names {len(predictor.models)} models; the orbits are those of one, give one."
        )
    check_model(predictor.models[0])
    tally, entries = predictor.tally(), []
    shown: list[Page] = []
    source = iterate_entries(Path(path), predictor.readers)
    while len(shown) < limit and (chunk := list(islice(source, limit - len(shown)))):
        for entry, row in predict_entries(predictor, chunk, check, tally):
            if row is not None:
                shown.append(_describe(predictor, entry, row))
            entries.append(entry._replace(content=None))
    if len(shown) == limit and next(source, None) is not None:
        log.warning("There are more than the first %d that are shown; limit=N shows more.", limit)
    for sentence in tally.sentences():
        log.warning("Warning: %s", printable(sentence))
    return (_render(predictor, Path(path), shown) if shown else ""), entries


def _render(predictor: Predictor, path: Path, shown: Sequence[Page]) -> str:
    """The page of inputs that are described."""
    model = predictor.models[0]
    content = _describe_model(model) | {"items": shown}
    # a name that ends the script, or begins a comment in it, is no longer one
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return render(__package__, "page.html.j2", data=data, file=printable(path.name), **content)


def _describe_model(model: TrainedModel) -> Page:
    """What the page tells of the model, and of all inputs."""
    pool, unit, net = check_model(model), length_unit(model), model.module.model
    images = isinstance(model.inputs, ImageInputs)
    folder = model.run.resolve()
    targets, net_name = _targets(model), type(net.backbone).__name__
    name = f"{folder.parent.name}/{folder.name}" if folder.name.startswith("seed") else folder.name
    return {
        "kind": "image" if images else "molecule",
        "model": printable(name),
        "network": f"{'LieConv' if net_name == 'LieResNet' else net_name} on {net.backbone.group}",
        "group": str(pool.group),
        "center": _center(pool.center, images),
        "invariant": model.is_invariant,
        "length": "pixels" if images else "Å",
        "targets": targets,
        "start": next((i for i, t in enumerate(targets) if t["name"] == START), 0),
        "centers": [_short(unit * c, 5) for c in pool.orbits.centers.tolist()],
        "reach": _short(unit * pool.orbits.reach, 2),
        "colors": COLORS,
        "symbols": {z: SYMBOLS[z] for z in range(1, len(SYMBOLS))} if not images else {},
    }


def _center(center: str, images: bool) -> str:
    """What the orbits lie about, in words."""
    origin = "the middle of the image" if images else "the origin"
    return {"origin": origin, "mass": "the center of mass"}.get(center, "the centroid")


def _targets(model: TrainedModel) -> list[Page]:
    """Names and units of the numbers that are sums."""
    if isinstance(model.inputs, ImageInputs):
        noun = model.inputs.data.noun
        return [{"name": f"{noun} {c}", "unit": "logit"} for c in model.inputs.data.classes]
    return [{"name": target.name, "unit": target.unit} for target in model.data.targets]


def _describe(predictor: Predictor, entry: InputEntry, row: list[float]) -> Page:
    """One input: how it looks, its orbits, and its numbers as they are and turned.

    Args:
        row: its predictions.
    """
    model, cells = predictor.models[0], predictor.cells(row)
    with steady_state(predictor.device):
        parts = orbit_sum(model, entry.content)
        turned, matrices = _turned(model, entry.content)
    total = parts.total
    if isinstance(model.inputs, ImageInputs):
        look = _image(entry.content) | {"said": cells[0], "shares": cells[1:]}
    else:
        look, total = _molecule(entry.content, parts), torch.tensor(row, dtype=torch.float64)
    return {
        "name": printable(entry.name) or f"{Path(entry.file).name} {entry.number}",
        **look,
        "values": [_short(x, 10) for x in total.tolist()],
        "orbits": parts.orbits.tolist(),
        "counts": [_short(n, 4) for n in parts.counts.tolist()],
        "adds": [[_short(x, 9) for x in row] for row in parts.adds.tolist()],
        "constants": [
            [name, [_short(x, 12) for x in values.tolist()]]
            for name, values in parts.constants.items()
        ],
        "turned": [[_short(x, 12) for x in row] for row in turned.tolist()],
        "orientations": matrices,
    }


def _turned(model: TrainedModel, content: Any) -> tuple[Tensor, list]:
    """The numbers of an input in several orientations, its own first, (R, T), and these: rotations
    of space, or degrees counterclockwise.
    """
    if isinstance(model.inputs, ImageInputs):
        copies = [
            turn_images(content[None], torch.tensor(float(angle)), model.inputs.data.outside)[0]
            for angle in ANGLES
        ]
        return torch.stack([orbit_sum(model, copy).total for copy in copies]), [*ANGLES]
    generator = torch.Generator().manual_seed(0)
    turns = SO3().random(ORIENTATIONS - 1, generator=generator, dtype=torch.float64)
    turns = torch.cat([torch.eye(3, dtype=torch.float64)[None], turns])
    copies = [content._replace(positions=content.positions @ turn.T) for turn in turns]
    rounded = [[_short(x, 5) for x in turn.flatten().tolist()] for turn in turns]
    return model.predict(copies)[0], rounded


def _molecule(molecule: Molecule, parts: OrbitSum) -> Page:
    """Atoms as nuclear charge and position about the center of the orbits, radius, pairs that are
    bonded, and the orbits of every atom with its share in each.
    """
    (geometry,) = geometries([molecule])
    places = zip(molecule.charges.tolist(), parts.pos.tolist(), parts.radius.tolist(), strict=True)
    return {
        "formula": formula(molecule.charges.tolist()),
        "atoms": [[z, *(_short(x, 5) for x in pos), _short(q, 5)] for z, pos, q in places],
        "sizes": [_short(RADII[z], 3) for z in molecule.charges.tolist()],
        "bonds": np.argwhere(np.triu(geometry.bonded[0])).tolist(),
        "members": [_shares(row) for row in parts.members],
    }


def _image(image: Tensor) -> Page:
    """Gray values from 0 to 255, row by row, as two hexadecimal digits each."""
    return {"side": len(image), "pixels": bytes(image.round().byte().flatten().tolist()).hex()}


def _shares(row: Tensor) -> list[list[float]]:
    """Places of the orbits that hold a point among those of its input, and its shares in them."""
    held = row.nonzero()[:, 0].tolist()
    return [[k, _short(row[k].item(), 3)] for k in held]


def _short(value: float, digits: int) -> float:
    """A number with so many digits."""
    return float(f"{float(value):.{digits}g}")
