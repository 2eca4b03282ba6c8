"""Batch norm over the rows of all processes of a run."""

import torch
from torch import Tensor, nn

from gigp.distributed import sum_over_processes, world_size


class BatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d`; where several processes share a batch, its statistics are those of the
    whole batch.

    Works on every device and in double precision (torch's SyncBatchNorm needs a GPU). With one
    process, and in evaluation, it is `nn.BatchNorm1d` to the bit.

    Attributes:
        same_rows: all processes hold the same rows, as those of a kernel on a grid that all images
            share; they count once.
    """

    same_rows = False

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels) -> (rows, channels); the processes may have different numbers of rows,
        but each has one.
        """
        if not self.training or self.same_rows or world_size() == 1:
            return super().forward(x)
        wide = x.to(self.weight.dtype)
        # (c,) of this process
        var, mean = (s.double() for s in torch.var_mean(wide, 0, correction=0))
        num = mean.new_tensor([len(x)])
        sums = sum_over_processes(torch.cat([num, num * mean, num * (var + mean.square())]))
        num = sums[0]
        mean, square = (sums[1:] / num).chunk(2)  # (c,) of all
        var = (square - mean.square()).clamp(min=0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = (
                self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.item()
            )
            self.running_mean.lerp_(mean.to(wide.dtype), share)
            self.running_var.lerp_((var * num / (num - 1)).to(wide.dtype), share)
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift.to(wide.dtype), wide, scale.to(wide.dtype)).to(x.dtype)
