"""Runs in processes of their own that can be killed at any moment, and what must be left of them.

The processes are forked, as in `tests/programs.py`.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import OmegaConf

from gigp.errors import InputError
from gigp.lab.runs import checkpoints
from gigp.lab.runs.checkpoints import load_checkpoint
from gigp.lab.runs.folder import RunFolder
from gigp.lab.training.run import run
from tests.programs import FORK

COLUMNS = ["train_seconds", "seconds", "cpu_seconds"]
TIMES = {"seconds", "seconds_per_epoch", "samples_per_second", "cpu_minutes", "peak_memory_mb"}
REFUSED = 2
# of `os`, by which the state on disk changes
CALLS = ("replace", "fsync", "unlink", "rmdir", "mkdir")


class Killable:
    """One run in another process.

    Args:
        cfg: composed configuration.
        before: called in that process before the run, with `argument`.
    """

    def __init__(
        self, cfg: Any, before: Callable[[Any], None] | None = None, argument: Any = None
    ) -> None:
        self.out = Path(cfg.results_dir).parent / f"{cfg.name}.out"
        self.out.parent.mkdir(parents=True, exist_ok=True)
        config = OmegaConf.to_container(cfg, resolve=True)
        self.process = FORK.Process(target=_work, args=(config, self.out, before, argument))
        self.process.start()

    def kill(self, seconds: float) -> bool:
        """Whether the process was still at work after so many seconds, and was killed."""
        self.process.join(seconds)
        if self.process.exitcode is not None:
            return False
        self.process.kill()
        return self.wait() == -signal.SIGKILL

    def wait(self, seconds: float = 240) -> int:
        """Exit status."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the run hangs"
        return self.process.exitcode

    @property
    def says(self) -> str:
        return self.out.read_text()


def finish(cfg: Any) -> None:
    """Run to the end, as the same command would."""
    it = Killable(cfg)
    assert it.wait() == 0, it.says


def _work(
    config: dict[str, Any], out: Path, before: Callable[[Any], None] | None, argument: Any
) -> None:
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(out, "a", buffering=1)  # noqa: SIM115
    os.dup2(sys.stdout.fileno(), 2)
    if before is not None:
        before(argument)
    try:
        run(OmegaConf.create(config))
    except InputError as error:
        print(f"Error: {error}")
        sys.stdout.flush()
        os._exit(REFUSED)


def die_at(where: tuple[int, Path]) -> None:
    """Before the call number `where[0]` that changes the disk, kill the process; `where[1]` lists
    the calls until then.

    Half of a checkpoint being on the disk counts as a call of its own.
    """
    last, log = where
    calls = 0

    def count(name: str) -> None:
        nonlocal calls
        with open(log, "a") as file:
            file.write(f"{name}\n")
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1

    def counted(name: str, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            count(f"{name} {Path(str(args[0])).name}" if args else name)
            return function(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))
    Path.touch = counted("touch", Path.touch)
    save = checkpoints.open_atomically

    @contextmanager
    def save_half_first(path: Path) -> Iterator[Any]:
        with save(path) as file:
            yield file
            file.flush()
            whole = Path(file.name).read_bytes()
            os.truncate(file.name, len(whole) // 2)
            count("half of a checkpoint")
            Path(file.name).write_bytes(whole)

    checkpoints.open_atomically = save_half_first


def left(cfg: Any) -> RunFolder:
    return RunFolder(cfg.results_dir, cfg.name, cfg.seed)


def assert_same_run(cfg: Any, other: Any) -> None:
    """Weights, history and record of two finished runs agree to the bit, but for times; nothing
    else is left over.
    """
    a, b = left(cfg), left(other)
    for x, y in ((a.last, b.last), (a.best, b.best)):
        x, y = (load_checkpoint(path)["state_dict"] for path in (x, y))
        assert x.keys() == y.keys()
        assert all(torch.equal(x[key], y[key]) for key in x)
    pd.testing.assert_frame_equal(*(pd.read_csv(f.metrics).drop(columns=COLUMNS) for f in (a, b)))
    x, y = (json.loads(f.record_path.read_text()) for f in (a, b))
    for record in (x, y):
        record["curve"] = {k: v for k, v in record["curve"].items() if k not in COLUMNS}
    # how it was asked for, and by what checkout
    drop = TIMES | {"name", "overrides", "git_commit", "git_dirty", "checkpoint", "earlier"}
    assert {
        k: (x.get(k), y.get(k)) for k in (x.keys() | y.keys()) - drop if x.get(k) != y.get(k)
    } == {}
    names = {file.name for file in a.path.iterdir()} | {
        file.name for file in a.checkpoints.iterdir()
    }
    files = {"best.ckpt", "last.ckpt", "done"}
    assert names - {"wandb"} == {
        ".lock",
        "config.yaml",
        "metrics.csv",
        "summary.json",
        "test_predictions.csv",
        "test_samples.npz",
        "checkpoints",
        *files,
    }
