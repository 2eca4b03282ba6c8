"""The cache file: whole or not at all, and every byte counts."""

import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gigp.errors import InputError
from gigp.lab.data.cache import CacheError, load_or_build, load_or_fill, read, write
from gigp.lab.images import rotmnist
from gigp.lab.images.rotmnist import RotMNIST
from gigp.lab.molecules import qm9 as qm9_module
from tests.conftest import DATA

ARRAYS = {"a": np.arange(5, dtype=np.int8), "b": np.linspace(0, 1, 7)}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a
    )


def test_round_trip(tmp_path):
    write(tmp_path / "x.cache", "v1", ARRAYS)
    assert same(read(tmp_path / "x.cache", "v1"), ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["x.cache"]


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "x.cache"
    write(path, "v1", ARRAYS)
    whole = path.read_bytes()
    for i in [*range(160), *range(160, 4000, 99), *range(4000, len(whole))]:
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        with pytest.raises(CacheError):
            read(path, "v1")


@pytest.mark.parametrize("length", [0, 1, 10, 100, 4095, 4096, 4100, -1])
def test_truncated(tmp_path, length):
    path = tmp_path / "x.cache"
    write(path, "v1", ARRAYS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CacheError):
        read(path, "v1")


def test_arrays_of_many_kinds_and_shapes(tmp_path):
    arrays = {
        "empty": np.zeros((0, 3), np.float32),
        "number": np.array([7], np.int64),
        "flags": np.array([True, False, True]),
        "half": np.arange(6, dtype=np.float16).reshape(1, 2, 3),
        "big_endian": np.arange(4, dtype=">f8"),
    }
    write(tmp_path / "x.cache", "v1", arrays)
    assert same(read(tmp_path / "x.cache", "v1"), arrays)


def test_block_by_block(tmp_path):
    """Rows are written as they come, and not held in memory."""

    def fill(writer):
        for start in range(0, 10, 3):
            writer.append("a", rows[start : start + 3])
        writer.append("b", rows[:1])

    rows = np.arange(20.0).reshape(10, 2)
    loaded = load_or_fill(tmp_path / "x.cache", "v1", fill)
    assert same(loaded, {"a": rows, "b": rows[:1]})
    for bad in (rows[:, :1], rows.astype(np.float32)):
        with pytest.raises(ValueError, match="does not continue"):
            load_or_fill(
                tmp_path / "y.cache",
                "v1",
                lambda writer, bad=bad: (writer.append("a", rows), writer.append("a", bad)),
            )
    spoiled = np.where(rows == 5, np.inf, rows)
    with pytest.raises(InputError, match=r"a\[12, 1\] of the data is inf"):
        load_or_fill(
            tmp_path / "y.cache",
            "v1",
            lambda writer: (writer.append("a", rows), writer.append("a", spoiled)),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["x.cache"]


def test_changes_of_the_arrays_stay_out_of_the_file(tmp_path):
    write(tmp_path / "x.cache", "v1", ARRAYS)
    read(tmp_path / "x.cache", "v1")["a"][:] = 9
    assert same(read(tmp_path / "x.cache", "v1"), ARRAYS)


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "x.cache")
    with pytest.raises(CacheError, match="not a regular file"):
        read(tmp_path / "x.cache", "v1")


@pytest.mark.parametrize("spoil", ["truncate", "version", "missing"])
def test_built_again(tmp_path, spoil, caplog):
    path = tmp_path / "sub" / "x.cache"
    if spoil != "missing":
        write(path, "v0" if spoil == "version" else "v1", {"a": np.zeros(3)})
    if spoil == "truncate":
        path.write_bytes(path.read_bytes()[:50])
    assert same(load_or_build(path, "v1", lambda: ARRAYS), ARRAYS)
    assert same(read(path, "v1"), ARRAYS)
    assert ("built again" in caplog.text) == (spoil != "missing")


def test_whole_cache_is_not_built_again(tmp_path):
    write(tmp_path / "x.cache", "v1", ARRAYS)
    assert same(load_or_build(tmp_path / "x.cache", "v1", lambda: pytest.fail("built")), ARRAYS)


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.cache"
    write(path, "v1", ARRAYS)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write(path, "v2", ARRAYS)
    assert same(read(path, "v1"), ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["x.cache"]


@pytest.mark.parametrize("inside", ["/dev/null/x", "/proc"])
def test_folder_that_cannot_be_written(inside):
    path = Path(inside) / "x.cache"
    with pytest.raises(InputError, match=r"cannot write .*x.cache .*set dataset.cache=FOLDER"):
        load_or_build(path, "v1", lambda: ARRAYS)


def test_failed_build_leaves_nothing(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_build(tmp_path / "x.cache", "v1", interrupted)
    assert not list(tmp_path.iterdir())


def _killed_while_writing(path):
    os.fsync = lambda _: os._exit(9)
    write(path, "v2", ARRAYS)


def test_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.cache"
    write(path, "v1", ARRAYS)
    process = multiprocessing.get_context("fork").Process(
        target=_killed_while_writing, args=(path,)
    )
    process.start()
    process.join(30)
    assert process.exitcode == 9
    assert same(read(path, "v1"), ARRAYS)
    # what was half-written is in nobody's way
    assert same(load_or_build(path, "v2", lambda: ARRAYS), ARRAYS)


def test_reader_of_the_old_file_keeps_it(tmp_path):
    """A new file takes the old one's name and leaves its content alone: nobody ever reads half of
    either.
    """
    path = tmp_path / "x.cache"
    write(path, "v1", ARRAYS)
    os.link(path, tmp_path / "held")
    write(path, "v2", {"a": np.zeros(3)})
    assert same(read(tmp_path / "held", "v1"), ARRAYS)
    assert same(read(path, "v2"), {"a": np.zeros(3)})


def _build(path, queue, seconds):
    """Make the cache in this many seconds, and tell its sum and whether it was made here."""
    built = []

    def build():
        built.append(1)
        time.sleep(seconds)
        return {"a": np.random.default_rng(0).random((200, 1000))}

    total = float(load_or_build(path, "v1", build)["a"].sum())
    queue.put((total, len(built)))


def test_of_processes_that_need_a_cache_at_once_one_makes_it(tmp_path):
    """The others wait, and get complete arrays; one complete file is left."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    arguments = (tmp_path / "x.cache", queue, 0.5)
    processes = [context.Process(target=_build, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert {total for total, _ in found} == {float(read(tmp_path / "x.cache", "v1")["a"].sum())}
    assert sorted(built for _, built in found) == [0, 0, 0, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.cache"]


def test_a_process_that_is_killed_while_it_makes_a_cache(tmp_path, caplog):
    """The one that waits makes it, and has said what it waits for."""
    context = multiprocessing.get_context("fork")
    path, queue = tmp_path / "x.cache", context.Queue()
    first = context.Process(target=_build, args=(path, queue, 60))
    first.start()
    while not list(tmp_path.glob(".x.cache.*.tmp")):
        time.sleep(0.01)
    waiting = f"Another process makes {path}; waiting for it."

    def kill_once_waited_for() -> None:
        while waiting not in caplog.text:
            time.sleep(0.01)
        first.kill()

    threading.Thread(target=kill_once_waited_for, daemon=True).start()
    _build(path, queue, 0)
    assert queue.get(timeout=60)[1] == 1
    first.join(30)
    assert [p.name for p in tmp_path.iterdir()] == ["x.cache"]


@pytest.mark.parametrize("where", [0.0, 0.3, 0.9999999])
def test_flipped_byte_in_the_real_molecules(qm9, tmp_path, where):
    content = bytearray((qm9.cache / "qm9-qm9pack.cache").read_bytes())
    content[int(where * (len(content) - 1))] ^= 16
    path = tmp_path / "x.cache"
    path.write_bytes(content)
    with pytest.raises(CacheError):
        read(path, f"qm9-qm9pack-{qm9_module.FORMAT}")


def test_damaged_digits_are_built_again(digits, tmp_path, caplog):
    content = bytearray((digits.cache / "rotmnist-embedded.cache").read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "rotmnist-embedded.cache"
    path.write_bytes(content)
    again = RotMNIST(root=tmp_path, cache=tmp_path, source="embedded")
    again.setup()
    assert (again.images == digits.images).all()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged: its checksum does not match; it is built again."
    ]
    assert np.array_equal(
        read(path, f"rotmnist-embedded-{rotmnist.FORMAT}")["labels"], digits.labels.numpy()
    )


def test_real_caches_are_compact(qm9, digits):
    assert (qm9.cache / "qm9-qm9pack.cache").stat().st_size < 45e6
    assert (digits.cache / "rotmnist-embedded.cache").stat().st_size < 5e6
    assert str(qm9.cache) == DATA
