"""One trained network, with those whose features it was trained on: from inputs to numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.groups import SO3
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.hashing import hash_file
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.model import OrbitTerms
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.prediction.inputs import ImageInputs, Inputs, MoleculeInputs
from gigp.lab.training.features import BackboneFeatures
from gigp.lab.training.load import load_description, load_trained
from gigp.lab.training.module import LitModule, Regression
from gigp.lab.training.rotations import mean_and_spread
from gigp.pointcloud import PointCloud

Precision = Literal["double", "single"]


class TrainedModel:
    """The model of a finished run or of a model folder. It needs no data set.

    Args:
        run: folder of a run, with its checkpoints, or of a model.
        device: device to compute on.
        precision: of models of molecules; those of images compute in single precision, in which
            ties of distances on their grid are broken.

    Attributes:
        data: data set that the model was trained on, not set up.
        module: the network.
        frozen: what computes the features that it takes, in the order in which they compute.
        inputs: what it takes and gives.
        is_invariant: whether rotations cannot change its predictions, by construction.

    Raises:
        InputError: there is no such run, no checkpoint, or the run is on neither molecules nor
            images; or it is on the features of another run whose checkpoint is no longer the same.
    """

    data: PointCloudDataModule

    def __init__(
        self,
        run: Path,
        device: torch.device | None = None,
        precision: Precision = "double",
    ) -> None:
        self.run, self.device = run, device or torch.device("cpu")
        _, self.data, self.module = load_trained(run, setup=False)
        on, modules = run, [self.module]
        self.frozen: list[BackboneFeatures] = []
        while isinstance(self.data, BackboneFeatures):  # the run's own model is a pool and a head
            _check_backbone(on, self.data.run)
            modules.insert(0, self.data.trained)
            self.frozen.insert(0, self.data)
            on, self.data = self.data.run, self.data.source
        single = precision == "single" or isinstance(self.data, ImageClouds)
        self.dtype = torch.float32 if single else torch.float64
        for module in modules:
            module.to(self.device, self.dtype)
        self.is_invariant = _ignores_rotations(modules)
        self.inputs = self._make_inputs(modules)

    def predict(
        self, contents: Sequence[Any], batch_size: int | None = None, rotations: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Numbers for inputs, see `Inputs.finish`, (M, T), and their standard deviation over
        rotations, (M, T); 0 for one orientation alone.

        Args:
            contents: M inputs that the model takes.
            batch_size: how many at a time; None: as in the run's evaluation.
            rotations: orientations to average over; 0, or for a model that is exactly invariant:
                the one that the inputs have.
        """
        turns = 0 if self.is_invariant else rotations
        batches = [torch.zeros(2, 0, len(self.inputs.names), dtype=torch.float64)]
        for batch in self.inputs.batches(contents, batch_size or self.data.eval_batch_size):
            every = [
                self.inputs.finish(self._compute(cloud), batch)
                for cloud in self.inputs.clouds(batch, self.device, turns)
            ]
            batches.append(torch.stack(mean_and_spread(every)))
        mean, spread = torch.cat(batches, 1)
        return mean, spread

    def orbit_terms(self, content: Any) -> OrbitTerms:
        """What every orbit of the pool adds to the output of the network for one input, before
        `Inputs.finish` and what the module makes of outputs.

        Raises:
            InputError: the pool is no sum over orbits.
        """
        (cloud,) = self.inputs.clouds([content], self.device, 0)
        return self.module.model.orbit_terms(self._features(cloud))

    def _compute(self, cloud: PointCloud) -> Tensor:
        """Outputs of the network for a batch, (B, T)."""
        return self.module(self._features(cloud))

    def _features(self, cloud: PointCloud) -> PointCloud:
        """What the run's own model takes: a batch, or the features of it from frozen networks."""
        cloud = _cast(cloud, self.dtype)
        for frozen in self.frozen:
            cloud = _cast(frozen.points(cloud), self.dtype)
        return cloud

    def _make_inputs(self, modules: Sequence[LitModule]) -> Inputs:
        """The kind of inputs that the data set has."""
        if isinstance(self.data, MoleculeClouds):
            assert isinstance(self.module, Regression)
            mean, std = self.module.mean, self.module.std
            return MoleculeInputs(self.data, _ignores_shifts(modules), mean, std)
        if isinstance(self.data, ImageClouds):
            return ImageInputs(self.data)
        raise InputError(
            f"{self.run} is a run on {type(self.data).__name__}; give a run on molecules or images."
        )


def _cast(cloud: PointCloud, dtype: torch.dtype) -> PointCloud:
    """A batch with all its numbers of one type."""
    mass = None if cloud.mass is None else cloud.mass.to(dtype)
    return cloud._replace(pos=cloud.pos.to(dtype), feat=cloud.feat.to(dtype), mass=mass)


def _ignores_shifts(modules: Sequence[LitModule]) -> bool:
    """Whether outputs do not change when a molecule is moved: the group of the backbone has all
    translations, and the pool does not measure from the origin.

    Args:
        modules: modules that compute one after the other.
    """
    group = modules[0].model.backbone.group
    return group.rep_dim > group.dim and getattr(modules[-1].model.pool, "center", "") != "origin"


def _ignores_rotations(modules: Sequence[LitModule]) -> bool:
    """Whether outputs cannot change when a molecule is turned: neither the backbone nor the pool
    sees more than distances.
    """
    pool_group = modules[-1].model.pool.group
    return modules[0].model.backbone.is_invariant and isinstance(pool_group, SO3 | None)


def _check_backbone(run: Path, of: Path) -> None:
    """Refuse a backbone that was trained again after a pool and a head were trained on its
    features.
    """
    then = load_description(run)["features_of"]["checkpoint"]
    now = hash_file(of / "checkpoints" / "best.ckpt")[: len(then)]
    if now != then:
        raise InputError(
            f"{run} was trained on features of {of}, whose checkpoint was another one then "
            f"(SHA-256 {then}..., now {now}...); bring that one back, or train {run} again with "
            "overwrite=true."
        )
