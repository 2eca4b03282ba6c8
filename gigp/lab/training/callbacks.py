"""Callbacks of the trainer: seeds, signals, checks of the loss, precise batch norm."""

import math
import signal
import threading
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn

from gigp.distributed import shard_cloud, single_process, world_size
from gigp.errors import InputError
from gigp.lab.data.sampler import epoch_seed


class EpochSeed(L.Callback):
    """Draw everything in an epoch from the seed of that epoch."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        torch.manual_seed(epoch_seed(self.seed, trainer.current_epoch))


class InterruptOnSigterm(L.Callback):
    """Let SIGTERM, a scheduler's warning before it kills a job, interrupt a run at once, as Ctrl-C
    does.

    Every finished epoch is on disk. A handler that was there before, such as that of submitit,
    stays. Lightning's own handler would wait for the end of the batch, and for the other processes
    while they wait for this one.
    """

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        before = signal.getsignal(signal.SIGTERM)
        self.handler = before if callable(before) else signal.default_int_handler

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._handle()

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._handle()

    def _handle(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)


class StopOnNaN(L.Callback):
    """End a run whose loss is NaN or infinite, before a checkpoint is spoiled."""

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        # on other devices once an epoch: reading the loss would make the device wait
        if outputs["loss"].device.type == "cpu":
            self._check(trainer, outputs["loss"].item())

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._check(trainer, float(trainer.callback_metrics["train/loss"]))
        self._check(trainer, float(trainer.callback_metrics["val/loss"]), "validation loss")

    def _check(self, trainer: L.Trainer, loss: float, name: str = "loss") -> None:
        if not math.isfinite(loss):
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            raise InputError(
                f"the {name} is {loss} at step {trainer.global_step} (learning rate {rate:.2e}). "
                "Try a smaller lr, trainer.gradient_clip_val=1, or trainer.precision=32-true. The "
                "last checkpoint is from before."
            )


class PreciseBatchNorm(L.Callback):
    """Re-estimate batch-norm statistics on training clouds before every validation, for all models
    the same way.

    Running averages lag behind weights that move. Validation, the best checkpoint and the test use
    plain averages over the same clouds with the current weights instead (Wu and Johnson 2021,
    arXiv 2105.07576, section 3). Training itself never uses them.

    Args:
        num: number of training clouds; 0 keeps the running averages.
    """

    def __init__(self, num: int) -> None:
        self.num = num

    @torch.no_grad()
    def on_validation_start(self, trainer: Any, module: Any) -> None:
        norms = [m for m in module.model.modules() if isinstance(m, nn.BatchNorm1d)]
        if module.frozen:
            frozen = set(module.model.backbone.modules())
            norms = [m for m in norms if m not in frozen]
        if not norms or not self.num:
            return
        momenta = [m.momentum for m in norms]
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # cumulative average
        module.train()
        seen = 0
        for cloud in trainer.datamodule.train_clouds(trainer.datamodule.batch_size):
            if seen >= self.num:
                break
            cloud = trainer.precision_plugin.convert_input(
                move_data_to_device(cloud, module.device)
            )
            seen += len(cloud.feat)
            if len(cloud.feat) < world_size():  # too few to share
                with single_process():
                    module.model(cloud)
            else:
                module.model(shard_cloud(cloud))
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        module.eval()
