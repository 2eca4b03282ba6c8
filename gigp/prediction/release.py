"""From a finished run to a small model folder that anyone can predict with.

A model folder holds `config.yaml`, `model.safetensors` and `README.md`. A run on the features or
outputs of another run becomes one model that needs neither of them.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gigp.config.instantiate import load_config
from gigp.datasets import QM9
from gigp.datasets.loader import PointCloudDataModule
from gigp.datasets.readers.molecule import make_molecule
from gigp.errors import InputError
from gigp.files import write_atomically
from gigp.prediction.predictor import Predictor
from gigp.training.build import build_model, build_module
from gigp.training.checkpoints import find_checkpoint, load_checkpoint
from gigp.training.features import BackboneFeatures
from gigp.training.load import load_trained
from gigp.training.module import LitModule
from gigp.training.weights import FILE, save_weights

LARGEST = 4 * 10**6  # bytes of a model
# settings of a run that a model needs; the others are about how and where it was trained
KEPT = ("seed", "target", "pool_on", "lr", "choices", "dataset", "group", "backbone", "pool")
PLACES = {"root": "data", "cache": "data"}  # of a data set, in place of those of a machine
# relative to the spread over molecules; features of a run are kept in half precision
CLOSE = 5e-3


def release_model(
    run: Path, folder: Path, card: str, description: dict[str, Any], half: bool = False
) -> int:
    """Write a model folder.

    Args:
        run: folder of a finished run.
        folder: folder to write; it may exist.
        card: text of README.md.
        description: `data` of the run's record.
        half: store matrices in half precision.

    Returns:
        Bytes of all files.

    Raises:
        InputError: the run cannot be used, the model is larger than 4 MB, or it predicts otherwise
            than the run.
    """
    cfg, data, module = load_whole(run)
    kept = {key: value for key, value in to_dict(cfg).items() if key in KEPT}
    kept["dataset"] |= {key: value for key, value in PLACES.items() if key in kept["dataset"]}
    dataset = type(data).__qualname__
    origin = load_checkpoint(find_checkpoint(_origin(run)))
    checkpoint = {"state_dict": module.state_dict(), dataset: origin.get(dataset, {})}

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".model-") as name:
        draft = Path(name)
        write_atomically(draft / "config.yaml", yaml.safe_dump(kept, sort_keys=False))
        save_weights(draft / FILE, checkpoint, dataset, description, half)
        write_atomically(draft / "README.md", card)
        size = sum(file.stat().st_size for file in draft.iterdir())
        if size > LARGEST:
            raise InputError(
                f"{folder} would have {size:,} bytes; a model may have {LARGEST:,}. Try --half, or "
                "a smaller model."
            )
        _compare(run, draft)
        folder.mkdir(exist_ok=True)
        for file in draft.iterdir():
            os.replace(file, folder / file.name)
    return size


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """A configuration as plain data, resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))


def load_whole(run: Path) -> tuple[DictConfig, PointCloudDataModule, LitModule]:
    """Configuration, data set and model of a run; of a run on the features or outputs of another
    one, those of both together.

    Raises:
        InputError: see `load_trained`.
    """
    cfg, data, module = load_trained(run, setup=False)
    if not isinstance(data, BackboneFeatures):
        return cfg, data, module
    whole = DictConfig(to_dict(load_config(data.run)))
    changes = {key: value for key, value in data.changes.items() if not key.endswith("_size")}
    whole.dataset = {**whole.dataset, **changes}
    whole.pool = to_dict(cfg.pool)
    whole.choices.pool = cfg.choices.pool
    whole.pool_on = "outputs" if data.per_point_outputs else cfg.pool_on

    source: PointCloudDataModule = data.source
    joined = build_module(build_model(whole, source), source, fit=False, lr=cfg.lr)
    joined.load_state_dict(_join(data.trained, module, data.per_point_outputs))
    return whole, source, joined.eval()


def _origin(run: Path) -> Path:
    """The run whose checkpoint has the state of the data set: the one that was trained first."""
    _, data, _ = load_trained(run, setup=False)
    return data.run if isinstance(data, BackboneFeatures) else run


def _join(backbone: LitModule, head: LitModule, on_outputs: bool) -> dict[str, Tensor]:
    """Weights of a backbone, and those of the pool and head that were trained on it.

    Args:
        backbone: module of the first run.
        head: module of the second run.
        on_outputs: the second run pools outputs of the first one, whose head it keeps.
    """
    first = ("model.backbone.", "model.head.") if on_outputs else ("model.backbone.",)
    state = {k: v for k, v in backbone.state_dict().items() if k.startswith(first)}
    rest = {k: v for k, v in head.state_dict().items() if not k.startswith(first)}
    return state | rest


def _compare(run: Path, folder: Path) -> None:
    """Refuse a model that predicts otherwise than its run."""
    expected, found = Predictor(run), Predictor(folder)
    inputs = _molecules() if isinstance(expected.data, QM9) else _images()
    with torch.no_grad():
        before, after = expected(inputs), found(inputs)
    spread = before.std(0).clamp(min=1e-9)
    worst = float(((after - before).abs() / spread).max())
    if not worst <= CLOSE:
        raise InputError(
            f"{folder} does not predict as {run} does: they differ by {worst:.2g} standard "
            "deviations; this is a fault of the program."
        )


def _molecules() -> list[Any]:
    """Hydrogen, water, ammonia and methane."""
    water = [[0.0, 0.0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]]
    ammonia = [[0.0, 0.0, 0.12], [0, 0.94, -0.27], [0.81, -0.47, -0.27], [-0.81, -0.47, -0.27]]
    a = 0.63
    methane = [[0.0, 0.0, 0.0], [a, a, a], [-a, -a, a], [-a, a, -a], [a, -a, -a]]
    return [
        make_molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.74]]),
        make_molecule([*"OHH"], water),
        make_molecule([*"NHHH"], ammonia),
        make_molecule([*"CHHHH"], methane),
    ]


def _images() -> list[Tensor]:
    """A bar, upright and across."""
    bar = torch.zeros(28, 28)
    bar[5:23, 12:16] = 255
    return [bar, bar.T.contiguous()]
