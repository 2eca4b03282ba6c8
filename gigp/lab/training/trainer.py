"""Lightning's trainer with this project's callbacks."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig

from gigp.errors import InputError
from gigp.lab.config.instantiate import instantiate
from gigp.lab.runs.checkpoints import load_checkpoint, save_checkpoint, unusable
from gigp.lab.runs.checks import UnfitError, training_state
from gigp.lab.runs.console import console
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.history import EpochCheckpoints, History
from gigp.lab.training.callbacks import EpochSeed, InterruptOnSigterm, PreciseBatchNorm, StopOnNaN
from gigp.lab.training.launch import choose_environment, choose_strategy
from gigp.lab.training.module import LitModule
from gigp.lab.training.progress import ProgressLine
from gigp.nn.linear import cpu_supports_bf16

# options of Lightning that break the rule of a run (train on all batches of an epoch, validate, and
# write a checkpoint), their neutral values, and what to use in their place
UNSUPPORTED = {
    "check_val_every_n_epoch": ((1,), "every epoch is validated"),
    "val_check_interval": ((None, 1, 1.0), "every epoch is validated once"),
    "limit_train_batches": ((None, 1.0), "use dataset.train_size=..."),
    "limit_val_batches": ((None, 1.0), "use dataset.val_size=..."),
    "limit_test_batches": ((None, 1.0), "use dataset.test_size=..."),
    "overfit_batches": ((0, 0.0), "use dataset.train_size=..."),
    "fast_dev_run": ((False, 0), "use scale=debug"),
    "max_steps": ((-1,), "use trainer.max_epochs=..."),
    "min_steps": ((None,), "use trainer.max_epochs=..."),
    "max_time": ((None,), "use trainer.max_epochs=...; a run that is interrupted resumes"),
    "enable_checkpointing": ((None, True), "every epoch writes a checkpoint"),
    "barebones": ((False,), "it leaves out parts that a run needs"),
}


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are written atomically, and read as tensors and plain data only.

    Args:
        module: module that resumes from them; a checkpoint that does not fit it is refused.
    """

    def __init__(self, module: L.LightningModule) -> None:
        super().__init__()
        self.module = module

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        save_checkpoint(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict:
        checkpoint = load_checkpoint(Path(path), map_location)
        try:
            state = training_state(checkpoint, self.module)
        except UnfitError as error:
            raise unusable(Path(path), str(error)) from None
        trainer: Any = self.module.trainer
        data = type(trainer.datamodule).__qualname__
        state |= {"pytorch-lightning_version": L.__version__}
        return state | {data: checkpoint[data]} if data in checkpoint else state


def check_options(node: DictConfig) -> None:
    """Refuse options of Lightning's trainer that a run cannot have.

    Raises:
        InputError: naming the option, and what to use in its place.
    """
    for option, (neutral, advice) in UNSUPPORTED.items():
        value = node.get(option, neutral[0])
        if not any(
            value is other or (type(value) is type(other) and value == other) for other in neutral
        ):
            raise InputError(f"trainer.{option}={value} is not supported: {advice}.")


def build_trainer(
    cfg: DictConfig, folder: RunFolder, module: LitModule, history: History
) -> L.Trainer:
    """Lightning's trainer with this project's callbacks, without a logger.

    Raises:
        InputError: Lightning refuses its settings, or the device does not exist.
    """
    check_options(cfg.trainer)
    callbacks = [
        EpochSeed(cfg.seed),
        InterruptOnSigterm(),
        StopOnNaN(),
        PreciseBatchNorm(cfg.batch_norm_clouds),
        history,
        ProgressLine(console),
        EpochCheckpoints(folder.last, folder.best, history),
    ]
    nodes = cfg.trainer.get("num_nodes", 1)
    try:
        trainer = instantiate(
            cfg.trainer,
            callbacks=callbacks,
            plugins=[AtomicCheckpoints(module), *choose_environment(cfg.trainer.devices, nodes)],
            strategy=choose_strategy(cfg.trainer.strategy, cfg.trainer.devices, nodes),
            use_distributed_sampler=False,  # the batches are shared, not the samples
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except InputError:
        raise
    except Exception as error:  # of many kinds
        raise InputError(f"Lightning refuses these settings of trainer: {error}") from error
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and trainer.precision.startswith("bf16") and not cpu_supports_bf16():
        console.print(
            f"Warning: this CPU has no bf16; trainer.precision={trainer.precision} is far slower "
            "here."
        )
    return trainer
