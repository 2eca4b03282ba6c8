"""Files that are written whole or not at all, by several processes at once, killed or not."""

import os
import resource
import stat

import pytest

from gigp.errors import InputError
from gigp.lab.files import delete_abandoned, open_atomically, to_path, write_atomically


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_home_folder_unless_a_file_has_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert str(to_path("~/a b")) == "/home/me/a b"
    assert str(to_path("a/~")) == "a/~"
    (tmp_path / "~notes.xyz").touch()
    assert str(to_path("~notes.xyz")) == "~notes.xyz"


@pytest.mark.parametrize("content", ["µ\n", b"\x00\xff", memoryview(b"abc")])
def test_content_is_written_as_it_is(tmp_path, content):
    path = tmp_path / "file [1]"
    write_atomically(path, "before")
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else bytes(content))
    assert names(tmp_path) == [path.name]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "before")

    def fail():
        with open_atomically(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file"]


def test_what_cannot_be_written_is_told_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*missing/file: No such file or directory"):
        write_atomically(tmp_path / "missing" / "file", "text")
    write_atomically(path := tmp_path / "file", "before")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*file: File too large"):
            write_atomically(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_what_a_killed_process_has_left_is_deleted(tmp_path):
    path = tmp_path / "file"
    if (child := os.fork()) == 0:
        with open_atomically(path) as file:
            file.write(b"half")
            file.flush()
            os._exit(9)
    os.waitpid(child, 0)
    assert len(names(tmp_path)) == 1
    with open_atomically(path) as file:
        file.write(b"whole")
        delete_abandoned(tmp_path)  # leaves alone what is being written
        # another process with the same process id, in a container of its own
        write_atomically(path, "the other's")
        assert len(names(tmp_path)) == 2
    assert path.read_text() == "whole"
    assert names(tmp_path) == ["file"]
