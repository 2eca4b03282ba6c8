"""Rotated MNIST: parts, the grid, batches, augmentation. Where digits come from is in
test_rotmnist_sources.py.
"""

import pytest
import torch

from gigp.errors import InputError
from gigp.lab.data.cache import write
from gigp.lab.images import rotmnist
from gigp.lab.images.clouds import pixel_grid
from gigp.lab.images.rotmnist import RotMNIST

MEAN, STD = RotMNIST.mean, RotMNIST.std


def test_embedded_digits(digits):
    assert digits.images.shape == (5000, 28, 28)
    assert digits.labels.bincount().tolist() == [500] * 10
    assert {part: len(i) for part, i in digits.indices.items()} == {
        "train": 3000,
        "val": 500,
        "test": 1500,
    }
    assert torch.cat(list(digits.indices.values())).unique().numel() == 5000


@pytest.mark.parametrize(("part", "least"), [("train", 250), ("val", 30), ("test", 100)])
def test_every_class_is_in_every_part(digits, part, least):
    counts = digits.labels[digits.indices[part]].bincount()
    assert len(counts) == 10
    assert counts.min() >= least


def test_subsets_lie_inside_their_part(digits):
    small = RotMNIST(
        cache=digits.cache, source="embedded", train_size=200, val_size=50, test_size=100
    )
    small.setup()
    assert small.description["sizes"] == {"train": 200, "val": 50, "test": 100}
    for part, indices in small.indices.items():
        assert torch.equal(indices, digits.indices[part][: len(indices)])
        assert small.labels[indices].unique().tolist() == list(range(10))
    assert small.description["split_hash"] != digits.description["split_hash"]


def test_splits_of_as_many_other_digits_have_other_names(digits, tmp_path, monkeypatch):
    """The original and MNIST turned here: the same indices, which mean other images."""
    few = {
        "images": digits.images[:50].numpy(),
        "labels": digits.labels[:50].numpy().astype("int8"),
    }
    names = {}
    for source in ("larochelle", "mnist"):
        monkeypatch.setitem(rotmnist.POOLS, source, (40, 10))
        monkeypatch.setitem(rotmnist.VALIDATION, source, 10)
        write(tmp_path / f"rotmnist-{source}.cache", f"rotmnist-{source}-{rotmnist.FORMAT}", few)
        data = RotMNIST(root=tmp_path, cache=tmp_path, source=source)
        data.setup()
        names[source] = data.description["split_hash"]
    assert names["larochelle"] != names["mnist"]


def test_grid():
    pos, disk = pixel_grid()
    assert pos[0].tolist() == [-14, 14]  # the first pixel is top left: x to the right, y up
    assert pos[27].tolist() == [14, 14]
    assert pos[-1].tolist() == [14, -14]
    assert int(disk.sum()) == 648
    assert (pos[disk].norm(dim=-1) < 15).all()
    assert pos[~disk].norm(dim=-1).min() >= 15


@pytest.mark.parametrize(("row", "column"), [(5, 9), (13, 14), (20, 3), (27, 16)])
def test_a_lit_pixel_is_at_its_position(digits, row, column):
    images = torch.zeros(1, 28, 28, dtype=torch.uint8)
    images[0, row, column] = 255
    cloud, _ = digits.prepare_batch((images, torch.zeros(1).long()), augment=False)
    feat = cloud.feat
    x, y = cloud.pos[0, int(feat[0, :, 0].argmax())].tolist()
    assert (x, y) == pytest.approx(((column - 13.5) * 28 / 27, (13.5 - row) * 28 / 27), abs=1e-5)
    assert feat.max() == pytest.approx((1 - MEAN) / STD, abs=1e-5)
    assert feat.min() == pytest.approx(-MEAN / STD, abs=1e-5)


def test_batches(digits):
    raw = digits.get_batch(torch.arange(4))
    (pos, feat, mask, *_), labels = digits.prepare_batch(raw, augment=False)
    assert pos.shape == (1, 648, 2)
    assert feat.shape == (4, 648, 1)
    assert mask.shape == (1, 648)
    assert mask.all()
    assert torch.equal(labels, digits.labels[:4])
    again, _ = digits.prepare_batch(raw, augment=False)
    assert torch.equal(again.feat, feat)


def test_whole_test_set_as_the_loader_gives_it(digits):
    labels = torch.cat(
        [digits.prepare_batch(batch, augment=False)[1] for batch in digits.test_dataloader()]
    )
    assert torch.equal(labels, digits.labels[digits.indices["test"]])


def test_augmentation_keeps_ink_and_labels_and_repeats(digits):
    raw = digits.get_batch(torch.arange(64))
    plain, _ = digits.prepare_batch(raw, augment=False)
    moved = []
    for _ in range(2):
        torch.manual_seed(3)
        moved.append(digits.prepare_batch(raw, augment=True))
    assert torch.equal(moved[0][0].feat, moved[1][0].feat)
    assert torch.equal(moved[0][1], raw[1])
    # every image is moved
    assert ((moved[0][0].feat - plain.feat).abs().amax((1, 2)) > 0.5).all()
    torch.testing.assert_close(
        moved[0][0].feat.mean((1, 2)), plain.feat.mean((1, 2)), rtol=0, atol=0.1
    )


def blob(x: float, y: float, copies: int) -> torch.Tensor:
    pos, _ = pixel_grid()
    ink = (-(pos - torch.tensor([x, y])).square().sum(-1) / 6).exp() * 255
    return ink.round().to(torch.uint8).view(1, 28, 28).expand(copies, -1, -1)


def center_of_ink(digits: RotMNIST, images: torch.Tensor) -> torch.Tensor:
    cloud, _ = digits.prepare_batch((images, torch.zeros(len(images)).long()), augment=True)
    ink = cloud.feat[..., 0] * STD + MEAN  # (B, N)
    return (ink.unsqueeze(-1) * cloud.pos).sum(1) / ink.sum(1, keepdim=True)  # (B, 2)


def test_augmentation_shifts_by_up_to_two_pixels(digits):
    """A blob at the center stays there when turned, so what moves it is the shift: uniform in a
    square.
    """
    shift = center_of_ink(digits, blob(0, 0, 2000)) * 27 / 28  # pixels
    assert shift.abs().max() < 2.05
    assert shift.amax(0).min() > 1.9
    assert shift.amin(0).max() < -1.9
    torch.testing.assert_close(shift.std(0), torch.full((2,), 4 / 12**0.5), rtol=0.06, atol=0)


def test_augmentation_turns_by_any_angle(digits):
    """A blob off the center goes everywhere on its circle, and a shift moves it at most 2 pixels
    off it.
    """
    place = center_of_ink(digits, blob(8, 0, 2000))
    assert ((place.norm(dim=-1) - 8).abs() < 2 * 2**0.5 * 28 / 27 + 0.1).all()
    angle = torch.atan2(place[:, 1], place[:, 0])
    assert angle.cos().mean().abs() < 0.06
    assert angle.sin().mean().abs() < 0.06
    # 250 in each of 8 on average
    assert torch.histc(angle, 8, -torch.pi, torch.pi).min() > 180


def test_too_large_sizes(digits):
    with pytest.raises(
        InputError, match=r"train_size=10000: this source has 3000.*from 1 to 3000, or null"
    ):
        RotMNIST(cache=digits.cache, source="embedded", train_size=10_000).setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "kaggle"}, "larochelle, mnist, embedded, auto"),
        ({"eval_batch_size": 0}, "positive"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        RotMNIST(**options)
