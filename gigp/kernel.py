"""The kernel MLP of a convolution: linear, batch norm, swish, three times, on very many rows of few channels."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gigp.linear import Linear, input_gradient, product, weight_gradient, works_by_itself
from gigp.norm import BatchNorm
from gigp.processes import world_size

BLOCK = 16384  # rows that stay in the cache from one operation to the next: 2 MB for 32 channels
MANY = 65536  # rows that outgrow the cache: to compute again takes no longer than to keep
silu_backward = torch.ops.aten.silu_backward


def norm_swish(channels: int, norm: bool = True) -> list[nn.Module]:
    """Batch norm over the rows, then x * sigmoid(x)."""
    return [BatchNorm(channels), nn.SiLU()] if norm else [nn.SiLU()]


class KernelMLP(nn.Sequential):
    """MLP with a norm and a swish after every layer, the last included.

    On a CPU, evaluation works through the rows block by block, and training keeps little of what it computes and does
    without a pass for the first norm (`Lean`): the same numbers up to rounding, in a quarter of the memory.

    Args:
        sizes: channels of the input and of every layer.
        norm: batch norm over the rows before each swish.
    """

    def __init__(self, sizes: list[int], norm: bool = True) -> None:
        super().__init__()
        for i, o in pairwise(sizes):
            self.extend([Linear(i, o), *norm_swish(o, norm)])
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """(E, sizes[0]) -> (E, sizes[-1])."""
        if not (self.norm and works_by_itself(x)):
            return super().forward(x)
        layers = list(zip(list(self)[0::3], list(self)[1::3], strict=True))
        if not (self.training or torch.is_grad_enabled()):
            return evaluate(x, layers)
        learns = self.training and torch.is_grad_enabled() and not x.requires_grad
        if not (learns and len(x) > MANY) or world_size() > 1:  # whose numbers of rows may ask for different ways
            return super().forward(x)
        parameters = [p for linear, norm in layers for p in (linear.weight, norm.weight, norm.bias)]
        out, *statistics = Lean.apply(x, self[1].eps, *parameters)
        with torch.no_grad():
            for (linear, norm), mean, var in zip(layers, statistics[::2], statistics[1::2], strict=True):
                norm.num_batches_tracked += 1
                norm.running_mean.lerp_(mean + linear.bias, norm.momentum)
                norm.running_var.lerp_(var, norm.momentum)
        return out


def evaluate(x: Tensor, layers: list[tuple[nn.Linear, nn.BatchNorm1d]]) -> Tensor:
    """The kernel MLP in evaluation, block by block, with every batch norm taken into the linear layer before it."""
    folded = []
    for linear, norm in layers:
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        folded.append((linear.weight * scale[:, None], (linear.bias - norm.running_mean) * scale + norm.bias))
    out = []
    for rows in x.split(BLOCK):
        for weight, bias in folded:
            rows = F.silu(product(rows, weight, bias), inplace=True)
        out.append(rows)
    return torch.cat(out)


class Lean(torch.autograd.Function):
    """The kernel MLP in training; keeps what the linear layers after the first return, and computes the rest again.

    Layer l takes a, the output of the layer before it, to h = a W', z = norm(h) and swish(z). The bias before a norm
    has no effect and no gradient. The inputs x are few, so their covariance C says what the first h does: its variance
    is diag(W C W'). Its norm is made a part of the weights, z = [x, 1] [scale * W, shift]', and its gradient of small
    matrices: no pass over the rows is spent on it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, *parameters: Tensor) -> tuple[Tensor, ...]:
        weights, gammas, betas = parameters[::3], parameters[1::3], parameters[2::3]
        num, center, wide = len(x), x.mean(0), weights[0].double()
        x = torch.cat([x - center, x.new_ones(num, 1)], 1)                         # (E, i + 1); the first h has mean 0
        covariance = weight_gradient(x, x, x.new_empty(x.shape[1], x.shape[1])).double()[:-1, :-1] / num
        var = (wide @ covariance * wide).sum(1)
        inverse = (var + eps).rsqrt()
        folded = torch.cat([(gammas[0] * inverse)[:, None] * wide, betas[0][:, None]], 1).to(x.dtype)
        statistics = [weights[0] @ center, (var * num / (num - 1)).to(x.dtype)]
        z, later = product(x, folded), []
        for weight, gamma, beta in zip(weights[1:], gammas[1:], betas[1:], strict=True):
            h = product(F.silu(z, inplace=True), weight)
            running = torch.empty_like(beta), torch.empty_like(beta)               # mean and unbiased variance
            z, mean, inverse_h = torch.native_batch_norm(h, gamma, beta, *running, True, 1.0, eps)
            statistics += running
            later += [weight, gamma, beta, h, mean, inverse_h]
        ctx.eps = eps
        ctx.save_for_backward(weights[0], gammas[0], x, folded, covariance, inverse, *later)
        ctx.mark_non_differentiable(*statistics)
        return F.silu(z, inplace=True), *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        first_weight, first_gamma, x, folded, covariance, first_inverse, *later = ctx.saved_tensors
        later, gradients = list(zip(*[iter(later)] * 6, strict=True)), []
        z = _norm(*later[-1][1:]) if later else product(x, folded)
        for i in reversed(range(len(later))):
            weight, gamma, _, h, mean, inverse = later[i]
            grad, z = silu_backward(grad, z), None                                 # what is done with makes room
            saved = None, None, mean, inverse, True, ctx.eps, [True] * 3
            dh, dgamma, dbeta = torch.ops.aten.native_batch_norm_backward(grad, h, gamma, *saved)
            grad, z = None, _norm(*later[i - 1][1:]) if i else product(x, folded)
            a = F.silu(z)
            gradients = [weight_gradient(dh, a, weight), dgamma, dbeta, *gradients]
            grad = input_gradient(dh, a, weight)
        wide, dfolded = first_weight.double(), weight_gradient(silu_backward(grad, z), x, folded).double()
        dfolded, dbeta = dfolded[:, :-1], dfolded[:, -1]                           # dz' x, sum of dz
        # batch norm: dh = scale * (dz - mean(dz) - xhat * mean(dz * xhat)), xhat = inverse * h; here of dh' x
        dgamma = first_inverse * (wide * dfolded).sum(1)
        dweight = (first_gamma * first_inverse)[:, None] * (
            dfolded - (first_inverse * dgamma)[:, None] * (wide @ covariance)
        )
        return None, None, *(g.to(x.dtype) for g in (dweight, dgamma, dbeta)), *gradients


def _norm(gamma: Tensor, beta: Tensor, h: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """Batch norm with known statistics."""
    scale = gamma * inverse
    return torch.addcmul(beta - mean * scale, h, scale)
