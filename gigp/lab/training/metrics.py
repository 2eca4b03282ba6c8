"""Means over samples, also of targets that some of them lack."""

import torch
from torch import Tensor
from torchmetrics import Metric


class SampleMean(Metric):
    """Mean over the samples of batches; NaN stays NaN; no synchronization with the device."""

    total: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, samples: int) -> None:
        """Add the mean over a batch of `samples`."""
        self.total = self.total + samples * value.detach()
        self.samples = self.samples + samples

    def compute(self) -> Tensor:
        """The mean over all samples, ()."""
        return self.total / self.samples


class KnownMeanAbsoluteError(Metric):
    """Mean absolute error of every target over the samples that have it.

    Args:
        num_outputs: number of targets T.
    """

    total: Tensor
    samples: Tensor

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(num_outputs), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros(num_outputs), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Add predictions and targets (B, T), NaN where a target is not known."""
        known = target.isfinite()
        self.total = self.total + torch.where(known, predicted - target, 0.0).abs().sum(0)
        self.samples = self.samples + known.sum(0)

    def compute(self) -> Tensor:
        """The errors, (T,)."""
        return self.total / self.samples
