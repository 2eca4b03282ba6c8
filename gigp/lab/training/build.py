"""Build data, model and trainer of a run from its composed configuration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from gigp.errors import InputError
from gigp.lab.config.identity import identity
from gigp.lab.config.instantiate import instantiate
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.runs.checkpoints import load_backbone, load_checkpoint, read_state
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.history import History
from gigp.lab.runs.provenance import collect_provenance
from gigp.lab.training.compile import CompiledForward, set_matmul_precision
from gigp.lab.training.least_squares import solve_head
from gigp.lab.training.load import build_model, build_module
from gigp.lab.training.module import LitModule
from gigp.lab.training.rotations import check_rotations, cube_rotations
from gigp.lab.training.trainer import build_trainer

MAX_SEED = 2**32 - 1  # NumPy takes no larger one


@dataclass
class RunParts:
    """The parts of a run.

    Attributes:
        data: data set, set up.
        module: model with its loss and optimizer.
        trainer: Lightning's trainer, without a logger yet.
        history: rows of the epochs, which the trainer fills.
        resume: checkpoint to go on from, if there is one.
    """

    data: PointCloudDataModule
    module: LitModule
    trainer: L.Trainer
    history: History
    resume: Path | None


def build(cfg: DictConfig, folder: RunFolder, resume: bool = True) -> RunParts:
    """Build everything that a run needs; nothing is written.

    Args:
        cfg: resolved configuration.
        folder: folder of the run, which the trainer will write to.
        resume: go on from the last checkpoint in the folder, where there is one.

    Raises:
        InputError: something does not fit together, the data are other ones than those of the
            checkpoint, or Lightning refuses its settings.
    """
    if cfg.seed > MAX_SEED:  # Lightning would draw another one
        raise InputError(f"seed={cfg.seed}: it must be {MAX_SEED} or smaller.")
    check_rotations(cfg.rotations)
    set_matmul_precision(cfg.matmul_precision)
    L.seed_everything(cfg.seed, verbose=False)
    data: PointCloudDataModule = instantiate(cfg.dataset)
    last = folder.last if resume and folder.last.exists() else None
    if last:  # the source that `auto` chose when the run began
        checkpoint = load_checkpoint(last)
        data.load_state_dict(checkpoint.get(type(data).__qualname__, {}))
    data.setup()
    if cfg.rotations:  # what cannot be turned is refused before the training
        data.turned_batch(data.indices["test"][:1], cube_rotations()[:1])
    model = build_model(cfg, data)
    if not (cfg.rotations or any(True for _ in model.parameters())):
        raise InputError(
            f"{type(model.pool).__name__} on the outputs of a run has nothing to train; its result "
            "is what that run would have with this pool. For its errors over orientations add "
            "rotations=24."
        )
    model.calibrate(data.train_clouds())
    if cfg.init_from:
        extra = data.in_channels if model.pool_inputs else data.extra_channels
        load_backbone(model, Path(cfg.init_from), extra)
    module = build_module(
        model, data, lr=cfg.lr, warmup=cfg.warmup, freeze_backbone=cfg.freeze_backbone
    )
    if cfg.solve_head and not last:
        solve_head(module, data)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    history = History(folder.metrics, cfg.select, identity(settings), collect_provenance())
    if last:
        history.best = read_state(last, checkpoint).best
    trainer = build_trainer(cfg, folder, module, history)
    if cfg.compile:
        data.fixed_shapes = True
        on_gpu = trainer.strategy.root_device.type == "cuda"
        module.compiled = CompiledForward(model, on_gpu, data.eval_batch_size)
    # before a resume, or it would round the weights
    trainer.precision_plugin.convert_module(module)
    batch = min(data.batch_size, len(data.indices["train"]))
    if batch < trainer.world_size:
        raise InputError(
            f"{trainer.world_size} processes cannot share batches of {batch} clouds; use fewer "
            "devices."
        )
    return RunParts(data, module, trainer, history, last)
