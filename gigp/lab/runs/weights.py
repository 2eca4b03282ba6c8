"""Weights of a finished model in one small file (safetensors), to be shared.

The file holds every number that predictions need: the weights, the reference values of atoms, and,
as JSON among its metadata, what names the data and describes the training set.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from pydantic import BaseModel, Json, ValidationError
from torch import Tensor

from gigp.errors import InputError, first_line
from gigp.lab.files import read_bytes, write_atomically

FORMAT = "gigp-model-1"
FILE = "model.safetensors"
LARGEST = 256 * 2**20  # bytes
MOST_TEXT = 16 * 2**20  # bytes of the header of a file
TENSOR_ERRORS = (OSError, ValueError, KeyError, RecursionError, safetensors.SafetensorError)
DIGEST, BLANK = b'"digest":"', b"0" * 64  # in the header, and what stands there when it is computed
DATA = "data."  # prefix of the tensors that belong to the data set


class ModelMetadata(BaseModel):
    """What the file of a model says beside its numbers.

    Attributes:
        dataset: class of the data module.
        state: its state without tensors.
        description: `data` of the run's record.
    """

    dataset: str
    state: Json[dict[str, Any]]
    description: Json[dict[str, Any]]


def save_weights(
    path: Path,
    checkpoint: dict[str, Any],
    dataset: str,
    description: dict[str, Any],
    half: bool = False,
) -> None:
    """Write the weights of a checkpoint.

    Args:
        path: file to write.
        checkpoint: `state_dict` of the Lightning module and, under the name of its class, the state
            of the data module.
        dataset: name of that class.
        description: `data` of the run's record.
        half: store matrices in half precision; all other numbers keep theirs.

    Raises:
        InputError: the file cannot be written.
    """
    tensors = {
        name: (value.half() if half and value.ndim > 1 else value).contiguous()
        for name, value in checkpoint["state_dict"].items()
    }
    state: dict[str, Any] = {}
    for key, value in checkpoint.get(dataset, {}).items():
        if isinstance(value, Tensor):
            tensors[DATA + key] = value.contiguous()
        else:
            state[key] = value
    metadata = {
        "format": FORMAT,
        "dataset": dataset,
        "state": json.dumps(state),
        "description": json.dumps(description),
    }
    write_atomically(path, pack_tensors(tensors, metadata))


def read_weights(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read weights written by `save_weights`, in the form of a checkpoint.

    Raises:
        InputError: it is missing or damaged.
    """
    tensors, metadata = _read(path)
    tensors = {name: value.to(map_location) for name, value in tensors.items()}
    data = {name for name in tensors if name.startswith(DATA)}
    state = metadata.state | {name.removeprefix(DATA): tensors[name] for name in data}
    weights = {name: value for name, value in tensors.items() if name not in data}
    return {"state_dict": weights, metadata.dataset: state}


def read_description(path: Path) -> dict[str, Any]:
    """The description of the data that a model was trained on.

    Raises:
        InputError: the file is missing or damaged.
    """
    return _read(path)[1].description


def _read(path: Path) -> tuple[dict[str, Tensor], ModelMetadata]:
    """Tensors and metadata of a model, checked."""
    try:
        tensors, metadata = read_tensors(path, FORMAT, LARGEST)
        return tensors, ModelMetadata(**metadata)
    except (*TENSOR_ERRORS, ValidationError) as error:
        reason = first_line(error)
        raise InputError(f"{path} is damaged or not a model of this project ({reason}).") from error


def read_tensors(path: Path, form: str, most: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file of safetensors, and its metadata.

    Nothing is mapped, as the file may change, and nothing allocates more than the file has bytes.

    Args:
        form: `format` among the metadata.
        most: bytes that the file may have.

    Raises:
        TENSOR_ERRORS: it is missing, damaged, larger, or of another format.
    """
    content = read_bytes(path, most)
    if content.startswith(b"PK"):
        raise ValueError("an earlier version of gigp wrote it")
    size = int.from_bytes(content[:8], "little")
    if size > MOST_TEXT:
        raise ValueError("it is no file of safetensors, or has too large a header")
    tensors = safetensors.torch.load(content)
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    if (found := metadata.pop("format", None)) != form:
        raise ValueError(f"its format is {found!r:.80}, not {form!r}")
    if digest := metadata.pop("digest", ""):
        written = content.replace(DIGEST + digest.encode(), DIGEST + BLANK, 1)
        if hashlib.sha256(written).hexdigest() != digest:
            raise ValueError("its checksum does not match")
    return tensors, metadata


def pack_tensors(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The content of a file of safetensors with the SHA-256 of all of it, but for these digits."""
    content = safetensors.torch.save(tensors, metadata | {"digest": BLANK.decode()})
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(DIGEST + BLANK, DIGEST + digest, 1)
