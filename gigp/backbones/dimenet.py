"""DimeNet++ of PyTorch Geometric as a backbone for molecules.

The triplets are made here, in plain PyTorch: the library's own forward pass asks torch_sparse for
them and stops at 32 neighbors; its blocks need neither.
"""

from typing import Any

import torch
from torch import Tensor

from gigp.backbones.invariant import InvariantNet, RadiusGraph
from gigp.errors import needs_extra
from gigp.groups.series import norm

with needs_extra("pyg"):
    from torch_geometric.nn.models import DimeNetPlusPlus as PyGDimeNetPlusPlus


class DimeNetPlusPlus(InvariantNet):
    """DimeNet++ (Gasteiger et al. 2020, arXiv 2011.14115) up to the sum over the atoms, `channels`
    features an atom.

    With pool=sum and pool_on=features it is the published network, and a linear layer after it.

    Args:
        channels, layers: width and interaction blocks.
        spherical, radial: basis functions of angles and distances.
        cutoff: radius of neighborhoods, Angstrom.
        setting: see `gigp.backbones.invariant.InvariantNet`.
    """

    name = "dimenet"

    def __init__(
        self,
        *,
        channels: int = 128,
        layers: int = 4,
        spherical: int = 7,
        radial: int = 6,
        cutoff: float = 5.0,
        **setting: Any,
    ) -> None:
        super().__init__(**setting)
        self.graph = RadiusGraph(cutoff)
        self.net = PyGDimeNetPlusPlus(
            channels,
            channels,
            layers,
            int_emb_size=channels // 2,
            basis_emb_size=8,
            out_emb_channels=2 * channels,
            num_spherical=spherical,
            num_radial=radial,
            cutoff=cutoff,
            output_initializer="glorot_orthogonal",
        )
        self.out_channels = channels

    def features(self, charges: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        net, ((j, i), distance, vector) = self.net, self.graph(pos, batch)
        kj, ji = triplets(torch.stack([j, i]), len(pos))
        basis = net.rbf(distance)  # (E, radial)
        angular = net.sbf(distance, angle(vector[ji], vector[kj]), kj)  # (T, spherical * radial)
        x = net.emb(charges, basis, i, j)  # (E, channels)
        feat = net.output_blocks[0](x, basis, i, num_nodes=len(pos))  # (R, channels)
        for interact, out in zip(net.interaction_blocks, net.output_blocks[1:], strict=True):
            x = interact(x, basis, angular, kj, ji)
            feat = feat + out(x, basis, i, num_nodes=len(pos))
        return feat


def triplets(pairs: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """All paths k -> j -> i with k other than i, as the pairs (k, j) and (j, i) that they are made
    of, (T,) each.

    Args:
        pairs: (j, i) with both directions of every pair, sorted by j, then by i, as `RadiusGraph`
            lists them, (2, E).
        num: number of atoms.
    """
    j, i = pairs
    degree = j.bincount(minlength=num)  # (num,)
    first = degree.cumsum(0) - degree  # where the pairs from an atom begin
    mirror = (i * num + j).argsort()  # number of the pair (i, j) for each pair (j, i), (E,)
    ji = torch.arange(len(j), device=j.device).repeat_interleave(degree[j])
    rank = torch.arange(len(ji), device=j.device) - (degree[j].cumsum(0) - degree[j])[ji]
    kj = mirror[first[j[ji]] + rank]  # pairs that end where (j, i) begins
    other = j[kj] != i[ji]
    return kj[other], ji[other]


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle between vectors (T, 3), with a gradient of zero where they are parallel."""
    return torch.atan2(norm(torch.linalg.cross(a, b)), (a * b).sum(-1))
