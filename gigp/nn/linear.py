"""Linear layers on oneDNN, which uses the whole width of the vector units of every CPU.

PyTorch hands matrix products in single precision to MKL, which uses half of that width on CPUs of
other makes than its own, and convolutions to oneDNN. A linear layer is a convolution too: rows of
channels are an image, one pixel wide, with channels last, and the kernel is one pixel. Memory stays
as it is. The same numbers up to rounding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# means nothing to a kernel of one pixel; without it PyTorch goes to oneDNN only where there are
# several threads
OPTIONS = {"dilation": 2}
LARGE = 20480  # images of no more numbers than that PyTorch does not give to oneDNN
# from so many channels on MKL makes weight gradients: where vectors have 8 numbers oneDNN takes 2
# to 3 times as long
MANY = 16 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 2**31


def cpu_supports_bf16() -> bool:
    """Whether the CPU multiplies in bf16; others imitate it, far slower."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def use_cpu_kernels(x: Tensor) -> bool:
    """Whether we choose how to compute: on a CPU, but not under torch.compile or in mixed
    precision.
    """
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def use_onednn(x: Tensor) -> bool:
    """Whether oneDNN takes it from here: many rows in single precision on a CPU."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > LARGE


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b, (R, i), (o, i), (o,) -> (R, o)."""
    # in this order: torch.export may not ask for the number of rows
    ours = use_cpu_kernels(x) and use_onednn(x)
    return OneDNNLinear.apply(x, weight, bias) if ours else F.linear(x, weight, bias)


class Linear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.reshape(-1, self.in_features), self.weight, self.bias).view(
            *x.shape[:-1], self.out_features
        )


class OneDNNLinear(torch.autograd.Function):
    """`linear` in single precision on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        dx = input_gradient(grad, x, weight) if needs[0] else None
        return (
            dx,
            weight_gradient(grad, x, weight) if needs[1] else None,
            grad.sum(0) if needs[2] else None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b, (R, i), (o, i), (o,) -> (R, o)."""
    if not use_onednn(x):
        return F.linear(x, weight, bias)
    return as_rows(F.conv2d(as_image(x), weight[..., None, None], bias, **OPTIONS))


def input_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """grad W, (R, o), (R, i) of which only the shape counts, (o, i) -> (R, i)."""
    return as_rows(_backward(grad, x, weight, 0)) if use_onednn(x) else grad @ weight


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """grad' x, (R, o), (R, i), (o, i) of which only the shape counts -> (o, i)."""
    even = len(x) // 16 * 16  # oneDNN is several times slower on numbers of rows without factors
    if x.shape[1] >= MANY or not use_onednn(x[:even]):
        return grad.t() @ x
    out = _backward(grad[:even], x[:even], weight, 1).flatten(1)
    return out if even == len(x) else torch.addmm(out, grad[even:].t(), x[even:])


def _backward(grad: Tensor, x: Tensor, weight: Tensor, wanted: int) -> Tensor:
    """Gradient of the convolution with respect to the image (0) or the kernel (1)."""
    # stride, padding, dilation, not transposed, -, groups
    options = [1, 1], [0, 0], [2, 2], False, [0, 0], 1
    arguments = as_image(grad), as_image(x), weight[..., None, None], None, *options
    return torch.ops.aten.convolution_backward(*arguments, [wanted == 0, wanted == 1, False])[
        wanted
    ]


def as_image(x: Tensor) -> Tensor:
    """(R, c) -> (1, c, R, 1), the same memory."""
    return x[None, :, None].movedim(-1, 1)


def as_rows(x: Tensor) -> Tensor:
    """(1, c, R, 1) -> (R, c), the same memory."""
    return x.movedim(1, -1)[0, :, 0]
