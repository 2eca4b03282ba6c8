"""Checkpoints of other makers: damaged, foreign, or written to take over the machine."""

import io
import os
import pickle
import random
import zipfile

import pytest
import torch
from lightning import LightningModule

from gigp.errors import InputError
from gigp.lab.runs.checkpoints import load_checkpoint
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from gigp.lab.training.trainer import AtomicCheckpoints
from tests.lab.faults.harness import left


@pytest.fixture
def trained(clouds):
    run(cfg := clouds("it"))
    return cfg


def same(a, b) -> bool:
    """Whether two checkpoints hold the same, tensors to the bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def noticed(path, content: bytes, whole) -> bool:
    """Whether a changed checkpoint is refused; if not, its content must be as before."""
    path.write_bytes(content)
    try:
        read = load_checkpoint(path)
    except InputError:
        return True
    assert same(read, whole)
    return False


def flip(path, positions, bits=(1,)) -> tuple[int, int]:
    """How many changed bytes were tried, and how many noticed."""
    content, whole = path.read_bytes(), load_checkpoint(path)
    tried = [
        noticed(path, content[:i] + bytes([content[i] ^ bit]) + content[i + 1 :], whole)
        for i in positions
        for bit in bits
    ]
    path.write_bytes(content)
    return len(tried), sum(tried)


def test_flipped_byte(trained):
    """Of the data every one is noticed; what is not is no data, such as a date or the padding
    between files.
    """
    path = left(trained).best
    with zipfile.ZipFile(path) as archive:
        largest = sorted(archive.infolist(), key=lambda entry: entry.file_size)[-4:]
    content = path.read_bytes()
    for entry in largest:
        start = entry.header_offset + 30 + sum(content[entry.header_offset + i] for i in (26, 28))
        start += 256 * sum(content[entry.header_offset + i] for i in (27, 29))
        tried, found = flip(
            path, random.Random(0).sample(range(start, start + entry.file_size), 15)
        )
        assert found == tried
    tried, found = flip(path, random.Random(1).sample(range(len(content)), 100))
    assert found > tried / 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_flipped_byte(trained):
    path = left(trained).best
    tried, found = flip(path, range(path.stat().st_size))
    print(f"{tried} bytes, {found} noticed, {tried - found} of no consequence")
    assert found > tried / 2


def test_truncated(trained):
    path = left(trained).best
    content, whole = path.read_bytes(), load_checkpoint(path)
    for length in (0, 1, 30, 1000, *range(2000, len(content), 1500), len(content) - 1):
        assert noticed(path, content[:length], whole)


class Attack:
    """What a pickle may do when it is read."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def attacks(proof) -> dict[str, bytes]:
    """Files that would touch `proof` if anybody believed them."""
    files = {"a pickle": pickle.dumps({"state_dict": {}, "x": Attack(proof)})}
    for name, kwargs in (
        ("torch's format", {}),
        ("torch's old format", {"_use_new_zipfile_serialization": False}),
    ):
        torch.save(
            {"state_dict": {"w": torch.zeros(2)}, "callbacks": Attack(proof)},
            made := io.BytesIO(),
            **kwargs,
        )
        files[name] = made.getvalue()
    torch.save(Attack(proof), made := io.BytesIO())
    files["all of it"] = made.getvalue()
    module = torch.nn.Linear(1, 1)
    module.attack = Attack(proof)
    torch.save({"state_dict": {}, "module": module}, made := io.BytesIO())
    files["a module"] = made.getvalue()
    return files


def test_checkpoint_that_attacks(trained, tmp_path):
    """Also as the checkpoint to resume from and as the one to predict with; a plain torch.load
    would do as it says.
    """
    proof, folder = tmp_path / "proof", left(trained)
    folder.done.unlink()
    for kind, evil in attacks(proof).items():
        for path in (folder.last, folder.best):
            path.write_bytes(evil)
            with pytest.raises(InputError, match="damaged or not a checkpoint of this run"):
                load_checkpoint(path)
        with pytest.raises(InputError, match="damaged or not a checkpoint of this run"):
            AtomicCheckpoints(LightningModule()).load_checkpoint(folder.last, weights_only=False)
        with pytest.raises(InputError, match=r"best\.ckpt is damaged"):
            load_trained(folder.path)
        with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
            run(trained)
        assert not proof.exists(), kind
        (
            pickle.loads
            if kind == "a pickle"
            else lambda b: torch.load(io.BytesIO(b), weights_only=False)
        )(evil)
        assert proof.exists(), kind  # it is a real attack
        proof.unlink()


def test_foreign_checkpoint(trained):
    """Whole and harmless, but of another project."""
    folder = left(trained)
    folder.done.unlink()
    for foreign, message in (
        ([1, 2], "it holds no state_dict"),
        ({"model": {"w": torch.zeros(3)}}, "it holds no state_dict"),
        ({"state_dict": 3}, "it holds no state_dict"),
        ({"state_dict": {"w": torch.zeros(3)}}, "weights are those of another architecture"),
    ):
        torch.save(foreign, folder.last)
        with pytest.raises(InputError, match=message):
            run(trained)


def test_checkpoint_of_another_run(trained, clouds):
    """A checkpoint of the same architecture on other data: its description does not fit."""
    run(other := clouds("other", "dataset.function=parity"))
    folder = left(trained)
    folder.done.unlink()
    folder.last.write_bytes(left(other).last.read_bytes())
    with pytest.raises(InputError, match="not those that this run was started with"):
        run(trained)
