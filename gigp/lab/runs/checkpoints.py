"""Checkpoints on disk: tensors and plain data, which nothing of Python's is needed to read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gigp.errors import InputError, first_line
from gigp.lab.files import open_atomically
from gigp.lab.model import PointCloudModel
from gigp.lab.runs.checks import HistoryState, UnfitError, check_weights, parse_state
from gigp.lab.runs.weights import FILE, TENSOR_ERRORS, pack_tensors, read_tensors, read_weights

FORMAT = "gigp-checkpoint-1"
LARGEST = 4 * 2**30  # bytes of a checkpoint
TENSOR = "$tensor"  # key of a tensor's name in place of the tensor


def find_checkpoint(folder: Path) -> Path:
    """The weights in a folder: those of a model folder, or the best checkpoint of a run, which need
    not exist.
    """
    model = folder / FILE
    return model if model.exists() else folder / "checkpoints" / "best.ckpt"


def load_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, or the file of a model folder, as tensors and plain data.

    Raises:
        InputError: it is missing, damaged, too large, or holds no weights.
    """
    if not path.exists():
        raise InputError(f"there is no checkpoint at {path}.")
    if path.name == FILE:
        return read_weights(path, map_location)
    try:
        tensors, metadata = read_tensors(path, FORMAT, LARGEST)
        tensors = {name: value.to(map_location) for name, value in tensors.items()}
        checkpoint = json.loads(
            metadata["rest"],
            object_hook=lambda node: tensors.pop(node[TENSOR]) if TENSOR in node else node,
        )
        if not isinstance(checkpoint, dict) or not tensors:
            raise ValueError("it holds no weights")
    except (*TENSOR_ERRORS, TypeError) as error:
        raise unusable(path, first_line(error)) from error
    return checkpoint | {"state_dict": tensors}


def read_state(path: Path, checkpoint: dict[str, Any] | None = None) -> HistoryState:
    """Settings, history and provenance of a training, from its checkpoint.

    Args:
        checkpoint: content of the file, where it has been read already.

    Raises:
        InputError: it is damaged.
    """
    try:
        return parse_state(checkpoint or load_checkpoint(path)).callbacks.History
    except UnfitError as error:
        raise unusable(path, str(error)) from None


def save_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: tensors as safetensors, the weights by their names, and all
    else as JSON among their metadata.

    Args:
        checkpoint: `state_dict`, and anything made of tensors, numbers, text, lists and
            dictionaries.

    Raises:
        InputError: it cannot be written.
    """
    tensors = {name: _plain(value) for name, value in checkpoint["state_dict"].items()}

    def keep(value: Any) -> dict[str, str]:
        tensors[name := f"#{len(tensors)}"] = _plain(value)
        return {TENSOR: name}

    rest = {key: value for key, value in checkpoint.items() if key != "state_dict"}
    metadata = {"format": FORMAT, "rest": json.dumps(rest, default=keep)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            file.write(pack_tensors(tensors, metadata))
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {first_line(error)}. The checkpoint before it is intact."
        ) from error


def _plain(value: Tensor) -> Tensor:
    """A tensor that shares its memory with no other one."""
    return value.detach().cpu().contiguous().clone()


def unusable(path: Path, reason: str) -> InputError:
    """The error for a checkpoint that cannot be used."""
    return InputError(
        f"{path} is damaged or not a checkpoint of this run ({reason}). Delete it, or start again "
        "with overwrite=true."
    )


def load_backbone(model: PointCloudModel, source: Path, extra: int = 0) -> None:
    """Take backbone and head from a model folder or the best checkpoint of a run with any pool.

    A model without a backbone takes the head, and one whose pool changes the number of channels
    starts with a new head.

    Args:
        source: folder of a run or model, or a checkpoint.
        extra: number of channels behind those of the backbone, which the head ignores at the start.

    Raises:
        InputError: there is no checkpoint, or its backbone has another shape.
    """
    path = find_checkpoint(source) if source.is_dir() else source
    state = load_checkpoint(path)["state_dict"]
    names = ["backbone"] if list(model.backbone.parameters()) else []
    head = model.head
    channels = model.backbone.out_channels
    if isinstance(head, nn.Linear) and head.in_features in (channels, channels + extra):
        names.append("head")
    for name in names:
        prefix = f"model.{name}."
        part = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix)
        }
        if name == "head" and isinstance(part.get("weight"), Tensor):
            part["weight"] = F.pad(part["weight"], (0, extra))
        try:
            check_weights(part, getattr(model, name))
        except UnfitError as error:
            raise InputError(
                f"the {name} in {path} does not fit this configuration: {error}. Use the backbone, "
                "group, scale and target of that run (its config.yaml has them)."
            ) from None
        getattr(model, name).load_state_dict(part)
