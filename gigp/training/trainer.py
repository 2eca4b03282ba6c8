"""Lightning's trainer with this project's callbacks."""

import lightning as L
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from gigp.config.instantiate import instantiate
from gigp.errors import InputError
from gigp.nn.linear import cpu_supports_bf16
from gigp.training.callbacks import EpochSeed, InterruptOnSigterm, PreciseBatchNorm, StopOnNaN
from gigp.training.checkpoints import AtomicCheckpoints
from gigp.training.console import console
from gigp.training.folder import RunFolder
from gigp.training.history import EpochCheckpoints, History
from gigp.training.launch import choose_environment, choose_strategy
from gigp.training.module import LitModule
from gigp.training.progress import ProgressLine


def build_trainer(
    cfg: DictConfig, folder: RunFolder, module: LitModule, history: History
) -> L.Trainer:
    """Lightning's trainer with this project's callbacks, without a logger.

    Raises:
        InputError: Lightning refuses its settings, or there is no such device.
    """
    callbacks = [
        EpochSeed(cfg.seed),
        InterruptOnSigterm(),
        StopOnNaN(),
        PreciseBatchNorm(cfg.recalibrate),
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
    except InstantiationException as error:
        raise InputError(
            f"Lightning refuses these settings of trainer: {error.__cause__}"
        ) from error
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and trainer.precision.startswith("bf16") and not cpu_supports_bf16():
        console.print(
            f"Warning: this CPU has no bf16; trainer.precision={trainer.precision} is far slower "
            "here."
        )
    return trainer
