"""A run's folder: its identity, its configuration, and what came of it.

    <results_dir>/<name>/seed<k>/
        config.yaml  metrics.csv  summary.json  test_samples.npz
        checkpoints/{last,best}.ckpt  replaced/

The folder is a function of the configuration, without a timestamp: the same command finds the same
folder again.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from gigp.errors import InputError
from gigp.files import delete_abandoned, disk_errors, write_atomically
from gigp.training.record import Record, read_record

# what may differ between two commands that mean the same run
NOT_IDENTITY = ("name", "results_dir", "overwrite", "logger", "scale", "study")
# on how many devices, started how, and where files lie: the same run may go on elsewhere
LOCATION_KEYS = (
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "launcher",
    "dataset.root",
    "dataset.cache",
)
EXCLUDED_FROM_NAME = (
    "dataset",
    "group",
    "pool",
    "scale",
    "target",
    "seed",
    "logger",
    "experiment",
    *LOCATION_KEYS,
    *NOT_IDENTITY,
)


def run_name(config: dict[str, Any], overrides: list[str]) -> str:
    """Name of a run: its choices, then every other override of the command line, in alphabetical
    order.

    Args:
        config: resolved configuration.
        overrides: of the command line, as KEY=VALUE.
    """
    if config["name"]:
        return str(config["name"])
    choices, target = config["choices"], config["target"]
    parts = [choices["dataset"], choices["group"], choices["pool"], choices["scale"]]
    if target and choices["dataset"] != "rotmnist":  # which has but one
        parts.insert(1, target if isinstance(target, str) else "+".join(target))
    extra = further_overrides(overrides)
    extra += [f"experiment={choices['experiment']}"] if choices["experiment"] else []
    return "_".join([*parts, *(re.sub(r"[^\w.=+,-]+", "-", e) for e in extra)])


def further_overrides(overrides: list[str]) -> list[str]:
    """Those that set a run apart beyond its choices, target and seed, in alphabetical order."""
    keys = [override.lstrip("+~").partition("=") for override in overrides]
    return sorted(
        f"{k}={v}"
        for k, _, v in keys
        if k not in EXCLUDED_FROM_NAME and not k.startswith("logger.")
    )


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration makes a run another run."""
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    for section, _, name in (key.partition(".") for key in LOCATION_KEYS):
        if isinstance(kept.get(section), dict):
            kept[section] = {key: value for key, value in kept[section].items() if key != name}
    return kept


class RunFolder:
    """The files of one run.

    Args:
        root: `results_dir`.
        name: of the run, see `run_name`.
        seed: of the run.
    """

    def __init__(self, root: str | Path, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self.path = Path(root) / name / f"seed{seed}"
        self.config, self.metrics, self.record, self.samples = (
            self.path / f
            for f in ("config.yaml", "metrics.csv", "summary.json", "test_samples.npz")
        )
        self.checkpoints = self.path / "checkpoints"
        self.last, self.best = self.checkpoints / "last.ckpt", self.checkpoints / "best.ckpt"
        # written last; a clone brings records without checkpoints
        self.done = self.checkpoints / "done"
        # what overwrite=true is about to replace, until the new record is whole
        self.replaced = self.path / "replaced"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the folder.

        Raises:
            InputError: another process works in it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "a+")  # noqa: SIM115
        except OSError as error:
            raise InputError(
                f"cannot write to {self.path} ({error.strerror}); set results_dir=FOLDER."
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another process is at work on {self.path}; wait for it or change name=."
                ) from None
            with disk_errors(self.path):
                self._recover()
            yield

    def summary(self) -> Record | None:
        """The record of a finished run, else None."""
        if not self.record.exists():
            return None
        try:
            return read_record(self.record)
        except InputError as error:
            raise InputError(f"{error} Delete it, or run with overwrite=true.") from error

    def finished(self) -> Record | None:
        """The record of a run that finished on this machine, so that its checkpoints are here too,
        else None.
        """
        return self.summary() if self.done.exists() else None

    def open(self, config: dict[str, Any], overwrite: bool = False) -> None:
        """Write the configuration, or check that the folder holds the same one for its checkpoints.

        Raises:
            InputError: it holds another; the message lists the differences.
        """
        wanted = identity(config)
        if overwrite:
            with disk_errors(self.path):
                self._set_aside()
        if self.config.exists() and self.checkpoints.exists():
            held = identity(self._held())
            differences = sorted(_differences(held, wanted))
            if differences:
                raise InputError(
                    f"{self.path} holds a run of another configuration:\n  "
                    + "\n  ".join(differences)
                    + "\nGive this one another name=..., or replace the old one with "
                    "overwrite=true."
                )
        else:
            write_atomically(self.config, yaml.safe_dump(config, sort_keys=False))

    def finish(self, record: Record) -> None:
        """Write the record; from now on the run counts as finished."""
        write_atomically(self.record, record.to_json(indent=2) + "\n")
        with disk_errors(self.done):
            self.done.touch()
            self._recover()

    def _held(self) -> dict[str, Any]:
        """The configuration that the folder holds."""
        try:
            held = yaml.safe_load(self.config.read_text())
            if not isinstance(held, dict):
                raise ValueError("it is no configuration")
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{self.config} is damaged ({reason}); start anew with overwrite=true."
            ) from error
        return held

    def _files(self) -> list[Path]:
        """All that one run writes here; without checkpoints the rest is unfinished, so they go
        first and come last.
        """
        return [
            self.checkpoints,
            self.path / "wandb",
            self.metrics,
            self.samples,
            self.config,
            self.record,
        ]

    def _set_aside(self) -> None:
        """Make room for a new run: a finished one moves to `replaced`, an unfinished one is
        deleted.
        """
        if self.record.exists():
            _delete(self.replaced)
            self.replaced.mkdir()
            for file in filter(Path.exists, self._files()):
                os.replace(file, self.replaced / file.name)
        for file in self._files():
            _delete(file)

    def _recover(self) -> None:
        """Tidy up after a process that was killed, and drop what a finished run has replaced.

        Where the successor of a finished run ended without a checkpoint, the old run is put back.
        """
        delete_abandoned(self.path)
        delete_abandoned(self.checkpoints)
        if self.replaced.exists() and not self.last.exists():
            for file in reversed(self._files()):
                if (self.replaced / file.name).exists():
                    _delete(file)
                    os.replace(self.replaced / file.name, file)
        if self.done.exists():
            _delete(self.replaced)


def _delete(path: Path) -> None:
    """Delete a file or folder at once: interrupted, it is whole or has lost its name."""
    if path.is_dir():
        doomed = path.with_name(f".{path.name}.deleted")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def _differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Lines `key: old -> new` for all leaves that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for k in old.keys() | new.keys():
            yield from _differences(old.get(k), new.get(k), f"{key}.{k}" if key else str(k))
    elif old != new and key not in LOCATION_KEYS:
        yield f"{key}: {old} there, {new} now"
