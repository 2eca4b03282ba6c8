"""The model of a configuration, and the trained one of a finished run."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gigp.errors import InputError, first_line
from gigp.lab.config.identity import differences, identity
from gigp.lab.config.instantiate import instantiate, limit_parameters, load_config
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.model import PointCloudModel
from gigp.lab.runs.checkpoints import find_checkpoint, load_checkpoint, read_state
from gigp.lab.runs.checks import UnfitError, check_weights
from gigp.lab.runs.record import read_record
from gigp.lab.runs.weights import FILE, read_description
from gigp.lab.training.module import Classification, LitModule, Regression

POOL_SEED = 2**62  # larger than any seed of a run or of an epoch


def build_model(cfg: DictConfig, datamodule: Any) -> PointCloudModel:
    """The model of a configuration, for the channels and targets of a data module."""
    backbone = instantiate(
        cfg.backbone,
        in_channels=datamodule.in_channels,
        group=instantiate(cfg.group),
        grid=datamodule.grid,
        # networks for atoms alone know no other inputs
        atoms=None if getattr(datamodule, "input_names", ()) else datamodule.atoms,
    )
    pool_inputs = cfg.pool_inputs and not datamodule.extra_channels
    channels = datamodule.out_dim if cfg.pool_on == "outputs" else backbone.out_channels
    channels += datamodule.in_channels if pool_inputs else 0
    # drawn from a seed of its own, so that head and data order are the same for all pools
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(POOL_SEED + cfg.seed)
        pool = instantiate(cfg.pool, channels=channels)
    head = not (datamodule.per_point_outputs and cfg.pool_on == "outputs")
    return PointCloudModel(backbone, pool, datamodule.out_dim, cfg.pool_on, head, pool_inputs)


def build_module(
    model: PointCloudModel, data: PointCloudDataModule, *, fit: bool = True, **options: Any
) -> LitModule:
    """The Lightning module for the kind of targets that a data module has.

    Args:
        fit: take statistics from the training set; else from the state dict that is loaded next,
            and `data` needs no `setup`.
    """
    if data.kind == "classification":
        return Classification(model, {"error": "%"}, **options)
    units = {target.name: target.unit for target in data.targets}
    unknown = torch.full((len(units),), math.nan)
    mean, std = data.target_statistics() if fit else (unknown, unknown.clone())
    factors = [target.factor for target in data.targets]
    masked = fit and data.has_missing()
    return Regression(model, units, mean, std, factors, masked, **options)


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
    _check_identity(cfg, best, checkpoint)
    with _config_errors(folder):
        data: PointCloudDataModule = instantiate(cfg.dataset, **dataset)
        # the source that `auto` chose when the run began
        data.load_state_dict(checkpoint.get(type(data).__qualname__, {}))
    if setup:
        data.setup()
    state = checkpoint["state_dict"]
    # backbones of PyTorch Geometric build layers that others then take the place of
    most = 4 * sum(value.numel() for value in state.values())
    with _config_errors(folder), limit_parameters(most):
        module = build_module(build_model(cfg, data), data, fit=False, lr=cfg.lr)
    try:
        check_weights(state, module)
    except UnfitError as error:
        raise InputError(
            f"the checkpoint in {folder} does not fit its config.yaml: {error}."
        ) from None
    module.load_state_dict(state)
    return cfg, data, module.eval()


@contextmanager
def _config_errors(folder: Path) -> Iterator[None]:
    """Turn what classes raise that are built from a stranger's settings into one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of any kind
        raise InputError(
            f"{folder / 'config.yaml'} describes no model that can be built ({first_line(error)})."
        ) from error


def _check_identity(cfg: DictConfig, best: Path, checkpoint: dict[str, Any]) -> None:
    """Refuse the checkpoint of a run that was trained with other settings."""
    if "callbacks" not in checkpoint:  # of a model, or imported
        return
    settings: Any = OmegaConf.to_container(cfg)
    wanted = read_state(best, checkpoint).identity
    if found := sorted(differences(wanted, identity(settings))):
        raise InputError(
            f"{best} does not fit its config.yaml: {found[0]}. Put back the configuration that the "
            "run was trained with."
        )


def load_description(folder: Path) -> dict[str, Any]:
    """Description of the data that a run or model was trained on.

    Raises:
        InputError: the record of the run, or the file of the model, is missing or damaged.
    """
    if (folder / FILE).exists():
        return read_description(folder / FILE)
    return read_record(folder / "summary.json").data
