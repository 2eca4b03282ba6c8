"""Images of digits from files: the same pixels from every format, and what is wrong with the
others.
"""

import struct

import numpy as np
import pytest
import torch
from PIL import Image

from gigp.errors import InputError
from gigp.lab.data.entries import read_entries
from gigp.lab.images.readers import IMAGE_READERS, make_image, read_picture


@pytest.fixture
def digit(digits) -> np.ndarray:
    return digits.images[7].numpy()


def save_idx(path, images):
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes())


def errors(path) -> list[str]:
    return [entry.error for entry in read_entries(path, IMAGE_READERS)]


def test_every_format_gives_the_same_pixels(tmp_path, digit):
    np.save(tmp_path / "a.npy", digit)
    np.save(tmp_path / "b.npy", np.stack([digit, digit]).astype(np.float32) / 255)
    np.save(tmp_path / "c.npy", digit.astype(np.int64)[None])
    save_idx(tmp_path / "d.idx", digit[None])
    save_idx(tmp_path / "e-images-idx3-ubyte", digit[None])
    Image.fromarray(digit).save(tmp_path / "f.png")
    Image.fromarray(digit).save(tmp_path / "f.jpeg", quality=100)
    for mode in ("RGB", "RGBA", "LA", "P"):  # all of them opaque
        Image.fromarray(digit).convert(mode).save(tmp_path / f"g{mode}.png")
    entries = read_entries(tmp_path, IMAGE_READERS)
    assert [entry.error for entry in entries] == [""] * 12
    for entry in entries:
        torch.testing.assert_close(
            entry.content,
            torch.from_numpy(digit).float(),
            rtol=0,
            atol=4 if entry.file.endswith("jpeg") else 1e-4,
        )
    assert [entry.name for entry in entries[-2:]] == ["gRGB", "gRGBA"]


def test_bad_ones_in_a_stack_cost_no_other(tmp_path, digit):
    stack = np.stack([digit / 255] * 4)
    stack[1, 3, 3], stack[2, 5, 5] = np.nan, 1.5
    np.save(tmp_path / "in.npy", np.concatenate([stack, 1 - stack[:1], 0 * stack[:1]]))
    found = errors(tmp_path / "in.npy")
    assert [bool(error) for error in found] == [False, True, True, False, True, True]
    expected = "values outside 0 to 1, which is the range of pixels of type float64."
    assert found[1] == found[2] == expected
    assert "the background is light" in found[4]
    assert "all pixels are 0 of 255" in found[5]


def test_bad_pictures(tmp_path, digit):
    whole = Image.fromarray(digit)
    whole.resize((32, 32)).save(tmp_path / "a.png")
    Image.fromarray(digit.astype(np.uint16)).save(tmp_path / "b.png")
    Image.fromarray(255 - digit).save(tmp_path / "c.png")
    (tmp_path / "d.png").write_bytes(b"no picture at all")
    whole.save(tmp_path / "e.png")
    (tmp_path / "e.png").write_bytes((tmp_path / "e.png").read_bytes()[:-150])
    whole.save(tmp_path / "f.gif")
    (tmp_path / "f.gif").rename(tmp_path / "f.png")
    whole.save(tmp_path / "g.png", save_all=True, append_images=[whole.rotate(90)])
    Image.new("L", (28, 28), 40).save(tmp_path / "h.png")
    messages = [
        "32 x 32 pixels; the model takes 28 x 28",
        "no pixel of the file is above 1",  # 8 bits in 16
        "background is light",
        *["not a complete png or jpeg"] * 3,
        "an animation",
        "all pixels are 40 of 255",
    ]
    for error, message in zip(errors(tmp_path), messages, strict=True):
        assert message in error


def test_transparent_pixels_have_no_gray_value(tmp_path, digit):
    """Black ink on nothing is an all-black image once the transparency is gone."""
    ink = Image.fromarray((digit > 127).astype(np.uint8))  # the palette index
    ink.putpalette([0, 0, 0, 0, 0, 0])
    ink.save(tmp_path / "palette.png", transparency=0)
    Image.fromarray(digit).save(tmp_path / "gray.png", transparency=0)
    Image.fromarray(digit).convert("RGB").save(tmp_path / "rgb.png", transparency=(0, 0, 0))
    for mode in ("LA", "RGBA"):
        image = Image.new("L", (28, 28)).convert(mode)
        image.putalpha(Image.fromarray(digit))
        image.save(tmp_path / f"{mode}.png")
    found = errors(tmp_path)
    assert len(found) == 5
    assert all("transparent pixels" in error for error in found)


@pytest.mark.parametrize("top", [1, 15])
@pytest.mark.parametrize("kind", ["npy", "floats", "idx", "png"])
def test_pixels_in_another_range(tmp_path, digit, top, kind):
    """Such as integers from 0 to 1: nearly black, where 255 is white. The file as a whole tells."""
    dim = (digit > 127).astype(np.uint8) * top
    stack = np.stack([dim, 0 * dim])
    path = tmp_path / f"in.{'npy' if kind == 'floats' else kind}"
    if kind == "idx":
        save_idx(path, stack)
    elif kind == "png":
        Image.fromarray(dim).save(path)
    else:
        np.save(path, stack.astype(np.int64) if kind == "npy" else stack / 255)
    try:
        (found,) = errors(path)
    except InputError as error:
        found = str(error)
    assert "no pixel of the file is above" in found
    np.save(tmp_path / "good.npy", np.stack([dim, digit]))
    assert errors(tmp_path / "good.npy") == ["", ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"no array", "is not a complete .npy array of numbers"),
        ("a.npy", b"", "is not a complete .npy array of numbers"),
        ("a.idx", b"\0\0\x08\x01\0\0\0\x02ab", "is not an idx file of images"),
        ("a.idx", struct.pack(">4B3I", 0, 0, 8, 3, 2, 28, 28) + bytes(784), "is cut short"),
        ("a.idx", b"", "is cut short"),
        ("a.idx", struct.pack(">4B3I", 0, 0, 8, 3, 0, 28, 28), "is empty"),
    ],
)
def test_bad_stacks(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_entries(tmp_path / name, IMAGE_READERS)


def test_arrays_execute_nothing_and_have_the_right_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "b.npy", np.zeros((5, 784), np.uint8))
    np.save(tmp_path / "c.npy", np.zeros((1, 28, 28), complex))
    for name, message in (
        ("a", r"is not a complete \.npy array of numbers"),
        ("b", r"has the shape \(1, 5, 784\); it should be"),
        ("c", "pixels of type complex128"),
    ):
        with pytest.raises(InputError, match=message):
            read_entries(tmp_path / f"{name}.npy", IMAGE_READERS)


def test_gray_values_of_16_bits(tmp_path, digit):
    deep = digit.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    ((_, image),) = read_picture(tmp_path / "deep.png")
    assert torch.equal(image, torch.from_numpy(digit).float())


def test_gray_paper_is_paper(digit):
    """A dark digit on gray 110 is not a light one on dark."""
    with pytest.raises(InputError, match="its border brighter than the rest"):
        make_image(np.where(digit > 127, 8, 110).astype(np.uint8))
    make_image(np.maximum(digit, 20))  # a dark background need not be black


def test_no_digit_is_taken_for_paper(digits):
    images = digits.images.float()
    inner = images[:, 1:-1, 1:-1].mean((1, 2))
    frame = (images.sum((1, 2)) - 26**2 * inner) / 108
    assert (frame <= inner).all()
