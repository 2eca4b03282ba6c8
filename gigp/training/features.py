"""Features of a trained backbone as a data set, so that pools and heads train on them in
seconds.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gigp.datasets.cache import Arrays, load_or_build, sha256_of
from gigp.datasets.loader import Part, PointCloudDataModule, hash_of
from gigp.errors import InputError
from gigp.pointcloud import PointCloud, Sizes

FORMAT = 2  # of the cache; a higher number makes every cache be built again


class BackboneFeatures(PointCloudDataModule):
    """What the frozen backbone of a finished run says about every point of its data set; nothing is
    augmented.

    The run's best checkpoint is used in evaluation mode, batch norm included, once for every cloud;
    features are kept in half precision. With `backbone=identity pool_on=features` a model is a pool
    and a head on them.

    Args:
        run: folder of the run, with its checkpoints.
        cache: folder of the compact cache.
        train_size, val_size, test_size: how much of each part to take, in place of what the run
            took.
        changes: further settings of the run's data set to change, such as `{recenter: true, center:
            mass}`.
        batch_size: of training; eval_batch_size: of validation and test.
        seed: of the order of training.

    Raises:
        InputError: no such run, or one on images, whose points are not kept apart.
    """

    def __init__(
        self,
        run: str,
        cache: str = "data",
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        changes: dict[str, Any] | None = None,
        batch_size: int = 75,
        eval_batch_size: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, augment=False, seed=seed)
        self.run, self.cache = Path(run), Path(cache)
        from gigp.training.run import load_trained  # which itself imports the data sets

        sizes: dict[Part, int | None] = {"train": train_size, "val": val_size, "test": test_size}
        self.changes = {
            f"{part}_size": size for part, size in sizes.items() if size is not None
        } | dict(changes or {})
        _, self.source, self.trained = load_trained(self.run, setup=False, **self.changes)
        if self.source.grid is not None:
            raise InputError(
                f"{self.run} is a run on images; dataset=features takes runs on qm9 or orbits."
            )
        self.kind, self.dim, self.out_dim = self.source.kind, self.source.dim, self.source.out_dim
        self.targets, self.in_channels = (
            self.source.targets,
            self.trained.model.backbone.out_channels,
        )

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "indices"):
            return
        data, backbone = self.source, self.trained.model.backbone
        data.setup()
        checkpoint = sha256_of(self.run / "checkpoints" / "best.ckpt")[:12]
        clouds = f"{hash_of(data.indices)} {json.dumps(self.changes, sort_keys=True)}"
        clouds = hashlib.sha256(clouds.encode()).hexdigest()[:12]
        version = f"features-{checkpoint}-{clouds}-{FORMAT}"
        path = self.cache / f"features-{self.run.parent.name}-{self.run.name}-{clouds}.cache"
        arrays = load_or_build(path, version, lambda: compute_features(data, backbone))
        sizes = torch.from_numpy(arrays["sizes"]).long()  # (M,)
        self.mask = torch.arange(int(sizes.max())) < sizes[:, None]  # (M, N)
        self.starts = sizes.cumsum(0) - sizes
        self.positions, self.features = (
            torch.from_numpy(arrays["pos"]),
            torch.from_numpy(arrays["feat"]),
        )
        self.masses = torch.from_numpy(arrays["mass"]) if "mass" in arrays else None  # (R,)
        self.values = torch.from_numpy(arrays["targets"])  # (M, T)
        parts = torch.arange(len(sizes)).split([len(indices) for indices in data.indices.values()])
        self.indices = dict(zip(data.indices, parts, strict=True))
        source = {"run": f"{self.run.parent.name}/{self.run.name}", "backbone": str(backbone.group)}
        source["checkpoint"] = checkpoint
        self.description = {**data.description, "features_of": source}

    def train_targets(self) -> Tensor:
        """Targets of the training set in internal units, (n, T)."""
        return self.values[self.indices["train"]]

    def get_batch(self, indices: Tensor) -> tuple[PointCloud, Tensor]:
        mask = self.mask[indices]
        mask = mask[:, : int(mask.sum(1).max())]  # (B, N)
        rows = (self.starts[indices, None] + torch.arange(mask.shape[1])).clamp(
            max=len(self.features) - 1
        )
        pos, feat = self.positions[rows], self.features[rows].float()
        mass = None if self.masses is None else self.masses[rows]
        return PointCloud(pos, feat, mask, Sizes.of(mask), mass), self.values[indices]

    def prepare_batch(
        self, batch: tuple[PointCloud, Tensor], augment: bool
    ) -> tuple[PointCloud, Tensor]:
        return batch


@torch.no_grad()
def compute_features(data: PointCloudDataModule, backbone: torch.nn.Module) -> Arrays:
    """Positions, features and masses (where the data has them) of the real points of all clouds,
    one after the other; sizes of the clouds; targets.
    """
    pos, feat, mass, sizes, targets = [], [], [], [], []
    for indices in torch.cat(list(data.indices.values())).split(data.eval_batch_size):
        cloud, target = data.prepare_batch(data.get_batch(indices), augment=False)
        kept = backbone(cloud)
        pos.append(kept.pos[kept.mask])
        feat.append(kept.feat[kept.mask].half())
        if kept.mass is not None:
            mass.append(kept.mass[kept.mask])
        sizes.append(kept.mask.sum(1))
        targets.append(target)
    arrays = {"pos": pos, "feat": feat, "sizes": sizes, "targets": targets}
    if mass:
        arrays["mass"] = mass
    return {name: np.ascontiguousarray(torch.cat(parts).numpy()) for name, parts in arrays.items()}
