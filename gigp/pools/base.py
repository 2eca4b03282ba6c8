"""Base class of all pools, and mean, sum and max pooling."""

from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gigp.errors import InputError, check_choice, check_count
from gigp.groups import Group
from gigp.nn.linear import use_cpu_kernels
from gigp.pointcloud import PointCloud, check_mask, check_tensors, masked
from gigp.pools.coordinate import measure_clouds
from gigp.pools.divisor import Divisor


class Pool(nn.Module):
    """Base of all pools: features (B, N, c) of a masked cloud to one vector (B, out_channels).

    Attributes:
        group: group whose orbits the pool tells apart; None: it ignores positions.
        needs_mass: `forward` takes the masses of the points, too: mass=(B, N).
        syncs_device: `forward` waits for numbers of points from the device, so it cannot be
            compiled to one graph.

    Examples:
        >>> class First(Pool):
        ...     def forward(self, feat, pos, mask):
        ...         return feat[:, 0]
        >>> First(4).out_channels
        4
    """

    group: Group | None = None
    needs_mass: bool = False
    syncs_device: bool = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_count("channels", channels)
        self.channels = self.out_channels = channels

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        """Set what depends on the training clouds; for most pools nothing."""

    def orbit_response(self) -> dict[str, list[float]]:
        """Short lists of numbers about the trained pool, for the record of a run; for most pools
        nothing.
        """
        return {}

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        """Pool.

        Args:
            feat: features, (B, N, c).
            pos: positions, (B, N, d) or (1, N, d) where the batch shares them.
            mask: True for real points, (B, N) or (1, N).

        Returns:
            (B, out_channels); 0 for a cloud without points.
        """
        raise NotImplementedError

    def check(self, feat: Tensor, pos: Tensor | None, mask: Tensor | None) -> Tensor:
        """Refuse inputs that `forward` cannot pool.

        Returns:
            The mask, (B, N) or (1, N); True everywhere where none is given.

        Raises:
            InputError: a tensor of the wrong shape or type.
        """
        check_tensors(feat=feat, **({} if self.group is None else {"pos": pos}))
        if mask is not None:
            check_mask(mask)
        if not feat.is_floating_point():
            raise InputError(
                f"feat is of {feat.dtype}, which cannot hold fractions of points; pass "
                "feat.float()."
            )
        if feat.dim() != 3 or feat.shape[-1] != self.channels:
            raise InputError(
                f"feat has shape {tuple(feat.shape)}; this pool takes (B, N, {self.channels})."
            )
        b, n = feat.shape[:2]
        if mask is None:
            shared = self.group is not None and len(cast(Tensor, pos)) == 1
            mask = torch.ones(1 if shared else b, n, dtype=torch.bool, device=feat.device)
        if mask.dim() != 2 or mask.shape[1] != n or mask.shape[0] not in (1, b):
            raise InputError(
                f"mask {tuple(mask.shape)} does not fit feat {tuple(feat.shape)}; expected "
                f"({b}, {n}), or (1, {n}) where the batch shares its positions."
            )
        if self.group is None:
            return mask
        pos = cast(Tensor, pos)
        if pos.dim() != 3 or pos.shape[:2] != mask.shape:
            raise InputError(
                f"pos {tuple(pos.shape)} does not fit mask {tuple(mask.shape)}; expected "
                f"({mask.shape[0]}, {n}, {self.group.dim})."
            )
        return mask


def masked_features(feat: Tensor, mask: Tensor) -> Tensor:
    """Features (B, N, c), 0 in the padding; on a CPU `feat` itself where there is no padding, so
    write nothing into them.
    """
    return feat if use_cpu_kernels(feat) and bool(mask.all()) else masked(feat, mask)


class MeanPool(Pool):
    """Mean over the points.

    Examples:
        >>> feat, pos = torch.tensor([[[1.0], [2.0], [9.0]]]), torch.zeros(1, 3, 3)
        >>> mask = torch.tensor([[True, True, False]])
        >>> MeanPool(1)(feat, pos, mask)
        tensor([[1.5000]])
    """

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = self.check(feat, pos, mask)
        return masked_features(feat, mask).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


class SumPool(Pool):
    """Sum over the points.

    Args:
        channels: number of feature channels.
        divisor: `none`; or `constant`, the mean number of points of the training clouds, which
            `fit` sets (scaled sum pooling).

    Examples:
        >>> feat, pos = torch.tensor([[[1.0], [2.0], [9.0]]]), torch.zeros(1, 3, 3)
        >>> mask = torch.tensor([[True, True, False]])
        >>> SumPool(1)(feat, pos, mask)
        tensor([[3.]])
    """

    def __init__(self, channels: int, divisor: Literal["none", "constant"] = "none") -> None:
        super().__init__(channels)
        check_choice("divisor", divisor, Literal["none", "constant"])
        self.divisor = None if divisor == "none" else Divisor("constant")

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        if self.divisor is not None:
            self.divisor.fit(measure_clouds(clouds).points)

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = self.check(feat, pos, mask)
        total = masked_features(feat, mask).sum(1)
        return total if self.divisor is None else self.divisor(total, mask.sum(1))


class MaxPool(Pool):
    """Largest value over the points, channel by channel.

    Examples:
        >>> feat, pos = torch.tensor([[[1.0], [2.0], [9.0]]]), torch.zeros(1, 3, 3)
        >>> mask = torch.tensor([[True, True, False]])
        >>> MaxPool(1)(feat, pos, mask)
        tensor([[2.]])
    """

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = self.check(feat, pos, mask)
        if not mask.shape[1]:  # all clouds are empty: no largest value
            return feat.new_zeros(len(feat), self.channels)
        return masked(masked(feat, mask, -torch.inf).amax(1), mask.any(1))
