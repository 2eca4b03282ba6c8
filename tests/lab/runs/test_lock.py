"""The lock on a run's folder, on file systems that know one kind of lock, another, or none."""

import errno
import fcntl
import os
import time

import pytest

from gigp.lab.files import STALE_SECONDS, delete_abandoned, open_atomically
from gigp.lab.runs.lock import BusyError, lock_folder

FCNTL = {name: getattr(fcntl, name) for name in ("flock", "lockf")}


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def without(request, monkeypatch):
    """Make some of the kinds of locks unknown to the file system."""

    def forget(*kinds: str) -> None:
        def refuse(*_):
            raise OSError(request.param, os.strerror(request.param))

        for kind in kinds:
            monkeypatch.setattr(fcntl, kind, refuse)

    return forget


class Holder:
    """Another process that has the lock of a folder, until it is told to end."""

    def __init__(self, folder) -> None:
        ready, is_ready = os.pipe()
        end, self.end = os.pipe()
        if (child := os.fork()) == 0:
            os.close(self.end)
            with lock_folder(folder):
                os.write(is_ready, b"1")
                os.read(end, 1)  # nothing comes: the other side is closed
            os._exit(0)
        self.child = child
        os.close(is_ready)
        assert os.read(ready, 1) == b"1"

    def leave(self) -> None:
        os.close(self.end)
        assert os.waitpid(self.child, 0)[1] == 0


def test_two_processes_never_work_in_one_folder(tmp_path):
    (tmp_path / "file").touch()
    holder = Holder(tmp_path)
    with pytest.raises(BusyError, match="another process is at work on"), lock_folder(tmp_path):
        pass
    holder.leave()
    with lock_folder(tmp_path):
        pass


def test_nor_where_flock_is_unknown(tmp_path, without, caplog):
    without("flock")
    test_two_processes_never_work_in_one_folder(tmp_path)
    assert caplog.text == ""


def test_without_any_lock_it_says_so_and_works_on(tmp_path, without, caplog):
    without("flock", "lockf")
    (tmp_path / "file").touch()
    holder = Holder(tmp_path)
    with lock_folder(tmp_path):
        assert "this file system has no locks: make sure that no two processes" in caplog.text
    holder.leave()


def test_other_errors_of_the_disk_are_told(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error"), lock_folder(tmp_path):
        pass


@pytest.mark.parametrize("unknown", [("flock",), ("flock", "lockf")])
def test_files_that_are_being_written_stay(tmp_path, without, unknown):
    """Without locks the age of a temporary file tells."""
    without(*unknown)
    path = tmp_path / "file"
    child = os.fork()
    if child == 0:
        with open_atomically(path) as file:
            file.write(b"half")
            file.flush()
            time.sleep(30)
        os._exit(1)
    while not list(tmp_path.glob(".file.*.tmp")):
        time.sleep(0.01)
    time.sleep(0.1)
    delete_abandoned(tmp_path)
    (temporary,) = tmp_path.glob(".file.*.tmp")
    os.kill(child, 9)
    os.waitpid(child, 0)
    if len(unknown) == 2:
        delete_abandoned(tmp_path)
        assert temporary.exists()
        os.utime(temporary, (0, time.time() - STALE_SECONDS - 60))
    delete_abandoned(tmp_path)
    assert not temporary.exists()
