"""The history of a run on disk: one row and one checkpoint for every epoch."""

import csv
import io
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.utilities import rank_zero_only
from lightning.pytorch.callbacks import Checkpoint

from gigp.errors import check_choice
from gigp.lab.files import write_atomically

Select = Literal["best", "last"]


class History(L.Callback):
    """One row for every epoch, kept in the checkpoints and written to metrics.csv.

    Args:
        path: metrics.csv.
        select: the epoch that is tested: `best`, that of the lowest validation loss, the first of
            equal ones; or `last`.

    Attributes:
        rows: values of each finished epoch, by column.
        training: whether an epoch has begun in this process.
    """

    def __init__(self, path: Path, select: Select = "best") -> None:
        check_choice("select", select, Select)
        self.path, self.select = path, select
        self.training = False
        self.rows: list[dict[str, float]] = []

    @property
    def selected(self) -> dict[str, float]:
        """The row of the epoch that is tested, of those until now."""
        if self.select == "last":
            return self.rows[-1]
        return min(self.rows, key=lambda row: row["val/loss"])

    @rank_zero_only
    def write(self) -> None:
        """Write metrics.csv."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue())

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        self._resumes = stage == "fit"

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.training = True
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._train_seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        metrics = {
            k: float(v)
            for k, v in trainer.callback_metrics.items()
            if k.startswith(("train/", "val/"))
        }
        cpu_seconds = torch.tensor(
            time.process_time() - self._cpu_start, dtype=torch.double, device=module.device
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

        own = ("lr", "train_seconds", "seconds", "cpu_seconds")  # the metrics are logged already
        for logger in trainer.loggers:
            values = {key: self.rows[-1][key] for key in own}
            logger.log_metrics(values | {"epoch": trainer.current_epoch}, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # the test, too, loads a checkpoint: the best, which may know fewer epochs
        if self._resumes:
            self.rows = state["rows"]
            self.write()


class EpochCheckpoints(Checkpoint):
    """After every epoch, write `last.ckpt`; before it `best.ckpt`, if it would be tested now;
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

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.history.selected is self.history.rows[-1]:
            trainer.save_checkpoint(self.best)
        trainer.save_checkpoint(self.last)
        self.history.write()
