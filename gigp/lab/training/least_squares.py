"""The head at its least-squares fit: the best linear readout of what a pool returns.

Sums over the atoms go together so closely that gradients do not find small differences between them
in any usual number of steps. A pool whose head starts at this fit needs not find them.
"""

from typing import Any

import torch
from torch import Tensor, nn

from gigp.errors import InputError
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.training.module import LitModule, Regression

RIDGE = 1e-7  # of the variance of an input
BATCH = 1000  # clouds
CONSTANT = 1e-12  # of the mean square of an input: a smaller variance is rounding


@torch.no_grad()
def solve_head(module: LitModule, data: PointCloudDataModule) -> None:
    """Set the head of a model to the least-squares fit of the standardized training targets.

    One pass over the training clouds, not augmented, then the normal equations in double precision,
    with a ridge of `RIDGE`.

    Raises:
        InputError: the targets are classes, or some are missing; the head does not follow the pool.
    """
    model = module.model
    if not isinstance(module, Regression) or module.masked:
        what = "some targets are missing" if isinstance(module, Regression) else "they are classes"
        raise InputError(f"solve_head=true fits targets by least squares, and {what}.")
    if model.pool_on == "outputs" or not isinstance(model.head, nn.Linear):
        raise InputError("solve_head=true needs a head that follows the pool: pool_on=features.")
    was_training = module.training
    module.eval()
    total: Any = 0
    for indices in data.indices["train"].split(BATCH):
        cloud, target = data.prepare_batch(data.get_batch(indices), augment=False)
        x = model.pooled(cloud).double()
        z = ((target - module.mean) / module.std).double()
        both = torch.cat([x, z, x.new_ones(len(x), 1)], -1)  # (B, c + T + 1)
        total = total + both.T @ both
    module.train(was_training)
    weight, bias = _solve(total / total[-1, -1], model.head.in_features)
    model.head.weight.copy_(weight)
    model.head.bias.copy_(bias)


def _solve(moments: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Weight (T, c) and bias (T,) of the fit.

    Args:
        moments: second moments of the inputs, the targets and 1, (c + T + 1, c + T + 1).
        channels: number of inputs, c.
    """
    mean = moments[-1, :-1]
    covariance = moments[:-1, :-1] - mean[:, None] * mean
    variance, square = covariance.diagonal()[:channels], moments.diagonal()[:channels]
    # an input that does not vary gets no weight
    scale = variance.where(variance > CONSTANT * square, torch.inf).rsqrt()
    gram = covariance[:channels, :channels] * scale[:, None] * scale
    gram.diagonal().add_(RIDGE)
    weight = torch.linalg.solve(gram, covariance[:channels, channels:] * scale[:, None])
    weight = weight * scale[:, None]  # (c, T)
    return weight.T, mean[channels:] - mean[:channels] @ weight
