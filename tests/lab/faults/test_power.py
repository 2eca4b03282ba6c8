"""A loss of power at any change of the disk: what had reached the disk goes on as if nothing were.

The changes of a run are recorded; then the disk is made anew as it may be after each of them. What
counts as written is the content of a file at its last `fsync`, and a new name or a removal from the
`fsync` of its folder on; before that it may have reached the disk, or not.
"""

import os
from pathlib import Path

import pytest

from gigp.lab.training.run import run
from tests.lab.faults.harness import assert_same_run, left

Files = dict[str, bytes]


class DiskRecorder:
    """What the disk may hold if the power goes.

    Args:
        root: folder whose changes are recorded.

    Attributes:
        states: files by path below `root`, after each change; every one that differs.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.states = root, [{}]
        self._files: Files = {}  # whose names are on the disk
        self._content: Files = {}  # of files that were synced under a name of before
        self._pending: list[tuple[str, bytes | None]] = []  # new names and removals that are not
        for name in ("fsync", "replace", "unlink"):
            monkeypatch.setattr(os, name, self._recorded(getattr(os, name), getattr(self, name)))

    def fsync(self, number: int) -> None:
        path = os.readlink(f"/proc/self/fd/{number}")
        if not os.path.isdir(path):
            self._content[path] = Path(path).read_bytes()
            return
        for each, content in [pair for pair in self._pending if os.path.dirname(pair[0]) == path]:
            self._pending.remove((each, content))
            self._apply(self._files, each, content)

    def replace(self, source: str | Path, target: str | Path) -> None:
        # a file that nobody has synced may be empty under its new name
        self._pending.append((str(target), self._content.pop(str(source), b"")))

    def unlink(self, path: str | Path, **_: int) -> None:
        self._pending.append((str(path), None))

    def _recorded(self, call, note):
        def recorded(*arguments, **options):
            result = call(*arguments, **options)
            note(*arguments, **options)
            files = dict(self._files)
            self._keep(files)
            for pair in self._pending:
                self._apply(files, *pair)
            self._keep(files)
            return result

        return recorded

    def _keep(self, files: Files) -> None:
        below = {
            os.path.relpath(path, self.root): content
            for path, content in files.items()
            if Path(path).is_relative_to(self.root)
        }
        if below not in self.states:
            self.states.append(below)

    @staticmethod
    def _apply(files: Files, path: str, content: bytes | None) -> None:
        files.pop(path, None)
        if content is not None:
            files[path] = content


@pytest.fixture
def recorded(clouds, monkeypatch):
    """A whole run, and what the disk may hold after each of its changes."""
    whole = clouds("whole")
    with monkeypatch.context() as patch:
        recorder = DiskRecorder(left(whole).path, patch)
        run(whole)
    return whole, recorder.states


def go_on(cfg, whole, files: Files) -> None:
    """Make a run folder of these files, run, and compare."""
    for path, content in files.items():
        target = left(cfg).path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    run(cfg)
    assert_same_run(cfg, whole)


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@needs_proc
def test_power_fails_at_a_change_of_the_disk(clouds, recorded):
    """One of the moments of the slow test, in the second epoch; and no file is ever torn."""
    whole, states = recorded
    assert all(content for files in states for content in files.values())
    names = {path for files in states for path in files}
    assert {"config.yaml", "metrics.csv", "checkpoints/last.ckpt", "summary.json"} <= names
    cfg = clouds("cut")
    go_on(cfg, whole, states[len(states) // 2])


@pytest.mark.slow
@needs_proc
def test_power_fails_at_every_change_of_the_disk(clouds, recorded):
    whole, states = recorded
    assert len(states) > 5
    for number, files in enumerate(states):
        go_on(clouds(f"cut{number}"), whole, files)
