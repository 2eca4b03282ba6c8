"""The history of a run on disk: one row and one checkpoint for every epoch."""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import lightning as L
import torch
from lightning.fabric.utilities import rank_zero_only
from lightning.pytorch.callbacks import Checkpoint

from gigp.errors import InputError, check_choice
from gigp.lab.files import read_bytes, write_atomically
from gigp.lab.hashing import hash_file
from gigp.lab.runs.checkpoints import LARGEST

Select = Literal["best", "last"]


@runtime_checkable
class KeepsHistory(Protocol):
    """A logger that is told of the epochs of earlier processes when a run resumes."""

    def log_history(self, rows: Sequence[Mapping[str, float]]) -> None: ...


class History(L.Callback):
    """One row for every epoch, kept in the checkpoints and written to metrics.csv.

    Args:
        path: metrics.csv.
        select: the epoch that is tested: `best`, that of the lowest validation loss, the first of
            equal ones; or `last`.
        identity: settings that may not change in a run; see `gigp.lab.runs.name`.
        provenance: conditions of this process; see `gigp.lab.runs.provenance`.

    Attributes:
        rows: values of each finished epoch, by column.
        best: SHA-256 of best.ckpt; None where it is, or shall be, the same as last.ckpt.
        provenance: conditions of every process that has worked on the run.
        training: whether an epoch has begun in this process.
    """

    def __init__(
        self,
        path: Path,
        select: Select = "best",
        identity: Mapping[str, Any] = MappingProxyType({}),
        provenance: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        check_choice("select", select, Select)
        self.path, self.select, self.identity = path, select, dict(identity)
        self.provenance = [dict(provenance)]
        self.training = False
        self.rows: list[dict[str, float]] = []
        self.best: str | None = None

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

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if self.rows and isinstance(logger, KeepsHistory):
                logger.log_history(self.rows)

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
        names = ("rows", "best", "identity", "provenance")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # the test, too, loads a checkpoint: the best, which may know fewer epochs
        if self._resumes:
            self.rows = state["rows"]
            earlier, mine = state["provenance"], self.provenance[-1]
            self.provenance = [*(each for each in earlier if each != mine), mine]
            self.write()


class EpochCheckpoints(Checkpoint):
    """After every epoch, write `last.ckpt`; then copy it to `best.ckpt`, if it would be tested now;
    then write metrics.csv.

    `last.ckpt` names the SHA-256 of `best.ckpt`, or says that it is itself the best: a process that
    is killed in between leaves what `settle_best` completes, and a file that does not belong to the
    other is refused. (Lightning's ModelCheckpoint writes `last.ckpt` only when the best one
    improves, and keeps absolute paths.)

    Args:
        last: file that training resumes from.
        best: file that is tested.
        history: rows of the epochs until now.
    """

    def __init__(self, last: Path, best: Path, history: History) -> None:
        self.last, self.best, self.history = last, best, history

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        improved = self.history.selected is self.history.rows[-1]
        if improved:
            self.history.best = None
        trainer.save_checkpoint(self.last)
        if improved:
            self._settle()
            trainer.strategy.barrier()
        self.history.write()

    @rank_zero_only
    def _settle(self) -> None:
        self.history.best = settle_best(self.last, self.best, None)


def settle_best(last: Path, best: Path, digest: str | None) -> str:
    """Check that `best.ckpt` is the one that `last.ckpt` names, or make it.

    Args:
        digest: SHA-256 that last.ckpt names; None: it is the best itself.

    Returns:
        The SHA-256 of best.ckpt.

    Raises:
        InputError: it is another one, or is missing; or it cannot be written.
    """
    found = hash_file(best) if best.is_file() else "none"
    wanted = digest or hash_file(last)
    if found != wanted and digest is None:
        try:
            write_atomically(best, read_bytes(last, LARGEST))
        except InputError as error:
            raise InputError(f"{error} The checkpoint {last.name} is intact.") from error
    elif found != wanted:
        raise InputError(
            f"{best} is not the checkpoint of the best epoch, which {last.name} names (SHA-256 "
            f"{wanted[:12]}..., found {found[:12]}); bring that one back, or start again with "
            "overwrite=true."
        )
    return wanted
