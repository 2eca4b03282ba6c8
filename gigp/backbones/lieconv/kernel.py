"""The kernel MLP of a convolution: linear, batch norm, swish, three times, on very many rows of few
channels.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gigp.distributed import world_size
from gigp.nn.linear import Linear, input_gradient, product, use_cpu_kernels, weight_gradient
from gigp.nn.norm import BatchNorm, NormSequential, RowWeights

BLOCK = 16384  # rows that stay in the cache from one operation to the next: 2 MB for 32 channels


def norm_swish(channels: int, norm: bool = True, same_rows: bool = False) -> list[nn.Module]:
    """Batch norm over the rows, then x * sigmoid(x)."""
    return [BatchNorm(channels, same_rows), nn.SiLU()] if norm else [nn.SiLU()]


class KernelMLP(NormSequential):
    """MLP with a norm and a swish after every layer, the last included.

    On a CPU, evaluation works through the rows block by block, and so does training where they are
    so many that memory decides the speed (`Blockwise`): the same numbers up to rounding, in a third
    of the memory.

    Args:
        sizes: channels of the input and of every layer.
        norm: batch norm over the rows before each swish.
        same_rows: see `BatchNorm`.
    """

    def __init__(self, sizes: list[int], norm: bool = True, same_rows: bool = False) -> None:
        super().__init__()
        for i, o in pairwise(sizes):
            self.extend([Linear(i, o), *norm_swish(o, norm, same_rows)])
        self.norm = norm

    def forward(self, x: Tensor, weights: RowWeights | None = None) -> Tensor:
        """(E, sizes[0]) -> (E, sizes[-1]); `weights`, where given, are the rows that count."""
        if weights is not None or not (self.norm and use_cpu_kernels(x)):
            return super().forward(x, weights)
        layers = list(zip(list(self)[0::3], list(self)[1::3], strict=True))
        if not (self.training or torch.is_grad_enabled()):
            return evaluate(x, layers)
        learns = self.training and torch.is_grad_enabled() and not x.requires_grad
        # whose numbers of rows may ask for different ways
        if not (learns and len(x) > 4 * BLOCK) or world_size() > 1:
            return super().forward(x)
        parameters = [p for linear, norm in layers for p in (linear.weight, norm.weight, norm.bias)]
        out, *statistics = Blockwise.apply(x, self[1].eps, *parameters)
        with torch.no_grad():
            for (linear, norm), (mean, var) in zip(layers, statistics, strict=True):
                norm.running_mean.lerp_(mean + linear.bias, norm.momentum)
                norm.running_var.lerp_(var * len(x) / (len(x) - 1), norm.momentum)
        return out


def evaluate(x: Tensor, layers: list[tuple[nn.Linear, nn.BatchNorm1d]]) -> Tensor:
    """The kernel MLP in evaluation, block by block, with every batch norm taken into the linear
    layer before it.
    """
    folded = []
    for linear, norm in layers:
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        folded.append(
            (linear.weight * scale[:, None], (linear.bias - norm.running_mean) * scale + norm.bias)
        )
    out = []
    for rows in x.split(BLOCK):
        for weight, bias in folded:
            rows = F.silu(product(rows, weight, bias), inplace=True)
        out.append(rows)
    return torch.cat(out)


class Blockwise(torch.autograd.Function):
    """The kernel MLP in training, block by block; keeps only what the linear layers return.

    Layer l takes a, the output of the layer before it, to h = a W' and swish(h * scale + shift),
    where scale and shift are those of batch norm over all rows. The bias before a norm has no
    effect and no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, *parameters: Tensor) -> tuple[Tensor, ...]:
        num, before, affine = len(x), x.split(BLOCK), ()
        layers, statistics = [], []
        for weight, gamma, beta in zip(*[iter(parameters)] * 3, strict=True):
            h, sums = [], x.new_zeros(2, len(weight), dtype=torch.double)
            for a in before:
                h.append(product(_swish(a, *affine), weight))
                sums += torch.stack([h[-1].sum(0), h[-1].square().sum(0)])
            mean = sums[0] / num
            var = (sums[1] / num - mean.square()).clamp(min=0)
            inverse = (var + eps).rsqrt()
            before, affine = (
                h,
                ((gamma * inverse).to(x.dtype), (beta - mean * gamma * inverse).to(x.dtype)),
            )
            layers += [*h, *affine, mean, inverse]
            statistics.append(torch.stack([mean, var]).to(x.dtype))
        out = x.new_empty(num, before[0].shape[1])
        scale, shift = affine
        for h, o in zip(before, out.split(BLOCK), strict=True):
            F.silu(torch.addcmul(shift, h, scale, out=o), inplace=True)
        ctx.save_for_backward(x, *layers, *parameters[::3])
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, *kept = ctx.saved_tensors
        num, blocks = len(x), x.split(BLOCK)
        size = len(blocks) + 4
        depth = len(kept) // (size + 1)
        layers, weights = (
            [kept[size * i : size * (i + 1)] for i in range(depth)],
            kept[size * depth :],
        )
        gradients: list[Tensor] = []
        *h, scale, shift, _, _ = layers[-1]
        sums = _zeros(grad)
        dz = [
            _swish_backward(g, a, scale, shift, sums)
            for g, a in zip(grad.split(BLOCK), h, strict=True)
        ]
        for i in reversed(range(depth)):
            *h, scale, _, mean, inverse = layers[i]
            dbeta, dgamma = sums[0], inverse * (sums[1] - mean * sums[0])
            # batch norm: dh = scale * (dz - mean(dz) - xhat * mean(dz * xhat)) = scale * dz + slope
            # * h + offset
            slope = -scale * inverse * dgamma / num
            offset = (-scale * dbeta / num - slope * mean).to(x.dtype)
            slope = slope.to(x.dtype)
            *before, scale_before, shift_before, _, _ = (
                layers[i - 1] if i else (*blocks, *[None] * 4)
            )
            dweight, sums = torch.zeros_like(weights[i]), _zeros(before[0])
            for j, a in enumerate(before):
                dh = torch.addcmul(offset, h[j], slope).addcmul_(dz[j], scale)
                s = _swish(a, scale_before, shift_before)
                dweight += weight_gradient(dh, s, weights[i])
                if i:
                    dz[j] = _swish_backward(
                        input_gradient(dh, s, weights[i]), a, scale_before, shift_before, sums
                    )
            gradients = [dweight, dgamma.to(x.dtype), dbeta.to(x.dtype), *gradients]
        return None, None, *gradients


def _zeros(h: Tensor) -> Tensor:
    """For the sums of dz and of dz * h over the rows, (2, channels), in double precision."""
    return h.new_zeros(2, h.shape[1], dtype=torch.double)


def _swish(h: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """swish(h * scale + shift); the input of the MLP, without a scale, as it is."""
    return h if scale is None else F.silu(torch.addcmul(shift, h, scale), inplace=True)


def _swish_backward(grad: Tensor, h: Tensor, scale: Tensor, shift: Tensor, sums: Tensor) -> Tensor:
    """Gradient dz of z = h * scale + shift; adds to the sums of dz and dz * h."""
    dz = torch.ops.aten.silu_backward(grad, torch.addcmul(shift, h, scale))
    sums += torch.stack([dz.sum(0), (dz * h).sum(0)])
    return dz
