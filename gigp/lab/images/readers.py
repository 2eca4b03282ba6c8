"""Gray images from .png and .jpeg files, from .npy arrays, and from idx files as MNIST's."""

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from gigp.errors import InputError, first_line
from gigp.lab.data.entries import Found, Reader
from gigp.lab.progress import report_read

WHITE = 255
DIM = 15  # a file whose pixels are all this dark or darker, of 255, is in another range
DEEP = ("I;16", "I;16B", "I;16L", "I")  # modes of gray values of 16 bits
SMALLEST, LARGEST = 8, 64  # pixels on a side


class ImageRules(NamedTuple):
    """The images that a data set takes.

    Attributes:
        side: number of rows and of columns; None: square, from 8 to 64 pixels.
        digits: they are digits as MNIST's, light on dark, and never of one gray value.
    """

    side: int | None
    digits: bool = False


DIGITS = ImageRules(28, digits=True)


def make_image(pixels: np.ndarray, rules: ImageRules = DIGITS) -> Tensor:
    """One gray image (side, side) float32, black 0 to white 255, from integers in that range or
    floats in [0, 1].

    Raises:
        InputError: another shape or range; for digits a single gray value, or a light background,
            as on paper.
    """
    check_shape(pixels.shape, rules)
    top = _white_value(pixels)
    values = pixels.astype(np.float32)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= top):
        raise InputError(
            f"values outside 0 to {top:g}, which is the range of pixels of type {pixels.dtype}."
        )
    values *= WHITE / top
    if rules.digits:
        _check_digit(values)
    return torch.from_numpy(values)


def check_image(image: object, rules: ImageRules) -> None:
    """Refuse what `make_image` would not have made.

    Raises:
        InputError: something else than a tensor (side, side) of gray values from 0 to 255.
    """
    if not isinstance(image, Tensor):
        raise InputError(
            f"{type(image).__name__} is not an image; pass a tensor (side, side) of gray values "
            f"from 0 to {WHITE}."
        )
    check_shape(tuple(image.shape), rules)
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= WHITE):  # or NaN
        raise InputError(f"values from {low:g} to {high:g}; gray values go from 0 to {WHITE}.")
    if 0 < high <= 1:
        raise InputError(
            f"no pixel is above {high:g}, where white is {WHITE}; multiply by {WHITE}."
        )
    if rules.digits:
        _check_digit(image.cpu().numpy())


def check_shape(shape: tuple[int, ...], rules: ImageRules) -> None:
    """Refuse images of other sizes.

    Args:
        shape: rows and columns.
        rules: the size that is taken.
    """
    size = f"{' x '.join(map(str, shape))} pixels"
    if rules.side is not None and shape != (rules.side, rules.side):
        raise InputError(f"{size}; the model takes {rules.side} x {rules.side}, resize it.")
    square = len(shape) == 2 and shape[0] == shape[1]
    if not (square and SMALLEST <= shape[0] <= LARGEST):
        raise InputError(
            f"{size}; images are gray and square, from {SMALLEST} x {SMALLEST} to "
            f"{LARGEST} x {LARGEST}: crop or resize it."
        )


def read_picture(path: Path, rules: ImageRules = DIGITS) -> Iterator[Found]:
    """The one image of a .png or .jpeg file; colors become gray."""
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            pixels = _decode(image, rules)
        report_read(path.stat().st_size)
        if rules.digits:
            _check_brightness(pixels[None])
        yield path.stem, make_image(pixels, rules)
    except InputError as error:
        yield path.stem, error
    except FileNotFoundError:
        raise
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        yield path.stem, InputError(f"not a complete png or jpeg file ({first_line(error)}).")


def read_npy(path: Path, rules: ImageRules = DIGITS) -> Iterator[Found]:
    """The images of an .npy array, (n, side, side) or (side, side)."""
    try:
        stack = np.load(path, allow_pickle=False)
        if not isinstance(stack, np.ndarray):
            raise ValueError("an archive of arrays")
    except OSError:
        raise
    # numpy has no error class for a broken file: those of tokens, zip, memory, values
    except Exception as error:
        raise InputError(
            f"{path} is not a complete .npy array of numbers ({first_line(error)})."
        ) from error
    yield from read_stack(path, stack[None] if stack.ndim == 2 else stack, rules)


def read_idx(path: Path, rules: ImageRules = DIGITS) -> Iterator[Found]:
    """The images of an idx file: 0, 0, 8, the number of dimensions, their sizes, and the pixels."""
    content = path.read_bytes()
    if content and not content.startswith(b"\0\0\x08\x03"):
        raise InputError(
            f"{path} is not an idx file of images: it should start with the bytes 0, 0, 8, 3."
        )
    shape = struct.unpack(">3I", content[4:16]) if len(content) >= 16 else (0, 0, 0)
    if len(content) < 16 or len(content) != 16 + shape[0] * shape[1] * shape[2]:
        raise InputError(f"{path} is cut short: {len(content):,} bytes for the shape {shape}.")
    yield from read_stack(path, np.frombuffer(content, np.uint8, offset=16).reshape(shape), rules)


