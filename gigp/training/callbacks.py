"""What happens around training: seeds, re-estimated batch norm, history, progress."""

import csv
import io
import math
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device, rank_zero_only
from lightning.pytorch.callbacks import Checkpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from gigp.distributed import shard_cloud, single_process, world_size
from gigp.errors import InputError
from gigp.files import write_atomically


class EpochSeed(L.Callback):
    """Make all randomness of an epoch a function of (seed, epoch), so that a resumed run draws the
    same numbers.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        torch.manual_seed(self.seed * 1_000_003 + trainer.current_epoch)


class InterruptOnSigterm(L.Callback):
    """Let SIGTERM, by which schedulers announce the end, interrupt a run at once, as Ctrl-C does;
    every finished epoch is on disk. Whoever handled the signal before, such as a job of submitit,
    goes on to handle it.

    Lightning's own handler waits for the end of the batch, and for the other processes while they
    wait for this one.
    """

    def setup(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        before = signal.getsignal(signal.SIGTERM)
        self.handler = before if callable(before) else signal.default_int_handler

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._handle()

    def on_test_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._handle()

    def _handle(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)


class StopOnNaN(L.Callback):
    """End a run whose loss is not a number before a checkpoint is spoiled."""

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        # elsewhere once an epoch: looking would make the device wait
        if outputs["loss"].device.type == "cpu":
            self._check(trainer, outputs["loss"].item())

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
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

    Running averages lag behind weights that move; what validation, the best checkpoint and the test
    see are plain averages over the same clouds with the weights of the moment. Training itself
    never uses them.

    Args:
        num: how many training clouds; 0 leaves the running averages.
    """

    def __init__(self, num: int) -> None:
        self.num = num

    @torch.no_grad()
    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        norms = [m for m in task.model.modules() if isinstance(m, nn.BatchNorm1d)]
        if task.frozen:
            frozen = set(task.model.backbone.modules())
            norms = [m for m in norms if m not in frozen]
        if not norms or not self.num:
            return
        momenta = [m.momentum for m in norms]
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # cumulative average
        task.train()
        seen = 0
        for cloud in trainer.datamodule.train_clouds(trainer.datamodule.batch_size):
            if seen >= self.num:
                break
            cloud = trainer.precision_plugin.convert_input(move_data_to_device(cloud, task.device))
            seen += len(cloud.feat)
            if len(cloud.feat) < world_size():  # too few to share
                with single_process():
                    task.model(cloud)
            else:
                task.model(shard_cloud(cloud))
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        task.eval()


class History(L.Callback):
    """One row for every epoch, kept in the checkpoints and written to metrics.csv."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    @property
    def best(self) -> dict[str, float]:
        """The row of the epoch with the lowest validation loss; the first of equal ones."""
        return min(self.rows, key=lambda row: row["val/loss"])

    @rank_zero_only
    def write(self) -> None:
        """Write metrics.csv."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue())

    def setup(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        self._resumes = stage == "fit"

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._train_seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        metrics = {
            k: float(v)
            for k, v in trainer.callback_metrics.items()
            if k.startswith(("train/", "val/"))
        }
        cpu_seconds = torch.tensor(
            time.process_time() - self._cpu_start, dtype=torch.double, device=task.device
        )
        self.rows.append(
            {
                "epoch": trainer.current_epoch,
                "step": trainer.global_step,
                "lr": trainer.optimizers[0].param_groups[0]["lr"],
                **dict(sorted(metrics.items())),
                "train_seconds": round(self._train_seconds, 3),
                "seconds": round(time.perf_counter() - self._start, 3),
                # of all threads
                "cpu_seconds": round(
                    float(trainer.strategy.reduce(cpu_seconds, reduce_op="sum")), 3
                ),
            }
        )

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # the test, too, loads a checkpoint: the best, which may know fewer epochs
        if self._resumes:
            self.rows = state["rows"]
            self.write()


class EpochCheckpoints(Checkpoint):
    """After every epoch, write `last.ckpt`; before it `best.ckpt`, if the epoch is the best so far;
    after it metrics.csv.

    In this order a process that is killed in between repeats the epoch when it resumes, and writes
    the same files again: no later file is newer than an earlier one. Which epoch is the best
    follows from the history, so no path and no score is read from a checkpoint. (Lightning's
    ModelCheckpoint writes `last.ckpt` only when the best one improves, and keeps absolute paths.)

    Args:
        last: file that training resumes from.
        best: file that is tested.
        history: rows of the epochs until now.
    """

    def __init__(self, last: Path, best: Path, history: History) -> None:
        self.last, self.best, self.history = last, best, history

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if self.history.best is self.history.rows[-1]:
            trainer.save_checkpoint(self.best)
        trainer.save_checkpoint(self.last)
        self.history.write()


class ProgressLine(L.Callback):
    """A bar over the whole run with loss, validation metric and time left; plain lines where there
    is no terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.metric, self.loss = "", math.nan
        if self.console.is_terminal:
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            self.bar = Progress(
                TextColumn("{task.description}"), BarColumn(), *times, console=self.console
            )
            self.job = self.bar.add_task(
                "", total=trainer.estimated_stepping_batches, completed=trainer.global_step
            )
            self.bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        if self.bar is None or trainer.global_step % 10:
            return
        self.loss = float(outputs["loss"])
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.bar.update(
            self.job,
            completed=trainer.global_step,
            description=f"{epoch}  loss {self.loss:.3f}  {self.metric}",
        )

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        values = {name: float(trainer.callback_metrics[f"val/{name}"]) for name in task.units}
        shown = [f"{name} {value:.4g} {task.units[name]}" for name, value in values.items()]
        self.metric = "validation " + ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
        if self.bar is None:
            loss = float(trainer.callback_metrics["train/loss"])
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.console.print(f"{epoch}  loss {loss:.4f}  {self.metric}", highlight=False)

    def teardown(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
