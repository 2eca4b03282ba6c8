"""The trained model of a finished run."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gigp.errors import InputError
from gigp.lab.config.instantiate import instantiate, limit_parameters, load_config
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.runs.checkpoints import find_checkpoint, load_checkpoint
from gigp.lab.runs.checks import UnfitError, check_weights
from gigp.lab.runs.record import read_record
from gigp.lab.runs.weights import FILE, read_description
from gigp.lab.training.models import build_model, build_module
from gigp.lab.training.module import LitModule


def load_trained(
    folder: str | Path, setup: bool = True, **dataset: Any
) -> tuple[DictConfig, PointCloudDataModule, LitModule]:
    """The configuration, data, and best model of a finished run or of a model folder, in evaluation
    mode.

    Args:
        folder: folder of the run, with its checkpoints, or of the model.
        setup: read the data set; False leaves it alone, so that it need not be on disk.
        dataset: settings of the data set to use in place of the run's.

    Raises:
        InputError: there is no run, or no checkpoint, or it does not fit its configuration.
    """
    folder = Path(folder)
    cfg = load_config(folder)
    best = find_checkpoint(folder)
    if not best.exists():
        raise InputError(
            f"there is no checkpoint at {best}: {folder} is not trained yet, or the record of a "
            "run that was trained elsewhere. Train it here first."
        )
    checkpoint = load_checkpoint(best)
    data: PointCloudDataModule = instantiate(cfg.dataset, **dataset)
    # the source that the run had found
    data.load_state_dict(checkpoint.get(type(data).__qualname__, {}))
    if setup:
        data.setup()
    with limit_parameters():
        model = build_model(cfg, data)
    module = build_module(model, data, fit=False, lr=cfg.lr)
    try:
        check_weights(checkpoint["state_dict"], module)
    except UnfitError as error:
        raise InputError(
            f"the checkpoint in {folder} does not fit its config.yaml: {error}."
        ) from None
    module.load_state_dict(checkpoint["state_dict"])
    return cfg, data, module.eval()


def load_description(folder: Path) -> dict[str, Any]:
    """Description of the data that a run or model was trained on.

    Raises:
        InputError: the record of the run, or the file of the model, is missing or damaged.
    """
    if (folder / FILE).exists():
        return read_description(folder / FILE)
    return read_record(folder / "summary.json").data
