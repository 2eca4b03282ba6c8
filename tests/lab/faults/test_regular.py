"""What is no regular file of a fitting size is refused in one sentence: nothing waits or grows."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gigp.errors import InputError
from gigp.lab.config.instantiate import load_config
from gigp.lab.files import ARRAY_ERRORS, open_regular, read_arrays, read_bytes
from gigp.lab.hashing import hash_file
from gigp.lab.images.arrays import read_archive, read_pixel_table
from gigp.lab.molecules.labels import read_table
from gigp.lab.runs.checkpoints import load_checkpoint
from gigp.lab.runs.compare import read_runs
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.samples import read_samples
from gigp.lab.runs.weights import read_weights
from gigp.lab.study.collect import collect
from gigp.lab.study.records import read_all_samples, read_experiment_records, samples_path
from gigp.lab.training.loggers import _run_id

KINDS = {
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "missing": lambda path: None,
}
READERS = {  # of a file in the folder of a run
    "summary.json": lambda path: read_runs([path.parent]),
    "config.yaml": lambda path: load_config(path.parent),
    "metrics.csv": read_table,
    "best.ckpt": load_checkpoint,
    "model.safetensors": read_weights,
    "test_samples.npz": read_samples,
    "it.npz": read_archive,
    "it.csv": read_pixel_table,
    "it.jsonl": read_experiment_records,
    "hashed": hash_file,
}

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_every_reader(tmp_path, kind, name):
    KINDS[kind](tmp_path / name)
    with pytest.raises((InputError, OSError)) as error:
        READERS[name](tmp_path / name)
    assert name == "hashed" or isinstance(error.value, InputError)


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_collect(tmp_path, kind):
    folder = tmp_path / "it" / "seed0"
    folder.mkdir(parents=True)
    KINDS[kind](folder / "summary.json")
    collected = collect([folder], tmp_path, {})
    assert "it is not a regular file" in collected.refused[folder]


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_configuration_of_a_run_that_goes_on(tmp_path, kind):
    folder = RunFolder(tmp_path, "it", 0)
    folder.checkpoints.mkdir(parents=True)
    KINDS[kind](folder.config)
    with pytest.raises(InputError, match=r"config\.yaml is damaged \(it is not a regular file\)"):
        folder.check({})


def test_aliases_in_the_configuration_of_a_run_that_goes_on(tmp_path):
    folder = RunFolder(tmp_path, "it", 0)
    folder.checkpoints.mkdir(parents=True)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    folder.config.write_text("\n".join(lines))
    with pytest.raises(InputError, match="it has aliases"):
        folder.check({})


def test_id_of_wandb(tmp_path):
    folder = RunFolder(tmp_path, "it", 0)
    (folder.path / "wandb").mkdir(parents=True)
    os.mkfifo(folder.path / "wandb" / "id")
    made = _run_id(folder)
    assert len(made) == 16
    assert _run_id(folder) == made


def test_size(tmp_path):
    path = tmp_path / "it"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes; 4 are allowed"):
        open_regular(path, 4)


def write_archive(path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def array(shape: tuple[int, ...], kind: str = "<f8", numbers: int = 1) -> bytes:
    header = io.BytesIO()
    fields = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue() + bytes(8 * numbers)


@pytest.mark.parametrize(
    "content",
    {
        "larger than it is": array((10**12,)),
        "endless shape": array((2**40, 2**40, 2**40)),
        "negative": array((-1,)),
        "objects": array((1,), "|O"),
        "cut": array((1,))[:20],
        "no array": b"here",
        "empty": b"",
        "unknown version": b"\x93NUMPY\x09\x00" + array((1,))[8:],
    }.values(),
)
def test_hostile_arrays(tmp_path, content):
    write_archive(tmp_path / "x.npz", {"a.npy": content})
    with pytest.raises(ARRAY_ERRORS):
        read_arrays(tmp_path / "x.npz")
    with pytest.raises(InputError, match=r"x\.npz"):
        read_samples(tmp_path / "x.npz")
    kept = samples_path(tmp_path, "x", ("it", 0))
    kept.parent.mkdir(parents=True)
    (tmp_path / "x.npz").rename(kept)
    with pytest.raises(InputError, match=r"seed0\.npz"):
        read_all_samples(tmp_path, "x")


def test_arrays_that_grow(tmp_path):
    write_archive(tmp_path / "x.npz", {"a.npy": array((10**6,), numbers=10**6)})
    assert (tmp_path / "x.npz").stat().st_size < 10**5
    with pytest.raises(ValueError, match=r"'a\.npy' is too large"):
        read_arrays(tmp_path / "x.npz", 10**6)


def test_whole_arrays(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.eye(3)[:2])}
    arrays |= {"c": np.array(["x", "yz"]), "d": np.zeros((0, 3)), "e": np.array(1)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    read = read_arrays(tmp_path / "x.npz")
    assert read.keys() == arrays.keys()
    for name, value in arrays.items():
        assert read[name].dtype == value.dtype
        assert np.array_equal(read[name], value)
