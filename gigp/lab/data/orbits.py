"""Synthetic point clouds whose targets are known functions of their orbits, to test what a pool
can express.

Points lie on circles of radius 1 to 5 about the origin, at random angles. Every point has the
features (x_i, 1). The features do not depend on the position, so mean and sum pooling see n and the
sum of the x_i alone; the least error of any function of these two, `limit`, is computed from the
test set and recorded (arXiv 2305.19207, section 4, claims that GIGP expresses such functions).
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError, check_choice
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.data.splits import Part
from gigp.lab.data.targets import Target
from gigp.lab.hashing import hash_arrays, hash_split
from gigp.pointcloud import PointCloud, Sizes

Function = Literal["lit_radius", "orbit_sums", "parity", "one_orbit"]
FUNCTIONS: dict[str, str] = {
    "lit_radius": "radius of the one point with x_i = 1; the others have x_i = 0",
    "orbit_sums": "sum over the orbits of the squared sum of x_i = -1 or 1: no function of the "
    "global sum",
    "parity": "number of orbits that hold an odd number of points; all x_i = 1",
    "one_orbit": "control, squared sum of x_i = -1 or 1, with all points on one orbit: nothing to "
    "gain from orbits",
}
RADII = 5


class OrbitClouds(PointCloudDataModule):
    """Point clouds in the plane with a target that is a function of their orbits.

    Args:
        function: function to predict, see `FUNCTIONS`.
        points: number of points in every cloud.
        train_size, val_size, test_size: number of clouds in each part.
        batch_size: clouds in a batch of training.
        eval_batch_size: clouds in a batch of validation and test.
        augment: turn every training cloud by a random angle.
        seed: seed of the order of training; the clouds do not depend on it.
    """

    kind = "regression"
    arrays = ("positions", "x", "values")
    in_channels = 2
    out_dim = 1
    dim = 2

    def __init__(
        self,
        function: Function = "orbit_sums",
        points: int = 12,
        train_size: int = 5000,
        val_size: int = 1000,
        test_size: int = 5000,
        batch_size: int = 100,
        eval_batch_size: int = 1000,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train_size, val_size, test_size, batch_size, eval_batch_size, augment, seed
        )
        check_choice("function", function, Function)
        if points < 1:
            raise InputError(f"points={points}: a cloud needs one point at least.")
        self.function, self.points = function, points
        self.sizes: dict[Part, int] = {"train": train_size, "val": val_size, "test": test_size}
        for part, size in self.sizes.items():
            if size < 1:
                raise InputError(f"dataset.{part}_size={size}: each part needs one cloud at least.")
        self.targets = (Target(function, "", "1", 1.0, "1", 1.0, "intensive"),)

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "indices"):
            return
        generator = torch.Generator().manual_seed(0)
        shape = (sum(self.sizes.values()), self.points)
        orbit = torch.randint(RADII, shape, generator=generator)  # (M, n)
        angle = 2 * torch.pi * torch.rand(shape, generator=generator)
        sign = 2.0 * torch.randint(2, shape, generator=generator) - 1
        if self.function == "one_orbit":
            orbit = orbit[:, :1].expand(shape)
        lit = torch.zeros(shape)
        lit[:, 0] = 1
        self.x = {"lit_radius": lit, "parity": torch.ones(shape)}.get(self.function, sign)
        radius = 1.0 + orbit
        self.positions = radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)
        self.values = orbit_function(self.function, orbit, self.x).unsqueeze(-1)  # (M, 1)
        parts = torch.arange(len(orbit)).split(list(self.sizes.values()))
        self.indices = dict(zip(self.sizes, parts, strict=True))
        test = self.indices["test"]
        arrays = {
            "positions": self.positions.numpy(),
            "x": self.x.numpy(),
            "values": self.values.numpy(),
        }
        self.description = {
            "dataset": "orbits",
            "source": "synthetic",
            "sha256": hash_arrays(arrays),
            "split": "seeded draw",
            "split_hash": hash_split(self.indices),
            "sizes": self.sizes,
            "targets": {self.function: {"unit": "1", "kind": "intensive"}},
            "limit": {"mean and sum": best_of_sums(self.x[test].sum(1), self.values[test, 0])},
        }

    def get_batch(
        self, indices: Tensor, device_indices: Tensor | None = None
    ) -> tuple[PointCloud, Tensor]:
        if device_indices is None:
            device_indices = indices.to(self.device)
        x = self.x[device_indices]
        mask = torch.ones_like(x, dtype=torch.bool)
        feat = torch.stack([x, torch.ones_like(x)], -1)  # (B, n, 2)
        sizes = Sizes(np.full(len(indices), self.points))
        return PointCloud(self.positions[device_indices], feat, mask, sizes), self.values[
            device_indices
        ]

    def prepare_batch(
        self, batch: tuple[PointCloud, Tensor], augment: bool
    ) -> tuple[PointCloud, Tensor]:
        cloud, target = batch
        if augment:
            angle = 2 * torch.pi * torch.rand(len(cloud.pos), device=cloud.pos.device)
            turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(
                -1, 2, 2
            )
            cloud = cloud._replace(pos=cloud.pos @ turn.mT.to(cloud.pos.dtype))
        return cloud, target


def orbit_function(function: Function, orbit: Tensor, x: Tensor) -> Tensor:
    """The target of clouds with orbits (M, n), integers below RADII, and features x (M, n):
    (M,).
    """
    member = torch.nn.functional.one_hot(orbit, RADII).float()  # (M, n, RADII)
    sums = torch.einsum("mnk,mn->mk", member, x)  # (M, RADII)
    if function == "lit_radius":
        return 1 + sums.argmax(1).float()
    if function == "parity":
        return (member.sum(1) % 2).sum(1)
    return sums.square().sum(1)


def best_of_sums(total: Tensor, target: Tensor) -> float:
    """Mean absolute error of the best function of the sum of x_i: the median of the targets with
    the same sum.
    """
    error = sum(
        (target[total == s] - target[total == s].median()).abs().sum() for s in total.unique()
    )
    return float(error / len(target))
