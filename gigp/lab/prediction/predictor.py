"""A trained model, ready for inputs from files: from a folder to numbers with units."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gigp.errors import InputError, check_choice
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.hashing import hash_file
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.molecules.readers.objects import is_foreign
from gigp.lab.prediction.inputs import ImageInputs, Inputs, MoleculeInputs
from gigp.lab.prediction.steady import steady_state
from gigp.lab.training.features import BackboneFeatures
from gigp.lab.training.load import load_description, load_trained
from gigp.lab.training.module import LitModule, Regression
from gigp.pointcloud import PointCloud

Precision = Literal["double", "single"]


class Predictor:
    """The model of a finished run or of a model folder. It needs no data set.

    Args:
        run: folder of a run, with its checkpoints, or of a model.
        batch_size: clouds at a time; None: as in the run's evaluation. Predictions do not depend on
            it.
        device: device to compute on.
        check: refuse molecules whose chemistry the model has never seen, see `refusals`.
        extrapolate: give also numbers that lie far outside the range of the training targets.
        precision: of models of molecules, `double`; with `single`, which is faster on a CPU, the
            last digits may depend on the other inputs of a batch. Those of images compute in
            single precision, in which ties of distances on their grid are broken.

    Attributes:
        data: data set that the model was trained on, not set up.
        columns: names of the predictions, with units.
        readers: readers of input files, by ending.

    Raises:
        InputError: there is no such run, no checkpoint, or the run is on neither molecules nor
            images; or it is on the features of another run whose checkpoint is no longer the same.
    """

    data: PointCloudDataModule

    def __init__(
        self,
        run: str | Path,
        batch_size: int | None = None,
        device: str | torch.device = "cpu",
        check: bool = True,
        extrapolate: bool = False,
        precision: Precision = "double",
    ) -> None:
        check_choice("precision", precision, Precision)
        run, self.device = Path(run), torch.device(device)
        self.checks, self.extrapolate = check, extrapolate
        self.dtype = torch.float64 if precision == "double" else torch.float32
        with steady_state(self.device):
            self._load(run)
        self.batch_size = self.data.eval_batch_size if batch_size is None else batch_size
        if self.batch_size < 1:
            raise InputError(f"batch_size={batch_size}: it must be positive.")
        self.inputs = self._make_inputs(run)
        self.columns, self.readers = self.inputs.columns, self.inputs.readers

    def _load(self, run: Path) -> None:
        """Load the model, and those of the runs whose features it was trained on."""
        _, self.data, module = load_trained(run, setup=False)
        on, trained = run, [module]
        self.frozen: list[BackboneFeatures] = []  # in the order in which they compute
        while isinstance(self.data, BackboneFeatures):  # the run's own model is a pool and a head
            _check_backbone(on, self.data.run)
            trained.append(self.data.trained)
            self.frozen.insert(0, self.data)
            on, self.data = self.data.run, self.data.source
        if isinstance(self.data, ImageClouds):
            self.dtype = torch.float32
        for each in trained:
            each.to(self.device, self.dtype)
        self.module = module

    def check(self, content: object) -> None:
        """Refuse an input that the model cannot take.

        Raises:
            InputError: it is no molecule, or no image of gray values from 0 to 255; a molecule has
                elements that are unknown to the model, an image another size.
        """
        self.inputs.check(content)

    def refusals(self, inputs: Sequence[Any]) -> list[str]:
        """For each input the reason why the model cannot know its chemistry, or nothing: ions, odd
        numbers of electrons, open shells, missing hydrogens, other units, cells that cut a
        molecule.
        """
        return self.inputs.refusals([self.inputs.adopt(content) for content in inputs])

    def warning(self, inputs: Sequence[Any]) -> str:
        """Sentences about molecules that have other sizes or elements than those the model was
        trained on, or seem to lack hydrogens; empty where there are none.
        """
        tally = self.inputs.tally()
        tally.add([self.inputs.adopt(content) for content in inputs])
        return " ".join(tally.sentences())

    def __call__(self, inputs: Iterable[Any]) -> Tensor:
        """Predict. What else the process has set does not count: see `steady_state`.

        Args:
            inputs: molecules, those of ASE and RDKit too, or images (side, side) of gray values
                from 0 to 255.

        Returns:
            (M, T) float64 in the order and the units of `columns`: whole properties, the
            references of their atoms added.

        Raises:
            InputError: see `check` and `refusals`; a number lies far outside the range of the
                training targets; or one input in place of several.
        """
        one = isinstance(inputs, Molecule | str) or is_foreign(inputs)
        if one or (isinstance(inputs, Tensor) and inputs.dim() < 3):
            raise InputError(f"one {type(inputs).__name__} in place of several; pass a list of it.")
        with steady_state(self.device):
            contents = [self.inputs.adopt(content) for content in inputs]
            for content in contents:
                self.check(content)
            _raise_first(self.inputs.refusals(contents) if self.checks else ())
            rows = [torch.zeros(0, len(self.columns), dtype=torch.float64)]
            rows += map(self._predict, self.inputs.batches(contents, self.batch_size))
            values = torch.cat(rows)
            _raise_first(() if self.extrapolate else self.inputs.far_outside(values, contents))
        return values

    def _predict(self, batch: Sequence[Any]) -> Tensor:
        """Predictions of one batch, (B, T)."""
        cloud = _cast(self.inputs.cloud(batch, self.device), self.dtype)
        for frozen in self.frozen:
            cloud = _cast(frozen.points(cloud), self.dtype)
        return self.inputs.finish(self.module(cloud), batch)

    def _make_inputs(self, run: Path) -> Inputs:
        """The kind of inputs that the data set has."""
        if isinstance(self.data, MoleculeClouds):
            modules = [*(frozen.trained for frozen in self.frozen), self.module]
            assert isinstance(self.module, Regression)
            mean, std = self.module.mean, self.module.std
            return MoleculeInputs(self.data, _ignores_shifts(modules), mean, std)
        if isinstance(self.data, ImageClouds):
            return ImageInputs(self.data)
        raise InputError(
            f"{run} is a run on {type(self.data).__name__}; give a run on molecules or images."
        )


def _raise_first(reasons: Iterable[str]) -> None:
    """Raise the first reason of several, if there is one."""
    if reason := next(filter(None, reasons), ""):
        raise InputError(reason)


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
