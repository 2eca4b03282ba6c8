"""The runs of a sweep: announcement and outcome of each."""

import json
import math
import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from gigp.lab.files import open_lock, take_lock
from gigp.lab.runs.compare import print_comparison, read_runs
from gigp.lab.runs.console import console, label_lines, outlive_log

WATCH_SECONDS = 0.5
LOCK = ".lock"
PARENT = "GIGP_PARENT"  # environment variable: the process that the runs shall end with
UNKNOWN = "FAILED: interrupted, or its process died"


class Outcome(float):
    """What became of a run: its validation loss, or NaN.

    Attributes:
        line: `outcome`, in words, and the `folder` of a run that is done.
    """

    line: dict[str, str]

    def __new__(cls, words: str, loss: float = math.nan, folder: str | None = None) -> "Outcome":
        outcome = super().__new__(cls, loss)
        outcome.line = {"outcome": words} | ({"folder": folder} if folder else {})
        return outcome

    def __getnewargs__(self) -> tuple[str, float, str | None]:  # type: ignore[override]
        return self.line["outcome"], float(self), self.line.get("folder")


class Sweep(Callback):
    """Writes the outcome of every run to the sweep's folder, where `report` finds them all.

    Launchers carry this object to the processes of the runs, and with it the folder. The outcome of
    a run whose process dies is there too.

    Attributes:
        started: the sweep that this process has started.
        total: number of its runs, as far as it is known.
    """

    started: ClassVar["Sweep | None"] = None
    lock: ClassVar[IO]
    total: int | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self.folder = Path(config.hydra.sweep.dir).absolute() / "outcomes"
        self.folder.mkdir(parents=True, exist_ok=True)
        Sweep.lock = open_lock(self.folder / LOCK)  # as long as this process lives
        take_lock(Sweep.lock)
        for earlier in self.folder.parent.parent.glob("*/outcomes"):
            if earlier != self.folder:
                _remove_dead(earlier)
        self.process = os.getpid()
        Sweep.started = self
        if "submitit" in config.hydra.launcher._target_:
            print(f"The runs write their output below {self.folder.parent}/.submitit", flush=True)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        self._write(config, {"outcome": UNKNOWN})
        number = config.hydra.job.num + 1
        if os.getpid() != self.process:  # the lines of several runs come in any order
            outlive_log()
            label_lines(f"[{number}] ")
            end_with(self.process)
        of = f" of {self.total}" if self.total else ""
        console.print(f"\nRun {number}{of}: {' '.join(config.hydra.overrides.task)}")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        # for a single run that has failed, the value would raise its error
        if config.hydra.mode == RunMode.MULTIRUN:
            self._write(config, job_return.return_value.line)

    def _write(self, config: DictConfig, became: dict[str, str]) -> None:
        line = {"run": " ".join(config.hydra.overrides.task), **became}
        (self.folder / f"{config.hydra.job.num:06d}.json").write_text(json.dumps(line))


@cache
def end_with(parent: int) -> None:
    """End this process when its parent is gone, as a worker of joblib, which would train on, begin
    the next run, and wait. Other launchers have processes that live on their own.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    if os.getppid() == parent:
        threading.Thread(target=watch, daemon=True).start()


def report() -> bool:
    """Print one line for each run of the sweep that this process has started, and a comparison of
    those that are done.

    Returns:
        Whether a run has failed.
    """
    if Sweep.started is None:
        return False
    folder = Sweep.started.folder
    lines = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if len(lines) > 1:
        console.print("\n" + "\n".join(f"{line['run']}: {line['outcome']}" for line in lines))
    folders = [Path(line["folder"]) for line in lines if "folder" in line]
    if len(folders) > 1:
        print()
        print_comparison(read_runs(folders))
    _remove(folder)
    return any(line["outcome"].startswith("FAILED") for line in lines)


def _remove_dead(folder: Path) -> None:
    """Remove the outcomes of a sweep whose process was killed."""
    with suppress(OSError), open_lock(folder / LOCK) as file:
        if take_lock(file):
            _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)
    (folder.parent / "multirun.yaml").unlink(missing_ok=True)  # Hydra's copy of the configuration
    with suppress(OSError):  # what a launcher has left there stays
        folder.parent.rmdir()
        folder.parent.parent.rmdir()