def _decode(image: Image.Image, rules: ImageRules) -> np.ndarray:
    """Gray values (side, side) uint8 of an opened file, upright where it says how it was held.

    Raises:
        InputError: another size, several images, transparent pixels, or more than 8 bits.
    """
    check_shape((image.height, image.width), rules)  # before anything is decoded
    if getattr(image, "n_frames", 1) > 1:
        raise InputError("an animation; write the one image that is meant.")
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", *DEEP):
        raise InputError(f"an image of mode {image.mode}; write it as 8-bit gray or RGB.")
    image = ImageOps.exif_transpose(image)
    if image.mode in DEEP:
        return _from_16_bits(np.asarray(image))
    colors = image.convert("RGBA")  # a palette or a single color can be transparent, too
    if np.asarray(colors)[..., 3].min() < WHITE:
        raise InputError(
            "transparent pixels, which have no gray value; place the image on a background."
        )
    return np.asarray(image.convert("L"))


def _from_16_bits(pixels: np.ndarray) -> np.ndarray:
    """Gray values of 16 bits as 8, (side, side) uint8: white is 65535 there, 257 times 255."""
    if pixels.min() < 0 or pixels.max() > 257 * WHITE:
        raise InputError(
            f"gray values from {pixels.min()} to {pixels.max()}; an image of 16 bits has 0 to "
            f"{257 * WHITE}."
        )
    return np.round(pixels / 257).astype(np.uint8)


def _check_digit(values: np.ndarray) -> None:
    """Refuse what is no digit of MNIST's kind."""
    if values.min() == values.max():
        raise InputError(f"all pixels are {values.max():g} of {WHITE}: there is no digit.")
    frame = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
    if frame.mean() > min(WHITE / 2, values[1:-1, 1:-1].mean()):
        raise InputError(
            "the background is light, its border brighter than the rest; digits must be light on "
            "dark, as MNIST's: invert the image."
        )


def _white_value(pixels: np.ndarray) -> float:
    """Value of white for pixels of a type: 255 for integers, 1 for floats and booleans."""
    if pixels.dtype.kind not in "buif":
        raise InputError(
            f"pixels of type {pixels.dtype}; give integers from 0 to 255 or floats from 0 to 1."
        )
    return WHITE if pixels.dtype.kind in "ui" else 1.0


def _check_brightness(stack: np.ndarray) -> None:
    """Refuse a file whose brightest pixel is far from white, such as integers from 0 to 1: the
    model would see black images.

    Args:
        stack: all images of the file, (n, side, side).
    """
    white = _white_value(stack)
    brightest = stack.max(initial=0, where=np.isfinite(stack))
    if 0 < brightest <= DIM * white / WHITE:
        raise InputError(
            f"no pixel of the file is above {brightest:g}, where white is {white:g} for type "
            f"{stack.dtype}; multiply by {white / brightest:.4g}, or give integers from 0 to 255 "
            "or floats from 0 to 1."
        )


def read_stack(path: Path, stack: np.ndarray, rules: ImageRules) -> Iterator[Found]:
    """The images of a stack one by one.

    Raises:
        InputError: it is none, or in another range.
    """
    side = "side" if rules.side is None else rules.side
    if stack.ndim != 3 or (rules.side is not None and stack.shape[1:] != (side, side)):
        raise InputError(
            f"{path} has the shape {stack.shape}; it should be (n, {side}, {side}), gray."
        )
    try:
        _check_brightness(stack)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    for pixels in stack:
        report_read(pixels.nbytes)
        try:
            yield "", make_image(pixels, rules)
        except InputError as error:
            yield "", error


PICTURE_READERS: dict[str, Reader] = {  # of single images of any size
    ending: partial(read_picture, rules=ImageRules(None)) for ending in (".png", ".jpg", ".jpeg")
}


def image_readers(rules: ImageRules) -> dict[str, Reader]:
    """Readers of the images that a data set takes."""
    return {
        ".png": partial(read_picture, rules=rules),
        ".jpg": partial(read_picture, rules=rules),
        ".jpeg": partial(read_picture, rules=rules),
        ".npy": partial(read_npy, rules=rules),
        ".idx": partial(read_idx, rules=rules),
        "idx3-ubyte": partial(read_idx, rules=rules),
    }


IMAGE_READERS = image_readers(DIGITS)
