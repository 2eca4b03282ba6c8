"""A trained model, ready for inputs from files: from a folder to numbers with units."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.cache import hash_file
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.prediction.inputs import ImageInputs, Inputs, MoleculeInputs
from gigp.lab.training.features import BackboneFeatures
from gigp.lab.training.load import load_description, load_trained
from gigp.lab.training.module import LitModule


class Predictor:
    """The model of a finished run or of a model folder. It needs no data set.

    Args:
        run: folder of a run, with its checkpoints, or of a model.
        batch_size: clouds at a time; None: as in the run's evaluation. Predictions do not depend on
            it.
        device: device to compute on.

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
        self, run: str | Path, batch_size: int | None = None, device: str | torch.device = "cpu"
    ) -> None:
        run = Path(run)
        _, self.data, module = load_trained(run, setup=False)
        self.module, self.device, on = module.to(device), torch.device(device), run
        self.frozen: list[BackboneFeatures] = []  # in the order in which they compute
        while isinstance(self.data, BackboneFeatures):  # the run's own model is a pool and a head
            _check_backbone(on, self.data.run)
            self.data.trained.to(device)
            self.frozen.insert(0, self.data)
            on, self.data = self.data.run, self.data.source
        self.batch_size = self.data.eval_batch_size if batch_size is None else batch_size
        if self.batch_size < 1:
            raise InputError(f"batch_size={batch_size}: it must be positive.")
        self.inputs = self._make_inputs(run)
        self.columns, self.readers = self.inputs.columns, self.inputs.readers

    def check(self, content: Molecule | Tensor) -> None:
        """Refuse an input that the model cannot take.

        Raises:
            InputError: it is no molecule, or no image of gray values from 0 to 255; a molecule has
                elements that are unknown to the model, an image another size.
        """
        self.inputs.check(content)

    def warning(self, inputs: Sequence[Molecule] | Sequence[Tensor]) -> str:
        """A sentence about molecules that have other sizes or elements than those the model was
        trained on; empty where there are none, or the range is not known.
        """
        return self.inputs.warning(inputs)

    @torch.no_grad()
    def __call__(self, inputs: Iterable[Molecule] | Iterable[Tensor]) -> Tensor:
        """Predict.

        Args:
            inputs: molecules, or images (side, side) of gray values from 0 to 255.

        Returns:
            (M, T) float64 in the order and the units of `columns`: whole properties, the
            references of their atoms added.

        Raises:
            InputError: see `check`; or one input in place of several.
        """
        if isinstance(inputs, Molecule | str) or (isinstance(inputs, Tensor) and inputs.dim() < 3):
            raise InputError(f"one {type(inputs).__name__} in place of several; pass a list of it.")
        contents: list[Any] = list(inputs)
        for content in contents:
            self.check(content)
        rows = [torch.zeros(0, len(self.columns), dtype=torch.float64)]
        for batch in self.inputs.batches(contents, self.batch_size):
            cloud = self.inputs.cloud(batch, self.device)
            for frozen in self.frozen:
                cloud = frozen.points(cloud)
            rows.append(self.inputs.finish(self.module(cloud), batch))
        return torch.cat(rows)

    def _make_inputs(self, run: Path) -> Inputs:
        """The kind of inputs that the data set has."""
        if isinstance(self.data, MoleculeClouds):
            modules = [*(frozen.trained for frozen in self.frozen), self.module]
            return MoleculeInputs(self.data, _ignores_shifts(modules))
        if isinstance(self.data, ImageClouds):
            return ImageInputs(self.data)
        raise InputError(
            f"{run} is a run on {type(self.data).__name__}; give a run on molecules or images."
        )


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
