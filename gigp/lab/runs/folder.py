"""A run's folder: its configuration, checkpoints and record.

    <results_dir>/<name>/seed<k>/
        config.yaml  metrics.csv  summary.json  test_samples.npz  test_predictions.csv  report.html
        checkpoints/{last,best}.ckpt  replaced/

The folder is a function of the configuration, without a timestamp: the same command finds the same
folder again.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from gigp.errors import InputError, first_line
from gigp.lab.config.identity import differences, identity, identity_digest
from gigp.lab.config.instantiate import YAML_ERRORS, read_mapping
from gigp.lab.files import delete_abandoned, disk_errors, write_atomically
from gigp.lab.hashing import hash_file
from gigp.lab.runs.checkpoints import read_state
from gigp.lab.runs.lock import lock_folder
from gigp.lab.runs.record import Record, read_record


class RunFolder:
    """The files of one run.

    Args:
        root: `results_dir`.
        name: name of the run, see `run_name`.
        seed: seed of the run.
    """

    def __init__(self, root: str | Path, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self.path = Path(root) / name / f"seed{seed}"
        self.config, self.metrics, self.record_path, self.samples = (
            self.path / f
            for f in ("config.yaml", "metrics.csv", "summary.json", "test_samples.npz")
        )
        self.predictions = self.path / "test_predictions.csv"
        self.report = self.path / "report.html"
        self.checkpoints = self.path / "checkpoints"
        self.last, self.best = self.checkpoints / "last.ckpt", self.checkpoints / "best.ckpt"
        # marks a finished run; written last
        self.done = self.checkpoints / "done"
        # results that overwrite=true replaces, kept until the new record is complete
        self.replaced = self.path / "replaced"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the folder, and tidy it up.

        Raises:
            InputError: another process works in it, it cannot be written, or it holds links.
        """
        self.refuse_links()
        with lock_folder(self.path):
            with disk_errors(self.path):
                self._recover()
            yield

    def refuse_links(self) -> None:
        """Refuse symbolic links in the folder: reads, writes and deletions would go outside of it.

        The folder itself, and those above it, may be links.

        Raises:
            InputError: naming the first link.
        """
        inside = [self.path, self.checkpoints, self.replaced]
        for path in (path for folder in inside if folder.is_dir() for path in folder.iterdir()):
            if path.is_symlink():
                raise InputError(
                    f"{path} is a symbolic link, which is not followed within a run; put the file "
                    "itself there, or delete the link."
                )

    def read_record(self) -> Record | None:
        """The record of a finished run, else None."""
        if not self.record_path.exists():
            return None
        try:
            return read_record(self.record_path)
        except InputError as error:
            raise InputError(f"{error} Delete it, or run with overwrite=true.") from error

    def finished(self) -> Record | None:
        """The record of a run that finished on this machine, so that its checkpoints are here too,
        else None.

        Raises:
            InputError: the checkpoint that was tested is gone, or another one.
        """
        record = self.read_record() if self.done.exists() else None
        found = hash_file(self.best) if self.best.is_file() else None
        if record and (found is None or record.checkpoint not in (None, found)):
            raise InputError(
                f"{self.best} is {'missing' if found is None else 'another one'}, though the run "
                "is finished; bring it back, or run again with overwrite=true."
            )
        return record

    def check(self, config: dict[str, Any]) -> None:
        """Check that what the folder holds, if there is anything, is of this configuration: its
        config.yaml, its last checkpoint, and its record.

        Raises:
            InputError: it is of another one; the message lists the differences.
        """
        if not self.checkpoints.exists():
            return
        wanted, found = identity(config), set()
        if self.config.exists():
            found |= {*differences(identity(self._held()), wanted)}
        if self.last.exists():
            found |= {*differences(read_state(self.last).identity, wanted)}
        record = self.read_record() if self.done.exists() else None
        if record and record.identity not in (None, identity_digest(wanted)) and not found:
            found = {f"{self.record_path.name} is of other settings"}
        if found:
            raise InputError(
                f"{self.path} holds a run of another configuration:\n  "
                + "\n  ".join(sorted(found))
                + "\nGive this one another name=..., or replace the old one with overwrite=true."
            )

    def begin(self, config: dict[str, Any], overwrite: bool = False) -> None:
        """Write the configuration of a run that is about to be trained.

        Args:
            config: resolved configuration.
            overwrite: move earlier results to `replaced` first, or delete them if unfinished.
        """
        if overwrite:
            with disk_errors(self.path):
                self._set_aside()
        if not (self.config.exists() and self.checkpoints.exists()):
            write_atomically(self.config, yaml.safe_dump(config, sort_keys=False))

    def finish(self, record: Record) -> None:
        """Write the record; from now on the run counts as finished."""
        write_atomically(self.record_path, record.to_json(indent=2) + "\n")
        with disk_errors(self.done):
            self.done.touch()
            self._recover()

    def _held(self) -> dict[str, Any]:
        """The configuration that the folder holds."""
        try:
            return read_mapping(self.config)
        except YAML_ERRORS as error:
            raise InputError(
                f"{self.config} is damaged ({first_line(error)}); start again with overwrite=true."
            ) from error

    def _files(self) -> list[Path]:
        """The files of one run. A folder without checkpoints counts as unfinished, so
        checkpoints are moved away first and put back last.
        """
        return [
            self.checkpoints,
            self.path / "wandb",
            self.metrics,
            self.samples,
            self.predictions,
            self.report,
            self.config,
            self.record_path,
        ]

    def _set_aside(self) -> None:
        """Make room for a new run: a finished one moves to `replaced`, an unfinished one is
        deleted.
        """
        if self.record_path.exists():
            _delete(self.replaced)
            self.replaced.mkdir()
            for file in filter(Path.exists, self._files()):
                os.replace(file, self.replaced / file.name)
        for file in self._files():
            _delete(file)

    def _recover(self) -> None:
        """Clean up after a killed process, and delete results that a finished run has replaced.

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
    """Delete a file or folder at once: if interrupted, it is intact or has been renamed."""
    if path.is_dir():
        doomed = path.with_name(f".{path.name}.deleted")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)
