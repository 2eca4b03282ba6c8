"""Checkpoints of the public LieConv code (github.com/mfinzi/LieConv), which GIGP's code uses too.

They are dictionaries that pickle or dill wrote, with the weights of the net under `model_state`.
"""

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gigp.backbones.lieconv.net import LieResNet
from gigp.errors import InputError
from gigp.lab.model import PointCloudModel

LARGEST = 4 * 2**30  # bytes of a checkpoint
IN_CHANNELS = 15  # of an atom of QM9
PAIR_CHANNELS = 3  # of T(3): the offset of two atoms
KERNEL_CHANNELS = 16
# the reference clamps variances at this; batch norm here adds its own eps instead
SMALLEST_VARIANCE = 1e-5


class Opaque:
    """Replaces every object that is not a tensor or dictionary; it does nothing."""

    def __new__(cls, *arguments: Any, **options: Any) -> "Opaque":
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **options: Any) -> "Opaque":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


def _load_storage(content: bytes) -> Any:
    """A storage of a tensor, which torch writes into a pickle as a file within the file."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _load_storage,
}


class RestrictedUnpickler(pickle.Unpickler):
    """Reads tensors and dictionaries; every other object of a pickle becomes an `Opaque`, so that
    nothing in it is executed.
    """

    def find_class(self, module: str, name: str) -> Any:
        return KNOWN.get((module, name), Opaque)


class NetShape(NamedTuple):
    """The shape of a net.

    Attributes:
        width: channels of the residual stream.
        blocks: number of residual blocks.
        out_channels: numbers that it predicts.
        left_out: names of weights that our net has no place for, such as those of a GIGP layer.
    """

    width: int
    blocks: int
    out_channels: int
    left_out: list[str]


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of the reference, by their names there.

    Raises:
        InputError: it is missing, damaged, or holds no `model_state` of tensors.
    """
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise InputError(f"there is no checkpoint {path} of at most {LARGEST:,} bytes.")
    try:
        if zipfile.is_zipfile(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            with open(path, "rb") as file:
                content = RestrictedUnpickler(file).load()
    # unpickling raises errors of many classes
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(f"{path} is damaged or not a checkpoint of LieConv ({reason}).") from error
    state = content.get("model_state") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path} holds no model_state, as checkpoints of LieConv do.")
    if wrong := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(f"{path}: {str(wrong[0])[:80]!r} in model_state is not a tensor.")
    # a net that was trained on several GPUs has a prefix
    return {str(name).removeprefix("module."): value.detach() for name, value in state.items()}


def find_shape(state: dict[str, Tensor]) -> NetShape:
    """The shape of the net that weights belong to.

    Raises:
        InputError: it is not a net on T(3) for molecules of QM9.
    """
    embed, kernel = (
        state.get("net.0.module.weight"),
        state.get("net.1.conv.weightnet.0.module.weight"),
    )
    if embed is None or kernel is None or embed.ndim != 2 or kernel.ndim != 2:
        raise InputError("model_state does not hold the weights of a LieResNet of LieConv.")
    if embed.shape[1] != IN_CHANNELS or kernel.shape[1] != PAIR_CHANNELS:
        raise InputError(
            f"the net takes {embed.shape[1]} channels and pairs of {kernel.shape[1]} numbers; only "
            f"nets on T(3) for QM9 can be imported, which take {IN_CHANNELS} and {PAIR_CHANNELS}."
        )
    blocks = sum(f"net.{i}.conv.r" in state for i in range(1, len(state)))
    head = state.get(f"net.{blocks + 3}.module.bias")
    if head is None:
        raise InputError("model_state lacks the last linear layer of a LieResNet.")
    return NetShape(len(embed), blocks, len(head), _left_out(state, blocks))


@torch.no_grad()
def copy_weights(model: PointCloudModel, state: dict[str, Tensor]) -> None:
    """Give our model the weights of a reference net of the same layout.

    Args:
        model: `LieResNet` on T(3) with a linear head; its pool is left alone.
        state: weights of the reference.

    Raises:
        InputError: a weight is missing or has another shape, a number is not finite, or the radii
            of the blocks differ.
    """
    net = model.backbone
    if not isinstance(net, LieResNet):
        raise InputError(f"a LieResNet takes weights of LieConv, not a {type(net).__name__}.")
    blocks = len(net.blocks)
    for theirs, ours in _module_names(blocks).items():
        for name, target in model.get_submodule(ours).state_dict().items():
            if name != "num_batches_tracked":
                _copy(f"{theirs}.{name}", state, target)
    radii = torch.stack([state[f"net.{i + 1}.conv.r"].float() for i in range(blocks)])
    if not torch.allclose(radii, radii[:1]):
        raise InputError(
            f"the balls of the blocks have different radii ({radii.tolist()}); only nets whose "
            "blocks have the same fill can be imported."
        )
    net.geometry.radius.copy_(radii)
    model.load_state_dict(model.state_dict())  # the net notes that its radii are set


def _module_names(blocks: int) -> dict[str, str]:
    """Linear layers and batch norms of the reference, and the same ones of our model."""
    names = {"net.0.module": "backbone.embed"}
    for i in range(blocks):
        theirs, ours = f"net.{i + 1}", f"backbone.blocks.{i}"
        for layer in (0, 3, 6):
            names[f"{theirs}.conv.weightnet.{layer}.module"] = f"{ours}.conv.kernel.{layer}"
            names[f"{theirs}.conv.weightnet.{layer + 1}"] = f"{ours}.conv.kernel.{layer + 1}"
        names |= {
            f"{theirs}.conv.linear": f"{ours}.conv.linear",
            f"{theirs}.net.0": f"{ours}.reduce.0",
            f"{theirs}.net.2.module": f"{ours}.reduce.2",
            f"{theirs}.net.3": f"{ours}.reduce.3",
            f"{theirs}.net.6": f"{ours}.expand.0",
            f"{theirs}.net.8.module": f"{ours}.expand.2",
        }
    return names | {f"net.{blocks + 1}": "backbone.final.0", f"net.{blocks + 3}.module": "head"}


def _copy(name: str, state: dict[str, Tensor], target: Tensor) -> None:
    """Copy one weight of the reference in the layout that ours has."""
    value = state.get(name)
    if value is None or value.shape != target.shape or not value.isfinite().all():
        given = "missing" if value is None else f"{tuple(value.shape)} or not finite"
        raise InputError(
            f"{name} in model_state is {given}; it should be {tuple(target.shape)} finite numbers."
        )
    if name.endswith("conv.linear.weight"):
        # the reference sums over channels x kernel numbers, our net over kernel numbers x channels
        value = value.unflatten(1, (-1, KERNEL_CHANNELS)).transpose(1, 2).flatten(1)
    if name.endswith("running_var"):
        value = value.clamp(min=SMALLEST_VARIANCE) - SMALLEST_VARIANCE
    target.copy_(value)


def _left_out(state: dict[str, Tensor], blocks: int) -> list[str]:
    """Weights that are neither ours nor the convolutions, which the reference lists twice."""
    known = _module_names(blocks)
    return [
        name
        for name in state
        if name.rpartition(".")[0] not in known
        and not name.endswith("conv.r")
        and not re.match(r"net\.\d+\.net\.5\.", name)
    ]
