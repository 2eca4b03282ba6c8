"""Invariant networks for molecules from PyTorch Geometric as backbones.

The networks are the library's own, up to the features of the atoms; the pool and the head of this
project follow. Neighbor lists are made here, in plain PyTorch: the library's need an extension that
has to be compiled, and stop at 32 neighbors. DimeNet++, which also needs triplets, is in
`gigp.backbones.dimenet`.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from gigp.backbones.base import Atoms, Backbone
from gigp.backbones.lieconv.padded import Padded
from gigp.errors import InputError, needs_extra
from gigp.groups import SE3, Group
from gigp.groups.base import check_group
from gigp.groups.series import norm
from gigp.pointcloud import PointCloud, Sizes, check_cloud

with needs_extra("pyg"):
    from torch_geometric.nn.models import SchNet as PyGSchNet
    from torch_geometric.nn.models import ViSNet as PyGViSNet
    from torch_geometric.utils import to_dense_batch


class RadiusGraph(nn.Module):
    """All pairs of atoms of one molecule within a distance, with both directions of every pair.

    Args:
        cutoff: largest distance in Angstrom.
        loops: every atom is also its own neighbor.
    """

    def __init__(self, cutoff: float, loops: bool = False) -> None:
        super().__init__()
        self.cutoff, self.loops = cutoff, loops

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs (neighbor, atom), (2, E); their distance, (E,); the vector from atom to neighbor,
        (E, 3).

        Args:
            pos: positions, (R, 3).
            batch: molecule of every atom, ascending, (R,).
        """
        dense, mask = to_dense_batch(pos.detach(), batch)  # (B, N, 3), (B, N)
        distance = torch.cdist(dense, dense, compute_mode="donot_use_mm_for_euclid_dist")
        near = (distance <= self.cutoff) & mask.unsqueeze(1) & mask.unsqueeze(2)  # (B, N, N)
        if not self.loops:
            near = near & ~torch.eye(mask.shape[1], dtype=torch.bool, device=pos.device)
        molecule, neighbor, atom = near.nonzero(as_tuple=True)
        row = (mask.flatten().cumsum(0) - 1).view_as(mask)  # (B, N), of an atom among all
        pairs = torch.stack([row[molecule, neighbor], row[molecule, atom]])  # (2, E)
        vector = pos[pairs[0]] - pos[pairs[1]]
        return pairs, norm(vector), vector.clone()  # ViSNet writes into the vectors


