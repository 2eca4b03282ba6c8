"""Checkpoints on disk: read as tensors and plain data only."""

import zipfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.errors import InputError
from gigp.lab.model import PointCloudModel
from gigp.lab.runs.checks import UnfitError, check_weights
from gigp.lab.runs.weights import FILE, read_weights

LARGEST = 4 * 2**30  # bytes of a checkpoint


def find_checkpoint(folder: Path) -> Path:
    """The weights in a folder: those of a model folder, or the best checkpoint of a run, which need
    not exist.
    """
    model = folder / FILE
    return model if model.exists() else folder / "checkpoints" / "best.ckpt"


def load_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, or the file of a model folder, without executing anything in it.

    Raises:
        InputError: it is missing, damaged, too large, or holds more than tensors and plain data.
    """
    if not path.exists():
        raise InputError(f"there is no checkpoint at {path}.")
    if not path.is_file():
        raise unusable(path, "it is not a regular file")
    if path.name == FILE:
        return read_weights(path, map_location)
    if (size := path.stat().st_size) > LARGEST:
        raise unusable(path, f"it has {size:,} bytes; {LARGEST:,} are allowed")
    try:
        _check_archive(path)
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    # torch.load raises errors of many classes: zip, pickle, end of file, runtime
    except Exception as error:
        raise unusable(path, f"{type(error).__name__}: {error}".splitlines()[0][:200]) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise unusable(path, "it holds no state_dict")
    return checkpoint


def _check_archive(path: Path) -> None:
    """Check sizes and checksums of all parts; torch itself does not look at those that it writes.

    Raises:
        zipfile.BadZipFile: a checksum does not match, or a part is compressed, which torch never
            writes: it could be far larger than the file.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise zipfile.BadZipFile("it is compressed")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise zipfile.BadZipFile("its parts overlap")
        if spoiled := archive.testzip():
            raise zipfile.BadZipFile(f"the checksum of {spoiled} does not match")


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
