"""A trained model, ready for inputs from files: from a run's folder to a table with units."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from gigp.datasets import QM9, RotMNIST
from gigp.datasets.atoms import ELEMENTS, MASSES, atom_features
from gigp.datasets.cache import sha256_of
from gigp.datasets.readers import IMAGE_READERS, MOLECULE_READERS
from gigp.datasets.readers.molecule import Molecule, check_elements
from gigp.errors import InputError
from gigp.model import PointCloudModel
from gigp.pointcloud import PointCloud, Sizes, center_points
from gigp.training.features import BackboneFeatures
from gigp.training.load import load_trained

PAIRS = 200_000  # of atoms in a batch: bounds the memory, whatever the sizes of the molecules


class Predictor:
    """The best model of a run. It needs the run's folder and no data set.

    Args:
        run: folder of the run, with its checkpoints.
        batch_size: clouds at a time; None: as in the run's evaluation. Predictions do not depend on
            it.
        device: to compute on.

    Attributes:
        columns: what is predicted, with units.
        readers: of input files, by ending.

    Raises:
        InputError: there is no such run, no checkpoint, or the run is on neither molecules nor
            images; or it is on the features of another run whose checkpoint is no longer the same.
    """

    def __init__(
        self, run: str | Path, batch_size: int | None = None, device: str | torch.device = "cpu"
    ) -> None:
        run = Path(run)
        _, self.data, task = load_trained(run, setup=False)
        self.task, self.device, on = task.to(device), torch.device(device), run
        self.frozen: list[BackboneFeatures] = []  # in the order in which they compute
        while isinstance(self.data, BackboneFeatures):  # the run's own model is a pool and a head
            _check_backbone(on, self.data.run)
            self.data.trained.to(device)
            self.frozen.insert(0, self.data)
            on, self.data = self.data.run, self.data.source
        self.batch_size = self.data.eval_batch_size if batch_size is None else batch_size
        if self.batch_size < 1:
            raise InputError(f"batch_size={batch_size}: it must be positive.")
        if isinstance(self.data, QM9):
            self.columns = [f"{target.name} [{target.unit}]" for target in self.data.targets]
            self.readers = MOLECULE_READERS
            self.scale = _positions_std(run) if self.data.scale_positions else 1.0
            self.ignores_shifts = _ignores_shifts(
                [x.trained.model.backbone for x in self.frozen], self.task.model
            )
        elif isinstance(self.data, RotMNIST):
            self.columns = [
                "digit",
                *(f"probability of {digit}" for digit in range(self.data.out_dim)),
            ]
            self.readers = IMAGE_READERS
        else:
            raise InputError(
                f"{on} is a run on {type(self.data).__name__}; give a run on qm9 or rotmnist."
            )

    def check(self, content: Any) -> None:
        """Refuse what the model has never seen.

        Args:
            content: molecule or image.

        Raises:
            InputError: a molecule has elements that are unknown to the model.
        """
        if isinstance(content, Molecule):
            check_elements(content, list(ELEMENTS.values()), "QM9")

    def __call__(self, inputs: Sequence[Molecule] | Sequence[Tensor]) -> Tensor:
        """Predict.

        Args:
            inputs: molecules, or images (28, 28) of gray values from 0 to 255.

        Returns:
            (M, T) float64 in the order and the units of `columns`: whole properties, the
            references of their atoms added.
        """
        if not inputs:
            return torch.zeros(0, len(self.columns), dtype=torch.float64)
        if isinstance(self.data, QM9):
            rows = [self._properties(batch) for batch in self._batches(inputs)]
        else:
            rows = [self._digits(batch) for batch in torch.stack([*inputs]).split(self.batch_size)]
        return torch.cat(rows)

    @torch.no_grad()
    def _digits(self, batch: Tensor) -> Tensor:
        """Images (B, 28, 28) -> the most probable digit and the probabilities, (B, 11)."""
        cloud, _ = self.data.prepare_batch((batch.to(self.device), None), augment=False)
        for frozen in self.frozen:
            cloud = frozen.points(cloud)
        probabilities = self.task(cloud).double().cpu()  # (B, 10)
        return torch.cat([probabilities.argmax(1, keepdim=True), probabilities], 1)

    @torch.no_grad()
    def _properties(self, batch: list[Molecule]) -> Tensor:
        """B molecules -> (B, T)."""
        cloud = self._clouds(batch)
        for frozen in self.frozen:
            cloud = frozen.points(cloud)
        # (B, T), internal units
        bound = self.task(cloud).double().cpu()
        atoms = self.data.atom_values()  # (10, T) by nuclear charge
        free = torch.stack([atoms[molecule.charges].sum(0) for molecule in batch])
        return (bound + free) * torch.tensor(
            [target.factor for target in self.data.targets], dtype=torch.float64
        )

    def _clouds(self, batch: list[Molecule]) -> PointCloud:
        """Molecules as the run saw them: centered and scaled where it says so."""
        sizes = torch.tensor([len(molecule.charges) for molecule in batch])
        mask = torch.arange(int(sizes.max())) < sizes[:, None]  # (B, N)
        pos = torch.zeros(*mask.shape, 3, dtype=torch.float64)  # (B, N, 3)
        charges = torch.zeros(mask.shape, dtype=torch.long)
        pos[mask] = torch.cat([molecule.positions for molecule in batch])
        charges[mask] = torch.cat([molecule.charges for molecule in batch])
        masses = torch.tensor(MASSES)[charges]
        if self.data.recenter or self.ignores_shifts:  # before rounding to single precision
            by_mass = self.data.recenter and self.data.center == "mass"
            pos = center_points(pos, mask, masses.double() if by_mass else None)
        pos = (pos / self.scale).float()
        cloud = PointCloud(pos, atom_features()[charges], mask, Sizes.of(mask), masses)
        return move_data_to_device(cloud, self.device)

    def _batches(self, inputs: Sequence[Molecule]) -> Iterator[list[Molecule]]:
        """Consecutive molecules, `batch_size` of them or fewer where they are large."""
        batch: list[Molecule] = []
        pairs = 0
        for molecule in inputs:
            size = len(molecule.charges) ** 2
            if batch and (len(batch) == self.batch_size or pairs + size > PAIRS):
                yield batch
                batch, pairs = [], 0
            batch.append(molecule)
            pairs += size
        if batch:
            yield batch


def _ignores_shifts(backbones: Sequence[nn.Module], model: PointCloudModel) -> bool:
    """Whether outputs do not change when a molecule is moved: elements of the backbone's group
    include all translations, and the pool does not measure from the origin.
    """
    group = [*backbones, model.backbone][0].group
    return group.rep_dim > group.dim and getattr(model.pool, "center", None) != "origin"


def _positions_std(run: Path) -> float:
    """What positions were divided by: a statistic of the training set, as the run found it."""
    return _described(run, "positions_std", "the scale of its positions")


def _check_backbone(run: Path, of: Path) -> None:
    """Refuse a backbone that was trained anew after a pool and a head were trained on its
    features.
    """
    then = _described(run, "features_of", "which backbone it was trained on")["checkpoint"]
    now = sha256_of(of / "checkpoints" / "best.ckpt")[: len(then)]
    if now != then:
        raise InputError(
            f"{run} was trained on features of {of}, whose checkpoint was another one then "
            f"(SHA-256 {then}..., now {now}...); bring that one back, or train {run} anew with "
            "overwrite=true."
        )


def _described(run: Path, key: str, what: str) -> Any:
    """What the record of a run says about its data."""
    try:
        return json.loads((run / "summary.json").read_text())["data"][key]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{run} has no whole summary.json, which says {what}; finish the run first."
        ) from error
