"""Features or outputs of a trained model for every point, as a data set on which pools and heads
train in seconds.
"""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gigp.errors import InputError, check_choice, check_count
from gigp.groups import SO3
from gigp.lab.config.instantiate import load_config
from gigp.lab.data.cache import Arrays, CacheWriter, load_or_fill
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.data.splits import Part
from gigp.lab.hashing import hash_file, hash_split, hash_text
from gigp.lab.model import beside_inputs
from gigp.lab.progress import track
from gigp.lab.runs.checkpoints import find_checkpoint
from gigp.lab.training.load import load_trained
from gigp.lab.training.module import Regression
from gigp.pointcloud import PointCloud

FORMAT = 4  # of the cache; a higher number makes every cache be built again
CPU = torch.device("cpu")

Level = Literal["features", "outputs"]


class BackboneFeatures(PointCloudDataModule):
    """Features or outputs of a finished run for every point of its data set.

    The run's best checkpoint is used in evaluation mode, batch norm included, once for every cloud.
    The results are mapped from a file, so that a data set may be larger than the memory. With
    `backbone=identity` a model is a pool and a head on features, or a pool alone on outputs.

    Targets are standardized as in the run, whose references of atoms stay, too.

    Args:
        run: folder of the run, with its checkpoints, or of a model.
        level: `features` of the backbone, in half precision, or `outputs` of its head for every
            point, in single precision.
        pool_inputs: put the input features of each point behind those of the backbone.
        orientations: random orientations in which every training cloud is kept, one of which an
            epoch takes, in turn, for networks that are not exactly invariant; 0: as it is, alone.
        cache: folder of the file.
        root: folder of downloads of the run's data set.
        train_size, val_size, test_size: number of clouds of each part; None: as in the run.
        changes: further settings of the run's data set to change, such as `{recenter: true, center:
            mass}`.
        batch_size: clouds in a batch of training.
        eval_batch_size: clouds in a batch of validation and test.
        seed: seed of the order of training.

    Raises:
        InputError: no such run, `level=outputs` of a run whose head follows the pool, input
            features beside outputs, or beside features of other points, or orientations of what is
            not in space.
    """

    arrays = ("features", "positions", "mask", "starts", "masses", "values")

    def __init__(
        self,
        run: str,
        level: Level = "features",
        cache: str = "data",
        root: str = "data",
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        changes: dict[str, Any] | None = None,
        batch_size: int = 75,
        eval_batch_size: int = 1000,
        seed: int = 0,
        pool_inputs: bool = False,
        orientations: int = 0,
    ) -> None:
        super().__init__(
            train_size, val_size, test_size, batch_size, eval_batch_size, augment=False, seed=seed
        )
        check_choice("level", level, Level)
        check_count("orientations", orientations, 0)
        self.orientations, self.versions = orientations, max(1, orientations)
        self.run, self.level, self.cache = Path(run), level, Path(cache)
        self.changes = {
            f"{part}_size": size for part, size in self.sizes.items() if size is not None
        } | dict(changes or {})
        # the run may come from a machine where the data set was in another folder
        place = {"root": root} if "root" in load_config(self.run).dataset else {}
        options = place | self.changes
        cfg, self.source, self.trained = load_trained(self.run, setup=False, **options)
        if level == "outputs" and cfg.pool_on != "outputs":
            raise InputError(
                f"{run} has no outputs for every point: its head follows the pool "
                f"(pool_on={cfg.pool_on}). Give a run with pool_on=outputs, or use "
                "dataset=features."
            )
        self.per_point_outputs = level == "outputs"
        self.kind, self.dim, self.out_dim = self.source.kind, self.source.dim, self.source.out_dim
        self.targets = self.source.targets
        backbone = self.trained.model.backbone
        if pool_inputs and (level == "outputs" or not backbone.keeps_points):
            raise InputError(
                "pool_inputs=true needs the features of a backbone that keeps every point once; "
                "use dataset=features and a run on molecules with group=E3 or T3."
            )
        self.extra_channels = self.source.in_channels if pool_inputs else 0
        self.in_channels = self.out_dim if level == "outputs" else backbone.out_channels
        self.in_channels += self.extra_channels

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "indices"):
            return
        data = self.source
        data.setup()
        checkpoint = hash_file(find_checkpoint(self.run))[:12]
        arrays = self._arrays(checkpoint)
        sizes = torch.from_numpy(arrays["sizes"]).long()  # (M,)
        self.counts = sizes.numpy()
        self.mask = torch.arange(int(sizes.max())) < sizes[:, None]  # (M, N)
        self.starts = sizes.cumsum(0) - sizes
        self.positions = torch.from_numpy(arrays["pos"])  # (R, d)
        self.features = torch.from_numpy(arrays["feat"])  # (R, c)
        self.masses = torch.from_numpy(arrays["mass"]) if "mass" in arrays else None  # (R,)
        self.values = torch.from_numpy(arrays["targets"])  # (M, T), or (M,) classes
        blocks = torch.arange(len(sizes)).split([len(block) for _, block in self._blocks()])
        self.indices = {p: b for (p, _), b in zip(self._blocks(), blocks, strict=True)}
        self.indices["train"] = blocks[0]  # the first version
        source: dict[str, str | int] = {
            "run": f"{self.run.parent.name}/{self.run.name}",
            "backbone": str(self.trained.model.backbone.group),
            "level": self.level,
            "checkpoint": checkpoint,
        }
        if self.orientations:
            source["orientations"] = self.orientations
        self.description = {**data.description, "features_of": source}

    def target_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that the run standardizes targets with, (T,)."""
        assert isinstance(self.trained, Regression)
        return self.trained.mean.cpu(), self.trained.std.cpu()

    def true_targets(self, indices: Tensor) -> Tensor:
        return self.source.true_targets(self._in_source(indices))

    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names()

    def sample_names(self, indices: Tensor) -> list[str]:
        return self.source.sample_names(self._in_source(indices))

    def _in_source(self, indices: Tensor) -> Tensor:
        """Indices of samples in the data set of the run."""
        return torch.cat([block for _, block in self._blocks()])[indices]

    def _blocks(self) -> list[tuple[Part, Tensor]]:
        """Parts and samples of the run's data set in the order in which they are kept here: every
        version of the training clouds, validation, test.
        """
        return [
            (part, indices)
            for part, indices in self.source.indices.items()
            for _ in range(self.versions if part == "train" else 1)
        ]

    def get_batch(
        self, indices: Tensor, device_indices: Tensor | None = None
    ) -> tuple[PointCloud, Tensor]:
        counts = self.counts[indices.numpy()]
        num = self.mask.shape[1] if self.fixed_shapes else int(counts.max())
        if device_indices is None:
            device_indices = indices.to(self.device)
        mask = self.mask[device_indices, :num]  # (B, N)
        rows = self.starts[device_indices, None] + torch.arange(
            num, device=device_indices.device
        )  # (B, N)
        rows = rows.clamp(max=len(self.features) - 1)
        feat = self.features.index_select(0, rows.flatten()).float()  # copies whole rows
        pos, feat = self.positions[rows], feat.unflatten(0, rows.shape)
        mass = None if self.masses is None else self.masses[rows]
        return PointCloud(pos, feat, mask, self.known_sizes(counts), mass), self.values[
            device_indices
        ]

    def prepare_batch(
        self, batch: tuple[PointCloud, Tensor], augment: bool
    ) -> tuple[PointCloud, Tensor]:
        return batch

    def turned_batch(self, indices: Tensor, turns: Tensor) -> tuple[PointCloud, Tensor]:
        """Features of clouds in other orientations, computed now."""
        cloud, target = self.source.turned_batch(self._in_source(indices), turns)
        return self.points(cloud), target

    @torch.no_grad()
    def points(self, cloud: PointCloud) -> PointCloud:
        """Features or outputs of the frozen model for every point, rounded as in the cache.

        Args:
            cloud: a batch of the run's data set, on the device of the model.

        Returns:
            (B, N, c) features or (B, N, T) outputs at positions (B, N, d); with `pool_inputs` (B,
            N, c + i).

        Raises:
            InputError: a feature is too large for half precision.
        """
        model = self.trained.model
        kept = model.backbone(cloud)
        if self.extra_channels:
            kept = beside_inputs(kept, cloud)
        num = len(kept.feat)
        feat = model.head(kept.feat) if self.level == "outputs" else kept.feat.half().float()
        mask = kept.mask.expand(num, -1)  # images share their grid
        if not feat[mask].isfinite().all():
            raise InputError(
                f"{self.run} computes features that half precision cannot hold (above 65504) or "
                "that are not finite; train it again with a smaller learning rate."
            )
        return PointCloud(kept.pos.expand(num, -1, -1), feat, mask, mass=kept.mass)

    def _arrays(self, checkpoint: str) -> Arrays:
        """Read the cache, or compute its arrays."""
        clouds = f"{hash_split(self.source.indices)} {json.dumps(self.changes, sort_keys=True)}"
        clouds = hash_text(clouds)[:12]
        what = f"{self.level}+inputs" if self.extra_channels else self.level
        what += f"-{self.orientations}-turned" if self.orientations else ""
        version = f"{what}-{checkpoint}-{clouds}-{FORMAT}"
        name = f"{what}-{self.run.parent.name}-{self.run.name}-{clouds}.cache"
        return load_or_fill(self.cache / name, version, self._compute)

    def _compute(self, cache: CacheWriter) -> None:
        """Write features, and then positions, masses (where the data has them), sizes and targets.

        Rows are the real points of all clouds, one cloud after the other. A GPU computes them where
        there is one.
        """
        from lightning.fabric.utilities import move_data_to_device

        data, device = self.source, torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.trained.to(device)
        rest: dict[str, list[Tensor]] = {"pos": [], "mass": [], "sizes": [], "targets": []}
        batches = [
            (part, batch)
            for part, block in self._blocks()
            for batch in block.split(data.eval_batch_size)
        ]
        generator = torch.Generator().manual_seed(0)
        for part, indices in track(batches, f"Computing {self.level}", len(batches)):
            if self.orientations and part == "train":
                turns = SO3().random(len(indices), generator=generator, dtype=torch.float64)
                cloud, target = data.turned_batch(indices, turns)
            else:
                cloud, target = data.prepare_batch(data.get_batch(indices), augment=False)
            points = move_data_to_device(self.points(move_data_to_device(cloud, device)), CPU)
            feat = points.feat[points.mask]
            cache.append("feat", (feat.half() if self.level == "features" else feat).numpy())
            rest["pos"].append(points.pos[points.mask])
            if points.mass is not None:
                rest["mass"].append(points.mass[points.mask])
            rest["sizes"].append(points.mask.sum(1))
            rest["targets"].append(target)
        self.trained.to(CPU)
        for name, blocks in rest.items():
            if blocks:
                cache.append(name, torch.cat(blocks).numpy())
