"""Which points a block keeps, and which neighbors of a ball it takes."""

import numpy as np
import torch
from torch import Tensor

from gigp.nn.linear import use_cpu_kernels

OUTSIDE = 2.0  # random keys of points in a ball are below 1


def farthest_points(distance: Tensor, num: int, mask: Tensor | None = None) -> Tensor:
    """Farthest-point subsample, starting from the most central point.

    Args:
        distance: between the points of every cloud, (g, n, n).
        num: number of points to keep.
        mask: the real points, (g, n); None: all. A cloud of fewer than `num` gets others after its
            own.

    Returns:
        Their indices, (g, num), in the order they were chosen. A function of the distances alone,
        so it does not depend on the order of the points (but for ties).
    """
    clouds = torch.arange(len(distance), device=distance.device)
    total = distance + distance.mT
    if mask is None:
        chosen = [total.sum(-1).argmin(-1)]  # (g,)
    else:
        total = total.masked_fill(~mask.unsqueeze(1), 0).sum(-1)
        chosen = [total.masked_fill(~mask, torch.inf).argmin(-1)]
    nearest = distance[clouds, chosen[0]]  # (g, n) distance to the closest chosen point
    if mask is not None:
        nearest = nearest.masked_fill(~mask, -torch.inf)
    for _ in range(num - 1):
        chosen.append(nearest.argmax(-1))
        nearest = torch.minimum(nearest, distance[clouds, chosen[-1]])
    return torch.stack(chosen, -1)


def choose_neighbors(
    distance: Tensor, radius: Tensor, num: int, random: bool, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Up to `num` neighbors within the ball around every query.

    A ball that holds more is sampled: at random in training; otherwise at even ranks of distance,
    which is a fixed, stratified sample of the same ball, independent of the order of the points and
    of the rest of the batch.

    Args:
        distance: from n points to m queries, (g, n, m).
        radius: radius of the ball, a scalar tensor.
        num: neighbors per query, P = min(num, n).
        random: draw at random (from torch's global generator).
        mask: the real points, (g, n); None: all.

    Returns:
        Indices of the neighbors (g, m, P), and which of them lie in the ball (g, m, P); those come
        first.
    """
    distance = distance.mT  # (g, m, n)
    num = min(num, distance.shape[2])
    in_ball = distance <= radius
    if mask is not None:
        in_ball = in_ball & mask.unsqueeze(1)
    if random:
        index = draw_neighbors(in_ball, num)
        return index, in_ball.gather(2, index)
    # (g, m, n), the ball first
    order = smallest(torch.where(in_ball, distance.detach(), torch.inf), distance.shape[2])
    count = in_ball.sum(2, keepdim=True)  # (g, m, 1)
    rank = torch.arange(num, device=distance.device)  # (P,)
    # (g, m, P), even over the ball
    spread = ((2 * rank + 1) * count) // (2 * num)
    return order.gather(2, torch.where(count > num, spread, rank)), rank < count


def draw_neighbors(in_ball: Tensor, num: int) -> Tensor:
    """Draw `num` points at random, those in the ball first.

    Args:
        in_ball: True for points in the ball of each query, (g, m, n).

    Returns:
        Their indices, (g, m, num).
    """
    draw = torch.rand(in_ball.shape, device=in_ball.device)
    return smallest(torch.where(in_ball, draw, OUTSIDE), num)


def smallest(keys: Tensor, num: int) -> Tensor:
    """Indices of the `num` smallest keys of every row, (..., num), in ascending order.

    Args:
        keys: numbers that are not negative, (..., n).
    """
    if use_cpu_kernels(keys) and keys.dtype == torch.float32:
        # such numbers have the order of their bits, and NumPy sorts integers by vectors
        place = torch.arange(keys.shape[-1])
        order = np.sort((keys.view(torch.int32).long() << 32 | place).numpy())
        return torch.from_numpy(order[..., :num] & 0xFFFFFFFF)
    if num < keys.shape[-1]:
        return keys.topk(num, largest=False).indices
    return keys.argsort(stable=True)
