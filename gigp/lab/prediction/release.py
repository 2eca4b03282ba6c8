"""From a finished run to a small model folder that anyone can predict with.

A model folder holds `config.yaml`, `model.safetensors` and `README.md`. A run on the features or
outputs of another run becomes one model that needs neither of them.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.config.instantiate import load_config
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.files import write_atomically
from gigp.lab.progress import track
from gigp.lab.runs.checkpoints import find_checkpoint, load_checkpoint
from gigp.lab.runs.record import Record
from gigp.lab.runs.weights import FILE, save_weights
from gigp.lab.training.features import BackboneFeatures
from gigp.lab.training.load import build_model, build_module, load_trained
from gigp.lab.training.module import LitModule

LARGEST = 4 * 10**6  # bytes of a model
# settings of a run that a model needs; the others are about how and where it was trained
KEPT = (
    "seed",
    "target",
    "pool_on",
    "pool_inputs",
    "lr",
    "choices",
    "dataset",
    "group",
    "backbone",
    "pool",
)
FOLDERS = {"root": "data", "cache": "data"}  # of a data set, in place of those of a machine
FILES = ("path", "targets")  # of a data set, of which the name is kept
CLOSE = 5e-3  # largest relative change of a test error by rounding

Errors = dict[str, float]  # by metric, in the units of tables
MakeCard = Callable[[PointCloudDataModule, LitModule, Errors], str]


def release_model(
    run: Path, folder: Path, record: Record, make_card: MakeCard, half: bool = False
) -> int:
    """Write a model folder.

    Args:
        run: folder of a finished run; its data are read from `data` in the working folder.
        folder: folder to write; it may exist.
        record: record of the run.
        make_card: makes the text of README.md from the data set, the model and its test errors.
        half: store matrices in half precision.

    Returns:
        Bytes of all files.

    Raises:
        InputError: the run or its data cannot be used, the model is larger than 4 MB, or its test
            errors are not those of the run within 0.5%.
    """
    cfg, data, module = load_whole(run)
    dataset = type(data).__qualname__
    data.setup()
    data.load_state_dict(load_checkpoint(find_checkpoint(_origin(run))).get(dataset, {}))
    checkpoint = {"state_dict": module.state_dict(), dataset: data.state_dict()}
    kept = {key: value for key, value in to_dict(cfg).items() if key in KEPT}
    _forget_places(kept["dataset"])

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".model-") as name:
        draft = Path(name)
        write_atomically(draft / "config.yaml", yaml.safe_dump(kept, sort_keys=False))
        save_weights(draft / FILE, checkpoint, dataset, record.data, half)
        errors = measure_errors(data, load_trained(draft, setup=False)[2])
        _check_errors(errors, record)
        write_atomically(draft / "README.md", make_card(data, module, errors))
        size = sum(file.stat().st_size for file in draft.iterdir())
        if size > LARGEST:
            raise InputError(
                f"{folder} would have {size:,} bytes; a model may have {LARGEST:,}. Try --half, or "
                "a smaller model."
            )
        folder.mkdir(exist_ok=True)
        for file in draft.iterdir():
            os.replace(file, folder / file.name)
    return size


@torch.no_grad()
def measure_errors(data: PointCloudDataModule, module: LitModule) -> Errors:
    """The metrics of a model on the test set, and its `loss`.

    Args:
        data: set up.
        module: the model, in evaluation mode.
    """
    from gigp.lab.training.metrics import SampleMean

    metric, loss = module.make_metrics(), SampleMean()
    batches = data.indices["test"].split(data.eval_batch_size)
    for indices in track(batches, "Testing the model", len(batches)):
        cloud, target = data.prepare_batch(data.get_batch(indices), augment=False)
        output = module.model(cloud)
        metric.update(module.denormalize(output), target)
        loss.update(module.loss(output, target), len(target))
    values = module.metric_dict(metric.compute()) | {"loss": loss.compute()}
    return {name: float(value) for name, value in values.items()}


def _check_errors(errors: Errors, record: Record) -> None:
    """Refuse a model whose test errors are not those of its run. Rates of wrong images are left to
    the loss: in few images one more is a large change.

    Raises:
        InputError: naming the metric that differs.
    """
    expected = {name: m.test for name, m in record.metrics.items() if m.kind != "classification"}
    for name, value in (expected | {"loss": record.test_loss}).items():
        if not abs(errors[name] - value) <= CLOSE * abs(value):
            raise InputError(
                f"the model's {name} on the test set is {errors[name]:.6g}, but {value:.6g} in the "
                f"record of {record.name}; a model may differ by {CLOSE:.1%}. Without --half it is "
                "the same, if the data are."
            )


def _forget_places(dataset: dict[str, Any]) -> None:
    """Replace the folders of a machine in the settings of a data set."""
    dataset |= {key: value for key, value in FOLDERS.items() if key in dataset}
    dataset |= {key: Path(dataset[key]).name for key in FILES if dataset.get(key)}


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
    whole.pool_inputs = bool(data.extra_channels)
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
