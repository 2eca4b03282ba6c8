"""The data of a run stay what they were, whatever comes to the disk meanwhile, or the run says what
has changed.
"""

import shutil

import numpy as np
import pytest

from gigp.errors import InputError
from gigp.lab.data import cache
from gigp.lab.data.cache import read, write
from gigp.lab.hashing import hash_arrays
from gigp.lab.images import rotmnist
from gigp.lab.images.rotmnist_sources import find_source
from gigp.lab.molecules import qm9 as qm9_module
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.training.load import load_trained
from gigp.lab.training.module import LitModule
from gigp.lab.training.run import run
from tests.conftest import DATA, tiny
from tests.lab.faults.harness import left


@pytest.fixture
def interrupted(configure, digits, tmp_path, monkeypatch):
    """A run on the digits that are there, stopped in its second epoch, and the folder of its
    cache.
    """
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(digits.cache / "rotmnist-embedded.cache", folder)
    where = (f"dataset.root={folder}", f"dataset.cache={folder}", "dataset.source=auto", "name=it")
    cfg = configure("dataset=rotmnist", *tiny(epochs=2, train=25, val=10, test=10), *where)
    step = LitModule.training_step

    def fail(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(LitModule, "training_step", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run(cfg)
    return cfg, folder


def test_better_data_that_arrive_meanwhile_do_not_change_a_run(interrupted, digits):
    cfg, folder = interrupted
    images, labels = np.zeros((62_000, 28, 28), np.uint8), np.arange(62_000, dtype=np.int8) % 10
    write(
        folder / "rotmnist-mnist.cache",
        f"rotmnist-mnist-{rotmnist.FORMAT}",
        {"images": images, "labels": labels},
    )
    assert (
        find_source(
            folder, {source: folder / f"rotmnist-{source}.cache" for source in rotmnist.POOLS}
        )
        == "mnist"
    )
    record = run(cfg)
    assert record.data["source"] == "embedded"
    assert record.data["sha256"] == digits.description["sha256"]
    _, data, _ = load_trained(left(cfg).path)
    assert data.description["source"] == "embedded"


def test_other_digits_under_the_same_name_are_refused(interrupted):
    """A cache that is whole, but was made of other images."""
    cfg, folder = interrupted
    path, version = folder / "rotmnist-embedded.cache", f"rotmnist-embedded-{rotmnist.FORMAT}"
    arrays = read(path, version)
    arrays["images"][17, 3, 3] ^= 1
    write(path, version, arrays)
    with pytest.raises(
        InputError, match=r"not those that this run was started with:\n  sha256: \w+ there, \w+ now"
    ):
        run(cfg)


def test_record_tells_source_and_checksum(qm9, digits):
    """The checksum is that of the arrays, so that it does not depend on how a machine packs
    them.
    """
    for data, source in ((qm9, "qm9pack"), (digits, "embedded")):
        assert data.description["source"] == source
        assert (
            data.state_dict().items()
            >= {"source": source, "sha256": data.description["sha256"]}.items()
        )
    arrays = read(digits.cache / "rotmnist-embedded.cache", f"rotmnist-embedded-{rotmnist.FORMAT}")
    assert digits.description["sha256"] == hash_arrays(arrays)
    assert qm9.description["sha256"] == hash_arrays(qm9._arrays())
    for changed in (
        {"images": arrays["images"] ^ (arrays["labels"] == 3)[:, None, None]},
        {"labels": arrays["labels"][::-1]},
        {"labels": arrays["labels"].astype(np.int16)},
    ):
        assert hash_arrays({**arrays, **changed}) != digits.description["sha256"]


def test_cache_of_an_older_version_is_built_again(qm9, tmp_path, monkeypatch, caplog):
    """Raising the number of the format is enough, also where the old file is whole."""
    few = {"charges": np.zeros(3, np.int8)}
    write(tmp_path / "qm9-qm9pack.cache", f"qm9-qm9pack-{qm9_module.FORMAT - 1}", few)
    arrays = qm9._arrays()
    monkeypatch.setattr(qm9_module, "read_qm9", lambda source, root: arrays)
    monkeypatch.setattr(cache.np, "savez_compressed", np.savez)  # quicker
    data = QM9(root=DATA, cache=tmp_path)
    data.setup()
    assert "of another version; it is built again" in caplog.text
    assert len(data._arrays()["charges"]) == len(arrays["charges"])
    assert np.array_equal(data._arrays()["sizes"], arrays["sizes"])
