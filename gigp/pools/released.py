"""The pool of the paper's public code on QM9 (github.com/YonatanGideoni/gigp)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gigp.errors import InputError
from gigp.nn.mlp import identity_mlp, sum_mlp
from gigp.pointcloud import PointCloud, masked
from gigp.pools.base import Pool, masked_features
from gigp.pools.coordinate import measure_clouds
from gigp.pools.orbits import Orbits

AXIS, ANCHOR = 1, 1  # the code reads entry [1, 1] of the pair tensor: y of the offset to atom 1


class ReleasedGIGP(Pool):
    """GIGP with the orbits of the released code: slabs along y, counted from atom number 1.

        q_i = y_i - y_1                                offset to the second atom of the list
        m_ik = 1 where |q_i - c_k| <= delta, else 0    balls overlap: a point counts several times
        z_k = phi([sum_i m_ik f_i, n c_k])             n points, each feeds the center's value
        y = sum_k w_k z_k / (number of nonzero m_ik f_i, per channel)

    **Not invariant** under rotations, nor under exchange of atoms. An orbit is taken for empty
    where all that phi would see sums to exactly 0, so in practice none is. Starts close to mean
    pooling, but not as it. Parameters: those of phi, and one weight for each slab.

    Differs from the code in what depends on the batch there: the centers span the training clouds,
    not the first batch, and are stored; padding neither feeds centers nor is an atom.

    Args:
        channels: number of feature channels c.
        orbits: number of centers K.
        delta: half the thickness of a slab, Angstrom.
        hidden_layers: number of hidden layers of phi.
        hidden_channels: width of phi; None: max(64, 2c).
    """

    def __init__(
        self,
        channels: int,
        *,
        orbits: int = 50,
        delta: float = 0.5,
        hidden_layers: int = 2,
        hidden_channels: int | None = None,
    ) -> None:
        super().__init__(channels)
        self.orbits = Orbits(orbits, "ball", delta, normalize=False)
        self.phi = identity_mlp(
            channels,
            extra_inputs=1,
            hidden_layers=hidden_layers,
            hidden_channels=hidden_channels,
        )
        self.weight = nn.Parameter(torch.ones(orbits))

    def coordinate(self, pos: Tensor, mask: Tensor, mass: Tensor | None = None) -> Tensor:
        """y_i - y_1, (B, N); a cloud of a single point is its own atom 1."""
        if pos.shape[-1] <= AXIS:
            raise InputError(f"positions have {pos.shape[-1]} coordinates; y is the second one.")
        y = masked(pos, mask)[..., AXIS]  # (B, N)
        if y.shape[1] <= ANCHOR:
            return y - y
        first, anchor = y[:, :1], y[:, ANCHOR : ANCHOR + 1]
        return y - torch.where(mask[:, ANCHOR : ANCHOR + 1], anchor, first)

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        measured = measure_clouds(clouds, self.coordinate)
        self.orbits.fit(measured.low, measured.high)

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = self.check(feat, pos, mask)
        feat = masked_features(feat, mask)
        m = self.orbits(self.coordinate(pos, mask), mask).to(feat.dtype)  # (B, N, K)
        h = m.mT @ feat  # (B, K, c)
        points = mask.sum(1, keepdim=True).to(feat.dtype)  # (B, 1)
        fed = (points * self.orbits.centers.to(feat.dtype)).expand(h.shape[:2])  # (B, K)
        inputs = torch.cat([h, fed.unsqueeze(-1)], -1)  # (B, K, c + 1)
        occupied = inputs.sum(-1) != 0  # (B, K)
        total = sum_mlp(self.phi, inputs, occupied * self.weight, keep=occupied)  # (B, c)
        nonzero = (feat != 0).sum(-1).to(feat.dtype)  # (B, N), channels that are not 0
        count = (m.sum(-1) * nonzero).sum(1, keepdim=True) // self.channels  # (B, 1)
        return masked(total / count.clamp(min=1), mask.any(1))
