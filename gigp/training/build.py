"""From a composed configuration to the model and what is trained."""

import math
from typing import Any

import torch
from omegaconf import DictConfig

from gigp.config.instantiate import instantiate
from gigp.datasets.loader import PointCloudDataModule
from gigp.errors import InputError
from gigp.model import PointCloudModel
from gigp.training.module import Classification, LitModule, Regression

POOL_SEED = 2**62  # larger than any seed of a run or of an epoch


def build_model(cfg: DictConfig, datamodule: Any) -> PointCloudModel:
    """Build the model that a composed config asks for, on the data of a set-up data module."""
    backbone = instantiate(
        cfg.backbone,
        in_channels=datamodule.in_channels,
        group=instantiate(cfg.group),
        grid=datamodule.grid,
        atoms=datamodule.atoms,
    )
    channels = datamodule.out_dim if cfg.pool_on == "outputs" else backbone.out_channels
    # drawn from a seed of its own, so that head and data order are the same for all pools
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(POOL_SEED + cfg.seed)
        pool = instantiate(cfg.pool, channels=channels)
    head = not (datamodule.per_point_outputs and cfg.pool_on == "outputs")
    return PointCloudModel(backbone, pool, datamodule.out_dim, cfg.pool_on, head)


def build_module(
    model: PointCloudModel, data: PointCloudDataModule, *, fit: bool = True, **options
) -> LitModule:
    """The task that fits a data module.

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
