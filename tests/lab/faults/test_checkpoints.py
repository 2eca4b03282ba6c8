"""Checkpoints of other makers: damaged, foreign, or written to take over the machine."""

import io
import os
import pickle
import random
from dataclasses import replace

import pytest
import torch
from lightning import LightningModule
from safetensors.torch import load_file

from gigp.errors import InputError
from gigp.lab.hashing import hash_file
from gigp.lab.runs.checkpoints import load_checkpoint, save_checkpoint
from gigp.lab.runs.record import read_record
from gigp.lab.study.collect import check_evidence
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from gigp.lab.training.trainer import AtomicCheckpoints
from tests.lab.faults.harness import left


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
    path = left(trained).best
    content = path.read_bytes()
    tried, found = flip(path, random.Random(1).sample(range(len(content)), 100))
    assert found == tried


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_flipped_byte(trained):
    path = left(trained).best
    tried, found = flip(path, range(path.stat().st_size))
    assert found == tried


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
        ({}, "it holds no weights"),
        ({"w": torch.zeros(3)}, "Field required"),
    ):
        save_checkpoint(folder.last, {"state_dict": foreign})
        with pytest.raises(InputError, match=message):
            run(trained)


def refusal(cfg) -> str:
    """What a run that is not recorded yet is refused with."""
    left(cfg).done.unlink(missing_ok=True)
    with pytest.raises(InputError) as error:
        run(cfg)
    return str(error.value)


def change(path, **fields) -> None:
    """Change what the history of a checkpoint holds."""
    checkpoint = load_checkpoint(path)
    checkpoint["callbacks"]["History"] |= fields
    save_checkpoint(path, checkpoint)


def test_best_checkpoint_of_another_epoch(trained):
    """A torn copy of a folder: the last epoch is not the best one, which is another epoch's."""
    folder = left(trained)
    change(folder.last, best="0" * 64)
    expected = "best.ckpt is not the checkpoint of the best epoch, which last.ckpt names"
    assert expected in refusal(trained)
    folder.best.unlink()
    assert "found none" in refusal(trained)


def test_best_checkpoint_that_was_not_written_yet(trained):
    """Killed between the last checkpoint and the best one, which is the same."""
    folder = left(trained)
    change(folder.last, best=None)
    folder.best.write_bytes(b"of an earlier epoch")
    folder.done.unlink()
    run(trained)
    assert folder.best.read_bytes() == folder.last.read_bytes()


def test_checkpoint_of_other_settings(trained):
    """Also where config.yaml, which says so too, is gone."""
    folder = left(trained)
    change(folder.last, identity=load_history(folder.last)["identity"] | {"lr": 0.5})
    folder.config.unlink()
    assert "another configuration:\n  lr: 0.5 there, 0.003 now" in refusal(trained)


def load_history(path) -> dict:
    return load_checkpoint(path)["callbacks"]["History"]


def test_configuration_that_was_changed_after_the_training(trained):
    folder = left(trained)
    text = folder.config.read_text()
    folder.config.write_text(text.replace("warmup: 0.0", "warmup: 0.5"))
    assert folder.config.read_text() != text
    with pytest.raises(InputError, match=r"does not fit its config\.yaml: warmup: 0\.0 there"):
        load_trained(folder.path)


@pytest.mark.parametrize("kind", ["missing", "another one"])
def test_finished_run_without_its_checkpoint(trained, kind):
    folder = left(trained)
    folder.best.unlink() if kind == "missing" else folder.best.write_bytes(b"here")
    with pytest.raises(InputError, match=rf"best\.ckpt is {kind}, though the run is finished"):
        run(trained)


def test_every_process_is_recorded(trained):
    folder = left(trained)
    record = read_record(folder.record_path)
    assert record.earlier == []
    assert record.checkpoint == hash_file(folder.best)
    history = load_history(folder.last)
    assert history["identity"]["lr"] == 0.003
    before = history["provenance"][0] | {"git_commit": "0" * 40, "git_dirty": True}
    change(folder.last, provenance=[before])
    folder.done.unlink()
    again = run(trained)
    assert [each.git_commit for each in again.earlier] == ["0" * 40]
    assert again.git_commit == record.git_commit
    with pytest.raises(InputError, match="its code was changed"):
        check_evidence(
            replace(
                again, git_dirty=False, choices=again.choices | {"experiment": "x", "scale": ""}
            ),
            {"x": None},
        )


def test_weights_are_read_without_this_package(trained):
    path = left(trained).best
    read, weights = load_file(path), load_checkpoint(path)["state_dict"]
    assert all(torch.equal(read[name], value) for name, value in weights.items())
