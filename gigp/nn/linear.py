"""Linear layers in single precision on a CPU by oneDNN instead of MKL, up to three times as fast.

PyTorch gives these products to MKL, which uses half of the vector width of AMD processors. On those
of Intel it is the faster one for gradients, where oneDNN copies what is transposed. The numbers are
the same up to rounding.
"""

import platform
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from gigp.nn.untouched import are_untouched

FEW_NUMBERS = 20480  # in the input: below, the time goes into calls, not into arithmetic


def made_by_intel() -> bool:
    """Whether Intel made the processor."""
    with suppress(OSError):  # /proc exists on Linux only
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    return "GenuineIntel" in platform.processor()


ONEDNN_GRADIENTS = torch.backends.mkldnn.is_available() and not made_by_intel()


def cpu_supports_bf16() -> bool:
    """Whether the CPU multiplies in bf16; others emulate it, far slower."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def use_cpu_kernels(x: Tensor) -> bool:
    """Whether hand-written CPU paths may be used: on a CPU, in eager mode, without autocast,
    transforms of torch.func and derivatives in forward mode.
    """
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and forward_ad._current_level < 0
        and not torch._C._are_functorch_transforms_active()
    )


def use_onednn(x: Tensor) -> bool:
    """Whether oneDNN multiplies `x`: single precision, large, on a CPU."""
    return (
        use_cpu_kernels(x)
        and torch.backends.mkldnn.is_available()
        and x.dtype == torch.float32
        and x.numel() > FEW_NUMBERS
    )


def call_linear(layer: nn.Module, x: Tensor, following: nn.Module | None = None) -> Tensor:
    """layer(x) of an `nn.Linear`, by oneDNN where that is faster and nothing acts on the call.

    Args:
        following: `nn.ReLU` that is called after it, in the same pass where nothing acts on either.
    """
    called = [layer] if following is None else [layer, following]
    if use_onednn(x) and are_untouched(*called, kinds=(nn.Linear, nn.ReLU)):
        weight, bias = cast(Tensor, layer.weight), cast(Tensor | None, layer.bias)
        return linear(x, weight, bias, relu=following is not None)
    return layer(x) if following is None else following(layer(x))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool = False) -> Tensor:
    """x W' + b, (..., i), (o, i), (o,) -> (..., o); with `relu`, of that."""
    if not use_onednn(x):
        out = F.linear(x, weight, bias)
        return out.relu() if relu else out
    rows = x.reshape(-1, x.shape[-1])
    return OneDNNLinear.apply(rows, weight, bias, relu).view(*x.shape[:-1], -1)


class OneDNNLinear(torch.autograd.Function):
    """x W' + b, or relu of it, (R, i), (o, i), (o,) -> (R, o)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        out = product(x, weight, bias)
        ctx.save_for_backward(x, weight, out.relu_() if relu else None)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        if out is not None:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        dx = input_gradient(grad, weight) if needs_x else None
        dweight = weight_gradient(grad, x) if needs_weight else None
        return dx, dweight, grad.sum(0) if needs_bias else None, None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b without a gradient, (R, i), (o, i), (o,) -> (R, o).

    By oneDNN, or by `F.linear` where PyTorch is built without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def use_onednn_gradients() -> bool:
    """Whether oneDNN makes gradients: not on processors of Intel, nor where a gradient is
    differentiated again, so that it has to consist of operations that PyTorch can derive.
    """
    return ONEDNN_GRADIENTS and not torch.is_grad_enabled()


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """grad W, (R, o), (o, i) -> (R, i)."""
    return product(grad, weight.t()) if use_onednn_gradients() else grad @ weight


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad' x, (R, o), (R, i) -> (o, i)."""
    if not use_onednn_gradients():
        return grad.t() @ x
    # oneDNN is faster where the second factor is the wider one
    if grad.shape[1] <= x.shape[1]:
        return product(grad.t(), x.t())
    return product(x.t(), grad.t()).t()
