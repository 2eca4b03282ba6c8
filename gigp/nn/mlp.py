"""Multilayer perceptrons, and how they start as the identity."""

from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from gigp.errors import InputError
from gigp.nn.linear import Linear

Activation = Literal["relu", "silu"]


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


def mlp(
    in_channels: int, out_channels: int, layers: int, width: int, activation: Activation = "relu"
) -> nn.Sequential:
    """MLP with `layers` hidden layers of `width` units."""
    sizes = [in_channels, *[width] * layers]
    hidden = [m for i, o in pairwise(sizes) for m in (Linear(i, o), ACTIVATIONS[activation]())]
    return nn.Sequential(*hidden, Linear(sizes[-1], out_channels))


@torch.no_grad()
def start_as_identity(phi: nn.Sequential, channels: int) -> None:
    """Make an MLP return its first `channels` inputs through pairs relu(x) - relu(-x) = x, exactly,
    or, to rounding, silu(x) - silu(-x) = x.

    Units beyond those pairs keep their random inputs and start with no say in the output, so they
    can learn.

    Raises:
        InputError: the hidden layers hold fewer than 2 `channels` units.
    """
    linears = [m for m in phi if isinstance(m, nn.Linear)]
    eye = torch.eye(channels)
    pairs = torch.cat([eye, -eye])  # (2c, c): x -> (x, -x)
    # a rectified pair stays as it is in the next layer; another is put together and taken apart
    # again
    between = (
        torch.eye(2 * channels) if any(isinstance(m, nn.ReLU) for m in phi) else pairs @ pairs.T
    )
    for i, linear in enumerate(linears):
        rows = channels if i == len(linears) - 1 else 2 * channels
        if i < len(linears) - 1 and linear.out_features < rows:
            raise InputError(
                f"{linear.out_features} hidden channels cannot hold the identity on {channels} "
                f"features that init=mean and init=sum start from; use at least {rows}, or "
                "init=random."
            )
        first, last = i == 0, i == len(linears) - 1
        block = (eye if last else pairs) if first else (pairs.T if last else between)
        linear.weight[:rows] = 0
        linear.bias[:rows] = 0
        linear.weight[:rows, : block.shape[1]] = block
