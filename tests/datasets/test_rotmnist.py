"""Rotated MNIST: sources, splits, the convention that ties pixels to positions, and damaged files."""

import hashlib
import math
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gigp.datasets import RotMNIST
from gigp.datasets import rotmnist_sources as sources
from gigp.datasets.rotmnist import pixel_grid
from gigp.datasets.rotmnist_sources import rotate
from gigp.errors import InputError
from gigp.groups import SO2

RAW = Path(__file__).resolve().parents[3] / "shared" / "data" / "MNIST" / "raw"


def test_embedded_digits(digits):
    assert digits.images.shape == (5000, 28, 28)
    assert digits.labels.bincount().tolist() == [500] * 10
    assert {part: len(i) for part, i in digits.indices.items()} == {"train": 3000, "val": 500, "test": 1500}
    assert torch.cat(list(digits.indices.values())).unique().numel() == 5000
    for indices in digits.indices.values():
        assert digits.labels[indices].unique().tolist() == list(range(10))


def test_regeneration_repeats(digits):
    again = sources.read_rotmnist("embedded", None)
    assert np.array_equal(again["images"], digits.images.numpy())
    assert hashlib.sha256(again["labels"].tobytes()).hexdigest()[:12] == "9954edd9fbec"


@pytest.mark.skipif(not RAW.is_dir(), reason="the MNIST files are not there")
def test_mnist_files(tmp_path):
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / "raw").symlink_to(RAW)
    data = RotMNIST(root=tmp_path, cache=tmp_path)
    data.setup()
    assert data.source == "mnist"
    assert {part: len(i) for part, i in data.indices.items()} == {"train": 10_000, "val": 2_000, "test": 50_000}
    assert data.labels.bincount().min() > 5000
    assert 30 < data.images.float().mean() < 36


def test_grid():
    pos, disk = pixel_grid()
    assert pos[0].tolist() == [-14, 14]   # the first pixel is top left: x to the right, y up
    assert pos[27].tolist() == [14, 14]
    assert pos[-1].tolist() == [14, -14]
    assert int(disk.sum()) == 648
    assert (pos[disk].norm(dim=-1) < 15).all()


@pytest.mark.parametrize("angle", [math.pi / 2, math.pi, -math.pi / 2, 0.7])
def test_turned_images_and_turned_positions_agree(angle):
    """Turning an image of one blob by an angle moves the blob as the group moves its position."""
    pos, _ = pixel_grid()
    blob = (-(pos - torch.tensor([5.0, 6.0])).square().sum(-1) / 8).exp().view(1, 28, 28)
    turned = rotate(blob, torch.tensor([angle])).flatten()
    center = (turned[:, None] * pos).sum(0) / turned.sum()
    g = SO2().exp(torch.tensor([angle]))
    torch.testing.assert_close(center, SO2().act(g, torch.tensor([5.0, 6.0])), rtol=0, atol=0.15)


def test_shift_is_to_the_right_and_up():
    image = torch.zeros(1, 28, 28)
    image[0, 10, 10] = 1
    moved = rotate(image, torch.zeros(1), torch.tensor([[2.0, 3.0]]))
    assert divmod(int(moved.argmax()), 28) == (7, 12)


def test_batches(digits):
    raw = digits.fetch(torch.arange(4))
    (pos, feat, mask), labels = digits.finish(raw, augment=False)
    assert pos.shape == (1, 648, 2)
    assert feat.shape == (4, 648, 1)
    assert mask.all()
    assert torch.equal(labels, digits.labels[:4])
    again, _ = digits.finish(raw, augment=False)
    assert torch.equal(again.feat, feat)
    augmented, _ = digits.finish(raw, augment=True)
    assert (augmented.feat - feat).abs().max() > 0.5
    torch.testing.assert_close(augmented.feat.mean(), feat.mean(), rtol=0, atol=0.1)  # the ink stays


def amat(path: Path, members: dict[str, int]) -> None:
    """A zip archive of the original's form with random digits."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, (name, num) in enumerate(members.items()):
            table = np.random.default_rng(i).random((num, 785)).round(4)
            table[:, 784] = np.arange(num) % 10
            archive.writestr(name, "\n".join("   ".join(f"{v:g}" for v in row) for row in table))


@pytest.fixture
def original(tmp_path, monkeypatch):
    """A small archive in the place of the original."""
    members = {name: num for name, num in zip(sources.MEMBERS, (40, 25), strict=True)}
    path = sources.archive_of(tmp_path)
    path.parent.mkdir()
    amat(path, members)
    monkeypatch.setattr(sources, "MEMBERS", members)
    monkeypatch.setattr(sources, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(sources.POOLS, "larochelle", (40, 25))
    monkeypatch.setitem(__import__("gigp.datasets.rotmnist", fromlist=["x"]).VALIDATION, "larochelle", 10)
    return path


def test_original_files(original, tmp_path):
    data = RotMNIST(root=tmp_path, cache=tmp_path)
    data.setup()
    assert data.source == "larochelle"
    assert {part: len(i) for part, i in data.indices.items()} == {"train": 30, "val": 10, "test": 25}
    assert data.labels.tolist() == [i % 10 for i in range(40)] + [i % 10 for i in range(25)]
    expected = np.random.default_rng(0).random((40, 785)).round(4)[3, :784]
    np.testing.assert_allclose(data.images[3].flatten().numpy() / 255, expected, atol=1 / 500)


def test_original_with_another_md5_is_refused(original, tmp_path):
    original.write_bytes(original.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged: its md5 is not"):
        RotMNIST(root=tmp_path, cache=tmp_path, source="larochelle").setup()
    assert not list(tmp_path.glob("*.cache"))


@pytest.mark.parametrize(("source", "place"), [("larochelle", "mnist_rotation_new.zip"), ("mnist", "MNIST/raw")])
def test_no_network(tmp_path, monkeypatch, source, place):
    import urllib.request

    def refuse(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(InputError, match="could not be downloaded") as error:
        RotMNIST(root=tmp_path, cache=tmp_path, source=source).setup()
    assert place in str(error.value)
    assert "dataset.source=embedded" in str(error.value)


def test_auto_says_what_it_took(tmp_path, caplog):
    data = RotMNIST(root=tmp_path, cache=tmp_path)
    data.setup()
    assert data.source == data.description["source"] == "embedded"
    assert "NOT comparable" in caplog.text


def test_too_large_sizes(tmp_path, digits):
    with pytest.raises(InputError, match="from 1 to 3000"):
        RotMNIST(cache=digits.cache, source="embedded", train_size=10_000).setup()
    with pytest.raises(InputError, match="larochelle, mnist, embedded, auto"):
        RotMNIST(source="kaggle")


def test_damaged_raw_files(tmp_path, monkeypatch):
    if not RAW.is_dir():
        pytest.skip("the MNIST files are not there")
    shutil.copytree(RAW, tmp_path / "MNIST" / "raw")
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="not whole"):
        RotMNIST(root=tmp_path, cache=tmp_path, source="mnist").setup()
