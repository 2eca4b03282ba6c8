"""Multilayer perceptrons, and their start as the identity."""

from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.errors import InputError, check_choice, check_count
from gigp.nn.linear import call_linear, use_cpu_kernels
from gigp.nn.untouched import are_untouched
from gigp.pointcloud import masked

Activation = Literal["relu", "silu"]
MANY_ROWS = 0.8  # of all; with more, leaving rows out costs more than it saves
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


class MLP(nn.Sequential):
    """`nn.Sequential` whose linear layers run by oneDNN where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., i) -> (..., o)."""
        return run(self, x)


def run(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Call layers one after the other."""
    queue = deque(layers)
    while queue:
        layer = queue.popleft()
        if isinstance(layer, nn.Linear):
            relu = queue.popleft() if queue and isinstance(queue[0], nn.ReLU) else None
            x = call_linear(layer, x, relu)
        else:
            x = layer(x)
    return x


def mlp(
    in_channels: int, out_channels: int, layers: int, width: int, activation: Activation = "relu"
) -> MLP:
    """MLP with `layers` hidden layers of `width` units."""
    check_count("hidden_layers", layers, 0)
    check_count("hidden_channels", width)
    check_choice("activation", activation, Activation)
    sizes = [in_channels, *[width] * layers]
    modules: list[nn.Module] = []
    for size, next_size in pairwise(sizes):
        modules += [nn.Linear(size, next_size), ACTIVATIONS[activation]()]
    return MLP(*modules, nn.Linear(sizes[-1], out_channels))


def identity_mlp(
    channels: int,
    *,
    extra_inputs: int = 0,
    hidden_layers: int = 2,
    hidden_channels: int | None = None,
    activation: Activation = "relu",
) -> MLP:
    """MLP of all pools: `channels` + `extra_inputs` -> `channels`, starts as the identity.

    Args:
        channels: number of channels c that come in and go out.
        extra_inputs: number of further inputs, which the start ignores.
        hidden_layers: number of hidden layers.
        hidden_channels: width of the hidden layers; None: max(64, 2c). At least 2c.
        activation: `relu` or `silu`.
    """
    width = hidden_channels or max(64, 2 * channels)
    phi = mlp(channels + extra_inputs, channels, hidden_layers, width, activation)
    start_as_identity(phi, channels)
    return phi


@torch.no_grad()
def start_as_identity(phi: nn.Sequential, channels: int) -> None:
    """Make an MLP return its first `channels` inputs.

    Pairs of units carry them: relu(x) - relu(-x) = x exactly, silu(x) - silu(-x) = x up to
    rounding. Units beyond those pairs keep their random inputs and have output weights of 0, so
    that they can learn.

    Raises:
        InputError: a hidden layer has fewer than 2 `channels` units.
    """
    linears = [module for module in phi if isinstance(module, nn.Linear)]
    eye = torch.eye(channels)
    pairs = torch.cat([eye, -eye])  # (2c, c): x -> (x, -x)
    # rectified pairs pass through a layer as they are; others are subtracted and split again
    rectified = any(isinstance(module, nn.ReLU) for module in phi)
    between = torch.eye(2 * channels) if rectified else pairs @ pairs.T
    for i, linear in enumerate(linears):
        first, last = i == 0, i == len(linears) - 1
        rows = channels if last else 2 * channels
        if linear.out_features < rows:
            raise InputError(
                f"{linear.out_features} hidden channels cannot hold the identity on {channels} "
                f"features that init=mean and init=sum start from; use at least {rows}, or "
                "init=random."
            )
        into = eye if last else pairs
        onward = pairs.T if last else between
        block = into if first else onward
        linear.weight[:rows] = 0
        linear.bias[:rows] = 0
        linear.weight[:rows, : block.shape[1]] = block


def sum_mlp(phi: nn.Sequential, x: Tensor, weight: Tensor, keep: Tensor) -> Tensor:
    """sum_k weight_k phi(x_k), without work that adds nothing.

    The last layer is linear, so it follows the sum; where anything acts on its call, as a hook or
    an adapter, it is called on every row. On a CPU the others run on those rows alone that `keep`
    names: most orbits of a small cloud are empty. On other devices, in compiled graphs and under
    functorch they run on all rows, so that no shape depends on the data.

    Args:
        phi: MLP that ends with a linear layer.
        x: inputs, (B, K, i).
        weight: weights, (B, K) or (1, K), 0 where `keep` is False.
        keep: rows that count, (B, K) or (1, K).

    Returns:
        (B, o).
    """
    hidden_layers, last = list(phi)[:-1], cast(nn.Linear, phi[-1])
    if not are_untouched(phi, last, kinds=(MLP, nn.Linear)):
        return (weight.unsqueeze(1) @ phi(x)).squeeze(1)
    rows = None  # all
    if use_cpu_kernels(x):
        rows = keep.expand(x.shape[:2]).flatten().nonzero().squeeze(1)  # (R,)
    if rows is None or len(rows) > MANY_ROWS * x.shape[:2].numel():
        total = (weight.unsqueeze(1) @ run(hidden_layers, x)).squeeze(1)  # (B, hidden)
    else:
        scale = weight.expand(x.shape[:2]).flatten()[rows].unsqueeze(-1)
        values = scale * run(hidden_layers, TakeRows.apply(x.flatten(0, 1), rows))
        total = values.new_zeros(len(x), values.shape[1])
        total = total.index_add(0, rows // x.shape[1], values)
    return F.linear(total, last.weight) + weight.sum(-1, keepdim=True) * last.bias


def map_mlp(phi: nn.Sequential, x: Tensor, keep: Tensor) -> Tensor:
    """phi of the rows that count, 0 elsewhere; what those hold makes no difference.

    Args:
        phi: MLP.
        x: inputs, (B, N, i).
        keep: rows that count, (B, N) or (1, N).

    Returns:
        (B, N, o).
    """
    if not use_cpu_kernels(x):
        return masked(phi(masked(x, keep)), keep)
    rows = keep.expand(x.shape[:2]).flatten().nonzero().squeeze(1)  # (R,)
    values = phi(TakeRows.apply(x.flatten(0, 1), rows))
    out = values.new_zeros(x.shape[:2].numel(), values.shape[1])
    return out.index_copy(0, rows, values).unflatten(0, x.shape[:2])


class TakeRows(torch.autograd.Function):
    """x[rows] of different rows, (R, i), (S,) -> (S, i): the gradient is copied, not added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.num = len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return grad.new_zeros(ctx.num, grad.shape[1]).index_copy(0, rows, grad), None
