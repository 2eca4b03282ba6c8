"""What became of the runs of a sweep, in whatever process or on whatever machine a launcher has run
them.
"""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

UNKNOWN = "FAILED: interrupted, or its process died"


class Sweep(Callback):
    """Every run of a sweep leaves a line in the sweep's folder, also one whose process dies;
    `report` reads them.

    Launchers carry this object, and with it the folder, to the processes of the runs.
    """

    started: ClassVar["Sweep | None"] = None  # by this process

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self.folder = Path(config.hydra.sweep.dir).absolute() / "outcomes"
        self.folder.mkdir(parents=True, exist_ok=True)
        Sweep.started = self
        if "submitit" in config.hydra.launcher._target_:
            print(f"The runs write their output below {self.folder.parent}/.submitit", flush=True)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self._write(config, UNKNOWN)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        # the value of a single run that has failed raises its error
        if config.hydra.mode == RunMode.MULTIRUN:
            self._write(config, str(job_return.return_value))

    def _write(self, config: DictConfig, outcome: str) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            line = {"run": " ".join(config.hydra.overrides.task), "outcome": outcome}
            (self.folder / f"{config.hydra.job.num:06d}.json").write_text(json.dumps(line))


def report() -> bool:
    """Print one line for each run of the sweep that this process has started, and tell whether one
    has failed.
    """
    if Sweep.started is None:
        return False
    folder = Sweep.started.folder
    lines = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if len(lines) > 1:
        print("\n" + "\n".join(f"{line['run']}: {line['outcome']}" for line in lines))
    shutil.rmtree(folder)
    (folder.parent / "multirun.yaml").unlink(missing_ok=True)  # Hydra's copy of the configuration
    with suppress(OSError):  # what a launcher has left there stays
        folder.parent.rmdir()
        folder.parent.parent.rmdir()
    return any(line["outcome"].startswith("FAILED") for line in lines)
