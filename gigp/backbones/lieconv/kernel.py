"""The kernel MLP of a convolution: linear, batch norm, swish, three times, on very many rows of few
channels.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.backbones.lieconv.native import call, use_native
from gigp.distributed import world_size
from gigp.nn.norm import BatchNorm, NormSequential, RowWeights
from gigp.nn.untouched import are_untouched

NATIVE_WIDTHS = [32, 32, 16]  # of the layers that native.c computes
MAX_NATIVE_INPUTS = 15
STATISTICS = 160 + 16 * 16  # of the layers, and moments of the inputs


def norm_swish(channels: int, norm: bool = True, same_rows: bool = False) -> list[nn.Module]:
    """Batch norm over the rows, then x * sigmoid(x)."""
    return [BatchNorm(channels, same_rows), nn.SiLU()] if norm else [nn.SiLU()]


class KernelMLP(NormSequential):
    """MLP with a norm and a swish after every layer, the last included.

    The modules, one after the other, are the definition. On a CPU, native.c computes the same for
    the published widths, up to rounding; not where gradients of the inputs are needed, where
    several processes share the statistics, or where anything acts on the call of a module.

    Args:
        sizes: channels of the input and of every layer.
        norm: batch norm over the rows before each swish.
        same_rows: see `BatchNorm`.
    """

    def __init__(self, sizes: list[int], norm: bool = True, same_rows: bool = False) -> None:
        layers: list[nn.Module] = []
        for i, o in pairwise(sizes):
            layers += [nn.Linear(i, o), *norm_swish(o, norm, same_rows)]
        super().__init__(*layers)
        self.same_rows = same_rows
        self.native_sizes = (
            norm and sizes[1:] == NATIVE_WIDTHS and 1 <= sizes[0] <= MAX_NATIVE_INPUTS
        )

    def forward(self, x: Tensor, weights: RowWeights | None = None) -> Tensor:
        """(E, sizes[0]) -> (E, sizes[-1]); `weights`, where given, are the rows that count."""
        if weights is not None or not self._use_native(x):
            return super().forward(x, weights)
        layers: list[tuple[Any, Any]] = list(zip(list(self)[0::3], list(self)[1::3], strict=True))
        parameters = [p for linear, norm in layers for p in (linear.weight, norm.weight, norm.bias)]
        eps = torch.tensor([norm.eps for _, norm in layers], dtype=torch.double)
        if not self.training:
            moments = [
                s
                for linear, norm in layers
                for s in (norm.running_mean - linear.bias.detach(), norm.running_var)
            ]
            return evaluate(x, eps, parameters, moments)
        out, *moments = NativeKernelMLP.apply(x, eps, *parameters)
        for (linear, norm), mean, var in zip(layers, moments[0::2], moments[1::2], strict=True):
            norm.track(mean + linear.bias.detach(), var * (len(x) / (len(x) - 1)))
        return out

    def can_join(self) -> bool:
        """Whether `join` may evaluate this MLP: nothing acts on the call of a module, and see
        `BatchNorm.can_join`.
        """
        joins = all(m.can_join() for m in self if isinstance(m, BatchNorm))
        return joins and self._is_untouched()

    @staticmethod
    def join(mlps: "Sequence[KernelMLP]", x: Tensor, weights: RowWeights) -> tuple[Tensor, ...]:
        """Several kernel MLPs of the same pairs at once, as one product and one norm for each
        layer, (E, a) -> (E, k) for each MLP.
        """
        h = x.expand(len(mlps), -1, -1)  # (MLPs, E, a)
        for modules in zip(*mlps, strict=True):
            if isinstance(modules[0], nn.Linear):
                weight = torch.stack([linear.weight for linear in modules])  # (MLPs, c, a)
                bias = torch.stack([linear.bias for linear in modules])
                h = torch.baddbmm(bias.unsqueeze(1), h, weight.mT)  # (MLPs, E, c)
            elif isinstance(modules[0], BatchNorm):
                h = BatchNorm.join(modules, h.transpose(0, 1), weights).transpose(0, 1)
            else:
                h = modules[0](h)
        return h.unbind()

    def _use_native(self, x: Tensor) -> bool:
        if not self.native_sizes or x.requires_grad or len(x) < 2:
            return False
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        several_processes = world_size() > 1 and not self.same_rows
        if several_processes if self.training else learns:
            return False
        return self._is_untouched() and use_native(x, *self.parameters())

    def _is_untouched(self) -> bool:
        return are_untouched(self, *self, kinds=(KernelMLP, nn.Linear, BatchNorm, nn.SiLU))


def evaluate(x: Tensor, eps: Tensor, parameters: list[Tensor], moments: list[Tensor]) -> Tensor:
    """The kernel MLP by native.c, (E, a) -> (E, 16).

    Args:
        moments: mean and variance of each linear layer's output without bias.
    """
    x, parameters = x.contiguous(), [p.detach().contiguous() for p in parameters]
    center, out = x.new_zeros(x.shape[1]), x.new_empty(len(x), NATIVE_WIDTHS[-1])
    statistics = torch.cat(moments).double()
    call("kernel_mlp_evaluate", x, *x.shape, center, parameters, eps, statistics, out)
    return out


def plain_mlp(x: Tensor, eps: Tensor, *parameters: Tensor) -> Tensor:
    """The kernel MLP in training, without the biases of linear layers, which norms remove."""
    for i, layer_eps in enumerate(eps.tolist()):
        weight, gamma, beta = parameters[3 * i : 3 * i + 3]
        h = F.linear(x, weight)
        x = F.silu(F.batch_norm(h, None, None, gamma, beta, training=True, eps=layer_eps))
    return x


class NativeKernelMLP(torch.autograd.Function):
    """`plain_mlp` by native.c; returns also mean and variance of each linear layer's output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        x, parameters = x.contiguous(), tuple(p.contiguous() for p in parameters)
        # subtracted from the inputs, so that their variance does not cancel against their mean
        center = x[:64].mean(0)
        h2, h3, out = (x.new_empty(len(x), width) for width in (32, 16, 16))
        statistics = x.new_empty(STATISTICS, dtype=torch.double)
        fixed = x, *x.shape, center, list(parameters), eps, statistics, h2, h3
        call("kernel_mlp_forward", *fixed, out)
        ctx.save_for_backward(x, center, eps, statistics, h2, h3, *parameters)
        moments = list(statistics[:160].to(x.dtype).split([32, 32, 32, 32, 16, 16]))
        moments[0] = moments[0] + parameters[0] @ center
        ctx.mark_non_differentiable(*moments)
        return out, *moments

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, center, eps, statistics, h2, h3, *parameters = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is differentiated again
            out = plain_mlp(x, eps, *parameters)
            return None, None, *torch.autograd.grad(out, parameters, grad, create_graph=True)
        gradients, dz2 = [torch.empty_like(p) for p in parameters], torch.empty_like(h2)
        fixed = x, *x.shape, center, parameters, eps, statistics, h2, h3
        call("kernel_mlp_backward", *fixed, grad.contiguous(), dz2, gradients)
        return None, None, *gradients
