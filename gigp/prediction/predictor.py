"""A trained model, ready for inputs from files: from a run's folder to a table with units."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gigp.datasets import QM9, BackboneFeatures, RotMNIST
from gigp.datasets.qm9 import atom_features
from gigp.datasets.qm9_sources import atom_references
from gigp.datasets.targets import TARGETS
from gigp.errors import InputError
from gigp.pointcloud import Packing, PointCloud, center_points
from gigp.prediction import images, molecules
from gigp.prediction.entries import Entry, read_entries
from gigp.prediction.molecules import Molecule
from gigp.records import RunFolder
from gigp.run import load_trained, quiet

PAIRS = 200_000  # of atoms in a batch: bounds the memory, whatever the sizes of the molecules


class Predictor:
    """The best model of a run. It needs the run's folder and no data set.

    Args:
        run: folder of the run, with its checkpoints.
        batch_size: clouds at a time; None: as in the run's evaluation. Predictions do not depend on it.
        device: to compute on.

    Attributes:
        columns: what is predicted, with units.
        readers: of input files, by ending.

    Raises:
        InputError: there is no such run, no checkpoint, or the run is on neither molecules nor images.
    """

    def __init__(self, run: str | Path, batch_size: int | None = None, device: str | torch.device = "cpu") -> None:
        run = Path(run)
        _, self.data, task = load_trained(run, setup=False)
        self.task, self.device, self.backbone = task.to(device), torch.device(device), None
        if isinstance(self.data, BackboneFeatures):  # the run's own model is a pool and a head
            run, self.backbone, self.data = self.data.run, self.data.trained.model.backbone.to(device), self.data.source
        self.batch_size = self.data.eval_batch_size if batch_size is None else batch_size
        if self.batch_size < 1:
            raise InputError(f"batch_size={batch_size}: it must be positive.")
        if isinstance(self.data, QM9):
            self.columns = [f"{target.name} [{target.unit}]" for target in self.data.targets]
            self.readers = molecules.READERS
            self.scale = _positions_std(run) if self.data.scale_positions else 1.0
        elif isinstance(self.data, RotMNIST):
            self.columns = ["digit", *(f"probability of {digit}" for digit in range(self.data.out_dim))]
            self.readers = images.READERS
        else:
            raise InputError(f"{run} is a run on {type(self.data).__name__}; give a run on qm9 or rotmnist.")

    def __call__(self, inputs: Sequence[Molecule] | Sequence[Tensor]) -> Tensor:
        """Predict.

        Args:
            inputs: molecules, or images (28, 28) of gray values from 0 to 255.

        Returns:
            (M, T) float64 in the order and the units of `columns`: whole properties, the free atoms included.
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
        cloud, _ = self.data.finish((batch.to(self.device), None), augment=False)
        probabilities = self.task(cloud).double().cpu()                            # (B, 10)
        return torch.cat([probabilities.argmax(1, keepdim=True), probabilities], 1)

    @torch.no_grad()
    def _properties(self, batch: list[Molecule]) -> Tensor:
        """B molecules -> (B, T)."""
        cloud = self._clouds(batch)
        if self.backbone is not None:
            pos, feat, mask, _ = self.backbone(cloud)
            cloud = PointCloud(pos, feat.half().float(), mask)                     # as precise as the run saw them
        bound = self.task(cloud).double().cpu()                                    # (B, T), internal units
        columns = [list(TARGETS).index(target.name) for target in self.data.targets]
        subtracted = torch.tensor([target.referenced for target in self.data.targets])
        atoms = torch.from_numpy(atom_references())[:, columns] * subtracted       # (10, T) by nuclear charge
        free = torch.stack([atoms[molecule.charges].sum(0) for molecule in batch])
        return (bound + free) * torch.tensor([target.factor for target in self.data.targets], dtype=torch.float64)

    def _clouds(self, batch: list[Molecule]) -> PointCloud:
        """Molecules as the run saw them: centered and scaled where it says so."""
        sizes = torch.tensor([len(molecule.charges) for molecule in batch])
        mask = torch.arange(int(sizes.max())) < sizes[:, None]                     # (B, N)
        pos, charges = torch.zeros(*mask.shape, 3), torch.zeros(mask.shape, dtype=torch.long)
        pos[mask] = torch.cat([molecule.positions for molecule in batch]).float()
        charges[mask] = torch.cat([molecule.charges for molecule in batch])
        pos = (center_points(pos, mask) if self.data.recenter else pos) / self.scale
        cloud = PointCloud(pos, atom_features()[charges], mask, Packing(mask))
        return PointCloud(*(x.to(self.device) for x in cloud))

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


def predict(run: str | Path, path: str | Path, batch_size: int | None = None) -> tuple[str, list[Entry]]:
    """Predict for everything in a file or folder.

    Args:
        run: folder of a run on molecules or images.
        path: of the input, see docs/using_models.md for the formats.
        batch_size: see `Predictor`.

    Returns:
        A CSV table with one row for each molecule or image, wrong ones included, which have an error in place of
        numbers; and the entries of the input, in the same order.

    Raises:
        InputError: the run or the input as a whole is wrong.
    """
    quiet()
    predictor = Predictor(run, batch_size, "cuda" if torch.cuda.is_available() else "cpu")
    entries = read_entries(Path(path), predictor.readers)
    values = iter(predictor([entry.content for entry in entries if not entry.error]))
    table, checked = io.StringIO(), []
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "number", "name", *predictor.columns, "error"])
    for entry in entries:
        row = [] if entry.error else [f"{value:.10g}" for value in next(values).tolist()]
        if {"nan", "inf", "-inf"} & set(row):
            entry, row = entry._replace(error="the model gives no finite number; check the positions."), []
        writer.writerow([entry.file, entry.number, entry.name, *(row or [""] * len(predictor.columns)), entry.error])
        checked.append(entry)
    return table.getvalue(), checked


def _positions_std(run: Path) -> float:
    """What positions were divided by, from the run's record."""
    summary = RunFolder(run.parent.parent, run.parent.name, run.name.removeprefix("seed")).summary()
    if summary is None:
        raise InputError(f"{run} has no summary.json, which holds the scale of the positions; finish the run first.")
    return summary["data"]["positions_std"]