class InvariantNet(Backbone):
    """Base of the adapters: a padded batch of molecules in, invariant features of every atom out.

    Args:
        in_channels: number of channels of the input features.
        group: group of the configuration; the network is invariant under SE(3) in any case.
        atoms: elements that the feature channels encode.
        grid: positions that all clouds share, which these networks do not take.
        unused: settings of other backbones, which data sets and groups bring along.

    Raises:
        InputError: data that are not molecules in space, or positions that are not in Angstrom, the
            unit of the cutoff.

    Attributes:
        group: SE(3), under which the network is invariant.
    """

    name: str
    is_invariant = True
    charges: Tensor

    def __init__(
        self,
        in_channels: int,
        group: Group,
        atoms: Atoms | None = None,
        grid: Tensor | None = None,
        **unused: object,
    ) -> None:
        super().__init__()
        check_group(group)
        self.group = SE3()
        fits = atoms is not None and in_channels % len(atoms.charges) == 0
        if atoms is None or not fits or group.dim != 3 or grid is not None:
            raise InputError(
                f"backbone={self.name} is for molecules in three dimensions, with one block of "
                f"channels for each element; not for {in_channels} channels in {group.dim} "
                "dimensions. Use dataset=qm9, or backbone=lieconv."
            )
        if not atoms.angstrom:
            raise InputError(
                f"backbone={self.name} takes positions in Angstrom; "
                "dataset.scale_positions=true rescales them, as group=SO3 and group=SE3 ask for. "
                f"Use group=E3: {self.name} is invariant by itself."
            )
        self.register_buffer("charges", torch.tensor(atoms.charges), persistent=False)

    @abstractmethod
    def features(self, charges: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        """Features (R, out_channels) of R atoms: charges (R,), positions (R, 3), molecule (R,)."""

    def charges_of(self, feat: Tensor) -> Tensor:
        """Nuclear charges of atoms, (R, in_channels) -> (R,): those of the element whose block
        begins with the largest number.
        """
        first = feat.unflatten(-1, (len(self.charges), -1))[..., 0]  # (R, elements), one-hot
        return self.charges[first.argmax(-1)]

    def forward(self, cloud: PointCloud) -> PointCloud:
        """(B, N, in_channels) features -> (B, N, out_channels)."""
        check_cloud(cloud)
        known = cloud.sizes is not None and cloud.sizes.exact
        sizes = cloud.sizes if known else Sizes.of(cloud.mask)
        layout = Padded.of(cloud.mask, sizes, cloud.pos.dtype)
        feat, pos = layout.rows(cloud.feat).squeeze(1), layout.rows(cloud.pos).squeeze(1)
        if len(pos) == 0:
            return cloud._replace(feat=cloud.feat.new_zeros(*cloud.mask.shape, self.out_channels))
        atoms = self.features(self.charges_of(feat), pos, layout.places.cloud)  # (R, out_channels)
        return cloud._replace(feat=layout.clouds(atoms.unsqueeze(1)))


class SchNet(InvariantNet):
    """SchNet (Schuett et al. 2017, arXiv 1706.08566) up to its last hidden layer, `channels` / 2
    features an atom.

    With pool=sum and pool_on=outputs it is the published network.

    Args:
        channels, layers, gaussians: width, interaction blocks, and radial basis functions.
        cutoff: radius of neighborhoods, Angstrom.
        setting: see `InvariantNet`.
    """

    name = "schnet"

    def __init__(
        self,
        *,
        channels: int = 128,
        layers: int = 6,
        gaussians: int = 50,
        cutoff: float = 10.0,
        **setting: Any,
    ) -> None:
        super().__init__(**setting)
        self.graph = RadiusGraph(cutoff)
        self.net = PyGSchNet(
            channels, channels, layers, gaussians, cutoff, interaction_graph=self._pairs
        )
        self.net.lin2, self.net.readout = nn.Identity(), PerAtom()
        self.out_channels = channels // 2

    def features(self, charges: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        return self.net(charges, pos, batch)

    def _pairs(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        return self.graph(pos, batch)[:2]


class PerAtom(nn.Module):
    """Takes the place of a sum over atoms in a network of the library, and returns the atoms."""

    def forward(self, x: Tensor, index: Tensor, dim: int = 0) -> Tensor:
        return x


class ViSNet(InvariantNet):
    """ViSNet (Wang et al. 2022, arXiv 2210.16518): scalars and vectors, read out as `channels`
    invariants an atom.

    Half of them are the scalars after the first gated block of its head, half the lengths of the
    vectors beside them.

    Args:
        channels, layers, heads, radial: width, layers, attention heads, and radial basis functions.
        cutoff: radius of neighborhoods, Angstrom.
        setting: see `InvariantNet`.
    """

    name = "visnet"

    def __init__(
        self,
        *,
        channels: int = 128,
        layers: int = 6,
        heads: int = 8,
        radial: int = 32,
        cutoff: float = 5.0,
        **setting: Any,
    ) -> None:
        super().__init__(**setting)
        net = PyGViSNet(
            num_heads=heads,
            num_layers=layers,
            hidden_channels=channels,
            num_rbf=radial,
            cutoff=cutoff,
        )
        self.net, self.gate = net.representation_model, net.output_model.output_network[0]
        self.net.distance = RadiusGraph(cutoff, loops=True)
        self.out_channels = 2 * (channels // 2)

    def features(self, charges: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        # (R, channels / 2), (R, 3, channels / 2)
        scalars, vectors = self.gate(*self.net(charges, pos, batch))
        return torch.cat([scalars, norm(vectors.mT)], -1)
