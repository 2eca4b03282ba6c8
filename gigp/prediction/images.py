"""Images of digits from .png files, from .npy arrays, and from idx files as MNIST's."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gigp.errors import InputError
from gigp.prediction.entries import Found, Reader

SIDE = 28


def make_image(pixels: np.ndarray) -> Tensor:
    """One gray image (28, 28) float32, black 0 to white 255, from integers in that range or floats
    in [0, 1].

    Raises:
        InputError: another shape or range, or a light background, as on paper: the digits of MNIST
            are light on dark.
    """
    if pixels.shape != (SIDE, SIDE):
        raise InputError(
            f"{' x '.join(map(str, pixels.shape))} pixels; the model takes {SIDE} x {SIDE}, resize "
            "it."
        )
    if pixels.dtype.kind not in "buif":
        raise InputError(
            f"pixels of type {pixels.dtype}; give integers from 0 to 255 or floats from 0 to 1."
        )
    top = 1.0 if pixels.dtype.kind in "bf" else 255
    values = pixels.astype(np.float32)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= top):
        raise InputError(
            f"values outside 0 to {top:g}, which is the range of pixels of type {pixels.dtype}."
        )
    values *= 255 / top
    frame = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
    if frame.mean() > 127:
        raise InputError(
            "the background is light; digits must be light on dark, as MNIST's: invert the image."
        )
    return torch.from_numpy(values)


def read_png(path: Path) -> Iterator[Found]:
    """The one image of a .png file; colors become gray."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.size != (SIDE, SIDE):  # before anything is decoded
                raise InputError(
                    f"{image.width} x {image.height} pixels; the model takes {SIDE} x {SIDE}, "
                    "resize it."
                )
            if image.mode not in ("1", "L", "P", "RGB"):
                raise InputError(
                    f"a png of mode {image.mode}; write it as 8-bit gray or RGB without "
                    "transparency."
                )
            yield path.stem, make_image(np.asarray(image.convert("L")))
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
        yield path.stem, InputError(f"no whole png file ({str(error).splitlines()[0][:80]}).")


def read_npy(path: Path) -> Iterator[Found]:
    """The images of an .npy array, (n, 28, 28) or (28, 28)."""
    try:
        stack = np.load(path, allow_pickle=False)
        if not isinstance(stack, np.ndarray):
            raise ValueError("an archive of arrays")
    except OSError:
        raise
    # numpy has no error class for a broken file: those of tokens, zip, memory, values
    except Exception as error:
        raise InputError(
            f"{path} is no whole .npy array of numbers ({str(error).splitlines()[0][:80]})."
        ) from error
    yield from _images(path, stack[None] if stack.ndim == 2 else stack)


def read_idx(path: Path) -> Iterator[Found]:
    """The images of an idx file: 0, 0, 8, the number of dimensions, their sizes, and the pixels."""
    content = path.read_bytes()
    if content and not content.startswith(b"\0\0\x08\x03"):
        raise InputError(
            f"{path} is no idx file of images: it should start with the bytes 0, 0, 8, 3."
        )
    shape = struct.unpack(">3I", content[4:16]) if len(content) >= 16 else (0, SIDE, SIDE)
    if len(content) != 16 + shape[0] * shape[1] * shape[2]:
        raise InputError(f"{path} is cut short: {len(content):,} bytes for the shape {shape}.")
    yield from _images(path, np.frombuffer(content, np.uint8, offset=16).reshape(shape))


READERS: dict[str, Reader] = {
    ".png": read_png,
    ".npy": read_npy,
    ".idx": read_idx,
    "idx3-ubyte": read_idx,
}


def _images(path: Path, stack: np.ndarray) -> Iterator[Found]:
    """The images of a stack one by one.

    Raises:
        InputError: it is none.
    """
    if stack.ndim != 3 or stack.shape[1:] != (SIDE, SIDE):
        raise InputError(f"{path} has the shape {stack.shape}; it should be (n, {SIDE}, {SIDE}).")
    for pixels in stack:
        try:
            yield "", make_image(pixels)
        except InputError as error:
            yield "", error
