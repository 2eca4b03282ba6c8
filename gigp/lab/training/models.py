"""Build the model of a configuration, and its module with loss and metrics."""

import math
from typing import Any

import torch
from omegaconf import DictConfig

from gigp.errors import InputError
from gigp.lab.config.instantiate import instantiate
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.model import PointCloudModel
from gigp.lab.training.module import Classification, LitModule, Regression

POOL_SEED = 2**62  # larger than any seed of a run or of an epoch


def build_model(cfg: DictConfig, datamodule: Any) -> PointCloudModel:
    """The model of a configuration, for the channels and targets of a data module."""
    backbone = instantiate(
        cfg.backbone,
        in_channels=datamodule.in_channels,
        group=instantiate(cfg.group),
        grid=datamodule.grid,
        atoms=datamodule.atoms,
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

    Raises:
        InputError: the model has no parameters, as mean pooling of outputs.
    """
    if not any(True for _ in model.parameters()):
        raise InputError(
            f"{type(model.pool).__name__} on the outputs of a run has nothing to train; its result "
            "is what that run would have with this pool."
        )
    if data.kind == "classification":
        return Classification(model, {"error": "%"}, **options)
    units = {target.name: target.unit for target in data.targets}
    unknown = torch.full((len(units),), math.nan)
    mean, std = data.target_statistics() if fit else (unknown, unknown.clone())
    return Regression(
        model, units, mean, std, [target.factor for target in data.targets], **options
    )
