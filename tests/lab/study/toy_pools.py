"""Pools as a user might bring them, good and bad, for the test of scripts/custom_pool.py."""

import torch
from torch import Tensor, nn


class Weighted(nn.Module):
    """Mean with a learned weight for each channel, plus a bias that grows with the radius."""

    def __init__(self, channels: int, power: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.slope = nn.Parameter(torch.zeros(channels))
        self.power = power

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        real = mask.unsqueeze(-1).to(feat.dtype)
        number = real.sum(1, keepdim=True).clamp(min=1)
        center = (pos * real).sum(1, keepdim=True) / number
        radius = (pos - center).square().sum(-1, keepdim=True).add(1e-6).sqrt() ** self.power
        values = feat * self.weight + radius * self.slope
        return (values * real).sum(1) / number.squeeze(1)


class Slanted(Weighted):
    """The same, of positions that are not relative to the center: it depends on the frame."""

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        return super().forward(feat, pos, mask) + self.slope * pos[:, 0, :1]


class Flat(nn.Module):
    """Forgets the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        return (feat * self.weight).sum((1, 2))


class Wide(Weighted):
    """Mean twice: more numbers than channels."""

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        mean = super().forward(feat, pos, mask)
        return torch.cat([mean, mean], -1)


class Careless(nn.Module):
    """Sums over padding, too."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        return (feat * self.weight).sum(1)


class Plain:
    """Is no module."""

    def __init__(self, channels: int) -> None:
        pass
