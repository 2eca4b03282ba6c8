"""Batch norm over the real rows of all processes of a run."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.distributed import sum_over_processes, world_size
from gigp.nn.linear import call_linear


class RowWeights(NamedTuple):
    """Which rows count in the statistics of batch norm.

    Attributes:
        share: 1 / `num` for rows that count, 0 for others, (rows, 1).
        num: number of rows that count, ().
        correction: num / (num - 1), from the variance of a sample to that of its source, ().
    """

    share: Tensor
    num: Tensor
    correction: Tensor

    @classmethod
    def of(cls, real: Tensor, dtype: torch.dtype) -> "RowWeights":
        """From a mask of the rows that count, (rows,)."""
        ones = real.to(dtype)
        num = ones.sum().clamp(min=1)
        return cls((ones / num).unsqueeze(1), num, num / (num - 1).clamp(min=1))


class BatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` whose statistics ignore filler rows and cover all processes of a run.

    Works on every device and in double precision (torch's SyncBatchNorm needs a GPU). With one
    process and without filler rows, and in evaluation, it is `nn.BatchNorm1d` to the bit.

    Args:
        channels: number of channels.
        same_rows: all processes hold the same rows, as those of a kernel on a grid that all images
            share; they count once.
    """

    def __init__(self, channels: int, same_rows: bool = False) -> None:
        super().__init__(channels)
        self.same_rows = same_rows

    def forward(self, x: Tensor, weights: RowWeights | None = None) -> Tensor:
        """(rows, channels) -> (rows, channels).

        Args:
            x: values; the processes may have different numbers of rows, but each has one.
            weights: the rows that count; None: all.
        """
        shared = world_size() > 1 and not self.same_rows
        if not self.training or (self.momentum is None and weights is None and not shared):
            return super().forward(x)
        if weights is None and not shared:
            assert self.momentum is not None
            # without the counter of batches, which only a cumulative average needs
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=True,
                momentum=self.momentum,
                eps=self.eps,
            )
        wide = x.to(self.weight.dtype)
        if weights is None or shared:
            mean, var, num = _over_processes(wide, weights)
            self.track(mean.detach(), var.detach() * num / (num - 1))
            offset, var = wide - mean.to(wide.dtype), var.to(wide.dtype)
            out = torch.addcmul(self.bias, offset, self.weight * (var + self.eps).rsqrt())
        else:
            out, mean, var = _weighted_norm(wide, weights, self.weight, self.bias, self.eps)
            self.track(mean, var)
        return out.to(x.dtype)

    def can_join(self) -> bool:
        """Whether `join` may evaluate this norm: in training, over the rows of one process."""
        alone = self.same_rows or world_size() == 1
        return self.training and alone and self.momentum is not None

    @staticmethod
    def join(norms: "Sequence[BatchNorm]", x: Tensor, weights: RowWeights) -> Tensor:
        """Several norms of one eps and momentum over the same rows at once.

        (rows, norms, channels) -> (rows, norms, channels).
        """
        weight = torch.stack([norm.weight for norm in norms])
        bias = torch.stack([norm.bias for norm in norms])
        out, mean, var = _weighted_norm(x.to(weight.dtype), weights, weight, bias, norms[0].eps)
        momentum: Any = norms[0].momentum
        running: Any = [*(n.running_mean for n in norms), *(n.running_var for n in norms)]
        torch._foreach_lerp_(running, [*mean.unbind(), *var.unbind()], momentum)
        return out.to(x.dtype)

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards those of a batch.

        Args:
            mean: mean of the batch, (channels,).
            var: unbiased variance of the batch, (channels,).
        """
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum: Any = self.momentum
        if momentum is None:  # cumulative average
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = 1 / self.num_batches_tracked.to(self.running_mean.dtype)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(var.to(self.running_var.dtype), momentum)


def _weighted_norm(
    x: Tensor, weights: RowWeights, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm over the rows that count, (rows, ...), and mean and unbiased variance, (...).

    For a compiler, which fuses it, one pass over the rows forward and one backward: mean and
    variance are sums of differences from the first row, so that little cancels (shifted sums; Chan,
    Golub and LeVeque 1983, doi 10.1080/00031305.1983.10483115). Fewer operations otherwise.
    """
    share = weights.share.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    if torch.compiler.is_compiling():
        first = x[:1].detach()
        offset = x - first
        shift = (share * offset).sum(0)
        var = ((share * offset.square()).sum(0) - shift.square()).clamp(min=0)
        mean = first.squeeze(0) + shift
        scale = weight * (var + eps).rsqrt()
        out = torch.addcmul(bias - mean * scale, x, scale)
    else:
        mean = (share * x).sum(0)  # no matrix product, which may be rounded to TF32
        offset = x - mean
        var = (share * offset.square()).sum(0)
        out = torch.addcmul(bias, offset, weight * (var + eps).rsqrt())
    return out, mean.detach(), var.detach() * weights.correction


def _over_processes(x: Tensor, weights: RowWeights | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance, (channels,), and the number of rows that count, (), over the rows of all
    processes, in double precision.
    """
    if weights is None:
        var, mean = (s.double() for s in torch.var_mean(x, 0, correction=0))
        num = mean.new_tensor(len(x))
    else:
        share, num = weights.share.double(), weights.num.double()
        mean = (share * x).sum(0)
        var = (share * (x - mean).square()).sum(0)
    sums = sum_over_processes(torch.cat([num[None], num * mean, num * (var + mean.square())]))
    num = sums[0]
    mean, square = (sums[1:] / num).chunk(2)
    return mean, (square - mean.square()).clamp(min=0), num


class NormSequential(nn.Sequential):
    """`nn.Sequential` that tells its batch norms which rows count.

    The bias of a linear layer before a batch norm has no effect, so it is not trained.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        for module, following in pairwise(modules):
            if isinstance(module, nn.Linear) and isinstance(following, BatchNorm):
                module.bias.requires_grad_(False)

    def forward(self, x: Tensor, weights: RowWeights | None = None) -> Tensor:
        """(rows, channels) -> (rows, channels of the last layer)."""
        for module in self:
            if isinstance(module, BatchNorm):
                x = module(x, weights)
            else:
                x = call_linear(module, x) if isinstance(module, nn.Linear) else module(x)
        return x
