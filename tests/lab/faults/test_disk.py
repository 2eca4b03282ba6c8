"""A disk that is full or read-only, for real: one sentence, nothing half-written, and the same
command goes on.
"""

import json

import numpy as np
import pytest

from gigp.errors import InputError
from gigp.lab.data import cache
from gigp.lab.data.cache import load_or_build, read, write
from gigp.lab.runs.folder import RunFolder
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from tests.lab.faults.harness import assert_same_run, left

PAGE = 4096
ARRAYS = {"a": np.random.default_rng(0).random(40_000)}  # which no compression makes smaller


def remains(folder) -> list[str]:
    """Names of all files that a failed writer may have left."""
    return sorted(path.name for path in folder.rglob("*.tmp"))


@pytest.mark.parametrize("room", [0, PAGE, 100 * 1024])
def test_no_room_for_a_cache(disk, room):
    small = disk(1 << 20)
    path = small.path / "x.cache"
    write(path, "v0", {"a": np.zeros(3)})
    small.leave(room)
    with pytest.raises(
        InputError, match=r"cannot write the cache .* \(No space left on device\); free some space"
    ):
        load_or_build(path, "v1", lambda: ARRAYS)
    assert remains(small.path) == []
    assert read(path, "v0")["a"].tolist() == [0, 0, 0]
    small.clear()
    assert np.array_equal(load_or_build(path, "v1", lambda: ARRAYS)["a"], ARRAYS["a"])
    assert np.array_equal(read(path, "v1")["a"], ARRAYS["a"])


def full_at(cfg, small, room: int) -> str | None:
    """Run with so much room on the disk; its error, None where the room was enough."""
    small.leave(room)
    try:
        run(cfg)
    except InputError as error:
        return str(error)
    finally:
        small.clear()
    return None


def fill_and_go_on(clouds, small, whole, rooms) -> list[str]:
    """Runs for which the disk is too small, each finished after room was made; their errors."""
    said = []
    for room in rooms:
        cfg = clouds(f"room{room}", f"results_dir={small.path}/runs")
        if message := full_at(cfg, small, room):
            said.append(message)
            assert "No space left" in message
            assert str(left(cfg).path) in message
            assert remains(small.path) == []
            assert not left(cfg).record_path.exists()
            run(cfg)
        assert_same_run(cfg, whole)
    return said


@pytest.fixture
def whole(clouds):
    run(cfg := clouds("whole"))
    return cfg


def size_of(cfg) -> int:
    return sum(path.stat().st_size for path in left(cfg).path.rglob("*"))


def test_disk_full_in_the_middle_of_a_run(disk, clouds, whole):
    """In its first checkpoint, and in the second one, with the first on the disk."""
    size = size_of(whole)
    said = fill_and_go_on(clouds, disk(40 * size), whole, [size // 4, 3 * size // 4])
    assert len(said) == 2
    assert all(message.endswith("is intact.") for message in said)


@pytest.mark.slow
def test_disk_full_at_any_moment(disk, clouds, whole):
    """From no room for the first file to enough for all, in steps of less than a checkpoint."""
    size = size_of(whole)
    step = max(PAGE, size // 40 // PAGE * PAGE)
    rooms = [0, PAGE, 2 * PAGE, 3 * PAGE, *range(4 * PAGE, 2 * size, step)]
    said = fill_and_go_on(clouds, disk(200 * size), whole, rooms)
    assert 20 <= len(said) < len(rooms)
    for file in ("config.yaml", "best.ckpt", "last.ckpt"):
        assert any(file in message for message in said), file
    print(f"{len(said)} of {len(rooms)} runs found the disk full; all of them went on")


def test_no_room_for_the_record(disk, clouds, whole, monkeypatch):
    """All of the training is done; no second of it is lost."""
    small, finish = disk(40 * size_of(whole)), RunFolder.finish

    def on_a_full_disk(self, summary):
        small.leave(0)
        finish(self, summary)

    cfg = clouds("it", f"results_dir={small.path}/runs")
    monkeypatch.setattr(RunFolder, "finish", on_a_full_disk)
    with pytest.raises(InputError, match=r"cannot write .*summary.json: No space left"):
        run(cfg)
    monkeypatch.undo()
    small.clear()
    assert not left(cfg).record_path.exists()
    epochs = left(cfg).metrics.read_text()
    run(cfg)
    assert left(cfg).metrics.read_text() == epochs  # nothing was trained again
    assert_same_run(cfg, whole)


def test_read_only_results(disk, clouds, whole):
    small = disk(40 * size_of(whole))
    run(cfg := clouds("it", f"results_dir={small.path}/runs"))
    before = {path: path.read_bytes() for path in small.path.rglob("*") if path.is_file()}
    small.read_only()
    for again in (
        cfg,
        clouds("it", f"results_dir={small.path}/runs", "overwrite=true"),
        clouds("other", f"results_dir={small.path}/runs"),
    ):
        with pytest.raises(
            InputError,
            match=r"cannot write to .* \(Read-only file system\); set results_dir=FOLDER",
        ):
            run(again)
    assert before == {path: path.read_bytes() for path in small.path.rglob("*") if path.is_file()}
    _, _, task = load_trained(left(cfg).path)  # reading needs no writing
    assert (
        sum(p.numel() for p in task.model.parameters())
        == json.loads(left(whole).record_path.read_text())["parameters"]
    )


def test_read_only_cache(disk):
    small = disk(1 << 20)
    path = small.path / "x.cache"
    write(path, "v1", ARRAYS)
    small.read_only()
    assert np.array_equal(load_or_build(path, "v1", lambda: pytest.fail("built"))["a"], ARRAYS["a"])
    for wanted, version in ((path, "v2"), (small.path / "new" / "y.cache", "v1")):
        with pytest.raises(
            InputError, match=r"\(Read-only file system\); .* set dataset.cache=FOLDER"
        ):
            load_or_build(wanted, version, lambda: ARRAYS)
    assert np.array_equal(cache.read(path, "v1")["a"], ARRAYS["a"])
