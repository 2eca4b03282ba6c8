"""The cache file: whole or not at all, and every byte counts."""

import numpy as np
import pytest

from gigp.datasets import cache
from gigp.datasets.cache import CacheError, load_or_build, read, write

ARRAYS = {"a": np.arange(5, dtype=np.int8), "b": np.linspace(0, 1, 7)}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_round_trip(tmp_path):
    write(tmp_path / "x.cache", "v1", ARRAYS)
    assert same(read(tmp_path / "x.cache", "v1"), ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["x.cache"]


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "x.cache"
    write(path, "v1", ARRAYS)
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        with pytest.raises(CacheError):
            read(path, "v1")


@pytest.mark.parametrize("length", [0, 1, 10, 100, -1])
def test_truncated(tmp_path, length):
    path = tmp_path / "x.cache"
    write(path, "v1", ARRAYS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CacheError):
        read(path, "v1")


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

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, "v2", ARRAYS)
    assert same(read(path, "v1"), ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["x.cache"]


def test_real_caches_are_compact(qm9, digits):
    from tests.conftest import DATA

    assert (qm9.cache / "qm9-qm9pack.cache").stat().st_size < 45e6
    assert (digits.cache / "rotmnist-embedded.cache").stat().st_size < 45e6
    assert str(qm9.cache) == DATA
