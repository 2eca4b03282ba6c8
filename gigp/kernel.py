"""The kernel MLP of a convolution: linear, batch norm, swish, three times, on very many rows of few channels."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gigp.norm import BatchNorm
from gigp.processes import world_size

BLOCK = 16384  # rows that stay in the cache from one operation to the next: 2 MB for 32 channels


def norm_swish(channels: int, norm: bool = True) -> list[nn.Module]:
    """Batch norm over the rows, then x * sigmoid(x)."""
    return [BatchNorm(channels), nn.SiLU()] if norm else [nn.SiLU()]


def works_blockwise(x: Tensor) -> bool:
    """Whether to go block by block, in the cache: on a CPU, but not under torch.compile or in mixed precision."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


class RowsLinear(nn.Linear):
    """Linear layer for very many rows of very few channels, as log(v^-1 u) is: the gradient of its weights, a product
    with a sum over the rows, is several times as fast when the weights lie in memory as (in, out)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight.t().contiguous())


class KernelMLP(nn.Sequential):
    """MLP with a norm and a swish after every layer, the last included.

    Where there are so many rows that memory decides the speed, training on a CPU works through them block by block
    (`Blockwise`): the same numbers up to rounding, in a third of the memory.

    Args:
        sizes: channels of the input and of every layer.
        norm: batch norm over the rows before each swish.
    """

    def __init__(self, sizes: list[int], norm: bool = True) -> None:
        super().__init__()
        for i, o in pairwise(sizes):
            self.extend([RowsLinear(i, o), *norm_swish(o, norm)])
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """(E, sizes[0]) -> (E, sizes[-1])."""
        large = len(x) > 4 * BLOCK and works_blockwise(x)
        if large and not self.training and not torch.is_grad_enabled():
            return torch.cat([super(KernelMLP, self).forward(rows) for rows in x.split(BLOCK)])
        learns = self.training and torch.is_grad_enabled() and not x.requires_grad
        if not (large and learns and self.norm) or world_size() > 1:  # whose numbers of rows may ask for different ways
            return super().forward(x)
        layers = list(zip(list(self)[0::3], list(self)[1::3], strict=True))
        parameters = [p for linear, norm in layers for p in (linear.weight, norm.weight, norm.bias)]
        out, *statistics = Blockwise.apply(x, self[1].eps, *parameters)
        with torch.no_grad():
            for (linear, norm), (mean, var) in zip(layers, statistics, strict=True):
                norm.num_batches_tracked += 1
                norm.running_mean.lerp_(mean + linear.bias, norm.momentum)
                norm.running_var.lerp_(var * len(x) / (len(x) - 1), norm.momentum)
        return out


class Blockwise(torch.autograd.Function):
    """The kernel MLP in training, block by block; keeps only what the linear layers return.

    Layer l takes a, the output of the layer before it, to h = a W' and swish(h * scale + shift), where scale and shift
    are those of batch norm over all rows. The bias before a norm has no effect and no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, *parameters: Tensor) -> tuple[Tensor, ...]:
        num, kept, statistics = len(x), [x], []
        before, scale, shift = x, None, None
        for weight, gamma, beta in zip(*[iter(parameters)] * 3, strict=True):
            h, sums = x.new_empty(num, len(weight)), x.new_zeros(2, len(weight), dtype=torch.double)
            for a, rows in zip(before.split(BLOCK), h.split(BLOCK), strict=True):
                torch.mm(_swish(a, scale, shift), weight.t(), out=rows)
                sums += torch.stack([rows.sum(0), rows.square().sum(0)])
            mean = sums[0] / num
            var = (sums[1] / num - mean.square()).clamp(min=0)
            inverse = (var + eps).rsqrt()
            before, scale, shift = h, (gamma * inverse).to(h.dtype), (beta - mean * gamma * inverse).to(h.dtype)
            kept += [h, scale, shift, mean, inverse]
            statistics.append(torch.stack([mean, var]).to(h.dtype))
        out = torch.empty_like(before)
        for rows, o in zip(before.split(BLOCK), out.split(BLOCK), strict=True):
            F.silu(torch.addcmul(shift, rows, scale, out=o), inplace=True)
        ctx.save_for_backward(*kept, *parameters[::3])
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, *kept = ctx.saved_tensors
        depth, num = len(kept) // 6, len(x)
        layers, weights = [kept[5 * i : 5 * i + 5] for i in range(depth)], kept[5 * depth :]
        gradients: list[Tensor] = []
        z = layers[-1][:3]
        dz, sums = torch.empty_like(grad), _zeros(grad)
        for g, h, out in zip(grad.split(BLOCK), z[0].split(BLOCK), dz.split(BLOCK), strict=True):
            _swish_backward(g, h, *z[1:], out, sums)
        for i in reversed(range(depth)):
            h, scale, _, mean, inverse = layers[i]
            dbeta, dgamma = sums[0], inverse * (sums[1] - mean * sums[0])
            # batch norm: dh = scale * (dz - mean(dz) - xhat * mean(dz * xhat)) = scale * dz + slope * h + offset
            slope = -scale * inverse * dgamma / num
            offset = (-scale * dbeta / num - slope * mean).to(h.dtype)
            slope = slope.to(h.dtype)
            before, *affine = layers[i - 1][:3] if i else (x, None, None)
            dweight, sums = h.new_zeros(before.shape[1], h.shape[1]), _zeros(before)
            dz_before = torch.empty_like(before) if i else before
            for a, rows, d, out in zip(*(t.split(BLOCK) for t in (before, h, dz, dz_before)), strict=True):
                dh = torch.addcmul(offset, rows, slope).addcmul_(d, scale)
                dweight.addmm_(_swish(a, *affine).t(), dh)
                if i:
                    _swish_backward(dh @ weights[i], a, *affine, out, sums)
            gradients = [dweight.t(), dgamma.to(h.dtype), dbeta.to(h.dtype), *gradients]
            dz = dz_before
        return None, None, *gradients


def _zeros(h: Tensor) -> Tensor:
    """For the sums of dz and of dz * h over the rows, (2, channels), in double precision."""
    return h.new_zeros(2, h.shape[1], dtype=torch.double)


def _swish(h: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """swish(h * scale + shift); the input of the MLP, without a scale, as it is."""
    return h if scale is None else F.silu(torch.addcmul(shift, h, scale), inplace=True)


def _swish_backward(grad: Tensor, h: Tensor, scale: Tensor, shift: Tensor, dz: Tensor, sums: Tensor) -> None:
    """Write the gradient of z = h * scale + shift into `dz`, and add to the sums of dz and dz * h."""
    torch.ops.aten.silu_backward.grad_input(grad, torch.addcmul(shift, h, scale), grad_input=dz)
    sums += torch.stack([dz.sum(0), (dz * h).sum(0)])
