"""Images of digits from files: the same pixels from every format, and what is wrong with the
others.
"""

import struct

import numpy as np
import pytest
import torch
from PIL import Image

from gigp.errors import InputError
from gigp.prediction.entries import read_entries
from gigp.prediction.images import READERS


@pytest.fixture
def digit(digits) -> np.ndarray:
    return digits.images[7].numpy()


def save_idx(path, images):
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes())


def test_every_format_gives_the_same_pixels(tmp_path, digit):
    np.save(tmp_path / "a.npy", digit)
    np.save(tmp_path / "b.npy", np.stack([digit, digit]).astype(np.float32) / 255)
    np.save(tmp_path / "c.npy", digit.astype(np.int64)[None])
    save_idx(tmp_path / "d.idx", digit[None])
    save_idx(tmp_path / "e-images-idx3-ubyte", digit[None])
    Image.fromarray(digit).save(tmp_path / "f.png")
    Image.fromarray(digit).convert("RGB").save(tmp_path / "g.png")
    entries = read_entries(tmp_path, READERS)
    assert [entry.error for entry in entries] == [""] * 8
    for entry in entries:
        torch.testing.assert_close(
            entry.content, torch.from_numpy(digit).float(), rtol=0, atol=1e-4
        )
    assert [entry.name for entry in entries[-2:]] == ["f", "g"]


def test_bad_ones_in_a_stack_cost_no_other(tmp_path, digit):
    stack = np.stack([digit / 255] * 4)
    stack[1, 3, 3], stack[2, 5, 5] = np.nan, 1.5
    np.save(tmp_path / "in.npy", np.concatenate([stack, 1 - stack[:1]]))
    errors = [entry.error for entry in read_entries(tmp_path / "in.npy", READERS)]
    assert [bool(error) for error in errors] == [False, True, True, False, True]
    assert (
        errors[1]
        == errors[2]
        == "values outside 0 to 1, which is the range of pixels of type float64."
    )
    assert "the background is light" in errors[4]


def test_bad_pictures(tmp_path, digit):
    whole = Image.fromarray(digit)
    whole.resize((32, 32)).save(tmp_path / "a.png")
    whole.convert("RGBA").save(tmp_path / "b.png")
    Image.fromarray(255 - digit).save(tmp_path / "c.png")
    (tmp_path / "d.png").write_bytes(b"no picture at all")
    whole.save(tmp_path / "e.png")
    (tmp_path / "e.png").write_bytes((tmp_path / "e.png").read_bytes()[:-150])
    whole.save(tmp_path / "f.jpeg")
    (tmp_path / "f.jpeg").rename(tmp_path / "f.png")
    messages = [
        "32 x 32 pixels; the model takes 28 x 28",
        "mode RGBA",
        "background is light",
        *["no whole png"] * 3,
    ]
    entries = read_entries(tmp_path, READERS)
    for entry, message in zip(entries, messages, strict=True):
        assert message in entry.error, entry


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"no array", "is no whole .npy array of numbers"),
        ("a.npy", b"", "is no whole .npy array of numbers"),
        ("a.idx", b"\0\0\x08\x01\0\0\0\x02ab", "is no idx file of images"),
        ("a.idx", struct.pack(">4B3I", 0, 0, 8, 3, 2, 28, 28) + bytes(784), "is cut short"),
        ("a.idx", b"", "is cut short"),
        ("a.idx", struct.pack(">4B3I", 0, 0, 8, 3, 0, 28, 28), "is empty"),
    ],
)
def test_bad_stacks(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_entries(tmp_path / name, READERS)


def test_arrays_execute_nothing_and_have_the_right_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"is no whole \.npy array of numbers"):
        read_entries(tmp_path / "a.npy", READERS)
    np.save(tmp_path / "b.npy", np.zeros((5, 784), np.uint8))
    with pytest.raises(InputError, match=r"has the shape \(1, 5, 784\); it should be"):
        read_entries(tmp_path / "b.npy", READERS)
    np.save(tmp_path / "c.npy", np.zeros((1, 28, 28), complex))
    assert "pixels of type complex128" in read_entries(tmp_path / "c.npy", READERS)[0].error
