"""Input files damaged at random: every entry is right or has its mistake named, and nothing else
comes of them.
"""

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image

from gigp.errors import InputError
from gigp.lab.data.entries import read_entries
from gigp.lab.images.readers import IMAGE_READERS
from gigp.lab.molecules.readers import MOLECULE_READERS
from tests.lab.molecules.readers.molecules import TEXTS

# what a hand, a spreadsheet or another program may leave in a table of numbers
PIECES = [
    "",
    "nan",
    "inf",
    "-",
    "1e999",
    "99999999999",
    "0",
    "-3",
    "\0",
    "Xx",
    "\n",
    "\t",
    '"',
    ",",
    "²",
    "٣",
    "1_000",
    "0x10",
    "$$$$",
    "Properties=",
    "Properties=pos:R:3",
    "V3000",
    "\r",
    "é",
]


def damaged_text(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice([0, 0, 1, 5, 20]))
        text = text[:start] + chance.choice(PIECES) + text[end:]
    return text


def damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    spoiled = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        # where headers are
        spoiled[chance.randrange(min(len(spoiled), 140))] = chance.randrange(256)
    return bytes(
        spoiled[: chance.choice([len(spoiled), len(spoiled), chance.randrange(len(spoiled))])]
    )


def pictures() -> dict[str, bytes]:
    """One whole file of every format."""
    stroke = np.zeros((28, 28), np.uint8)
    stroke[5:20, 12:15] = 255
    np.save(npy := io.BytesIO(), np.stack([stroke, stroke]))
    Image.fromarray(stroke).save(png := io.BytesIO(), "PNG")
    idx = struct.pack(">4B3I", 0, 0, 8, 3, 2, 28, 28) + 2 * stroke.tobytes()
    return {"a.npy": npy.getvalue(), "a.png": png.getvalue(), "a.idx": idx}


def outcome(path, readers) -> str:
    """What is said of the file or of its first bad entry; nothing where all is well."""
    try:
        return next((entry.error for entry in read_entries(path, readers) if entry.error), "")
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("name", TEXTS)
def test_damaged_molecules(tmp_path, name):
    chance, path = random.Random(name), tmp_path / name
    said = []
    for _ in range(150):
        path.write_text(damaged_text(TEXTS[name], chance))
        said.append(outcome(path, MOLECULE_READERS))
    assert "" in said  # some damage is none, as within a comment
    assert sum(map(bool, said)) > 50


@pytest.mark.parametrize("name", pictures())
def test_damaged_images(tmp_path, name):
    chance, path, whole = random.Random(name), tmp_path / name, pictures()[name]
    path.write_bytes(whole)
    assert outcome(path, IMAGE_READERS) == ""
    said = []
    for _ in range(150):
        path.write_bytes(damaged_bytes(whole, chance))
        said.append(outcome(path, IMAGE_READERS))
    assert sum(map(bool, said)) > 50
