"""Weights of a finished model in one small file (safetensors), to be shared.

The file holds every number that predictions need: the weights, the reference values of atoms, and,
as JSON among its metadata, what names the data and describes the training set.
"""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from gigp.errors import InputError, first_line
from gigp.lab.files import read_bytes, write_atomically

FORMAT = "gigp-model-1"
FILE = "model.safetensors"
LARGEST = 256 * 2**20  # bytes
DATA = "data."  # prefix of the tensors that belong to the data set


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
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def read_weights(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read weights written by `save_weights`, in the form of a checkpoint.

    Raises:
        InputError: it is missing or damaged.
    """
    content, metadata = _read(path)
    tensors = safetensors.torch.load(content)
    tensors = {name: value.to(map_location) for name, value in tensors.items()}
    data = {name for name in tensors if name.startswith(DATA)}
    state = json.loads(metadata["state"])
    state |= {name.removeprefix(DATA): tensors[name] for name in data}
    weights = {name: value for name, value in tensors.items() if name not in data}
    return {"state_dict": weights, metadata["dataset"]: state}


def read_description(path: Path) -> dict[str, Any]:
    """The description of the data that a model was trained on.

    Raises:
        InputError: the file is missing or damaged.
    """
    return json.loads(_read(path)[1]["description"])


def _read(path: Path) -> tuple[bytes, dict[str, str]]:
    """A file, which is not mapped, as it may change, and its metadata, checked."""
    try:
        content = read_bytes(path, LARGEST)
        safetensors.deserialize(content)  # checks the header
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
        for key in ("state", "description"):
            if not isinstance(json.loads(metadata[key]), dict):
                raise ValueError(f"its {key} is not a dictionary")
    except (OSError, ValueError, KeyError, RecursionError, safetensors.SafetensorError) as error:
        reason = first_line(error)
        raise InputError(f"{path} is damaged or not a model of this project ({reason}).") from error
    return content, metadata
