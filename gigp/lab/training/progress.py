"""Progress bar of a run while it trains."""

import math
import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gigp.errors import printable

REFRESH = 0.5  # seconds between two reads of the loss; each makes the host wait for the device


class ProgressLine(L.Callback):
    """A bar over the whole run with loss, validation metric and time left; plain lines without
    a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.metric, self.loss, self.shown = "", math.nan, -math.inf
        if self.console.is_terminal:
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            self.bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                *times,
                console=self.console,
            )
            self.job = self.bar.add_task(
                "", total=trainer.estimated_stepping_batches, completed=trainer.global_step
            )
            self.bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        if self.bar is None or time.monotonic() - self.shown < REFRESH:
            return
        self.shown = time.monotonic()
        self.loss = float(outputs["loss"])
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.bar.update(
            self.job,
            completed=trainer.global_step,
            description=f"{epoch}  loss {self.loss:.3f}  {self.metric}",
        )

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        values = {name: float(trainer.callback_metrics[f"val/{name}"]) for name in module.units}
        shown = [f"{name} {value:.4g} {module.units[name]}" for name, value in values.items()]
        self.metric = "validation " + printable(", ".join(shown[:3]))
        self.metric += ", ..." if len(shown) > 3 else ""
        if self.bar is None:
            loss = float(trainer.callback_metrics["train/loss"])
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.console.print(f"{epoch}  loss {loss:.4f}  {self.metric}")

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
