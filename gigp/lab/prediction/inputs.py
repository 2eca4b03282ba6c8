"""Inputs and outputs of models: molecules and their properties, images and their digits."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.entries import Reader
from gigp.lab.images.clouds import ImageClouds, turn_images
from gigp.lab.images.readers import WHITE, check_image, image_readers
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.molecules.readers import MOLECULE_READERS
from gigp.lab.molecules.readers.molecule import Molecule, check_elements
from gigp.lab.molecules.readers.objects import to_molecule
from gigp.lab.prediction.tally import MoleculeTally, NoTally, Tally
from gigp.lab.training.rotations import cube_rotations
from gigp.pointcloud import PointCloud, turn_points

PAIRS = 200_000  # of atoms in a batch: bounds the memory for molecules of any size


class Inputs(Protocol):
    """One kind of inputs of models.

    Attributes:
        kind: what they are, in words.
        names: names of the numbers that `finish` returns, with units.
        columns: names of what users see of them.
        spreads: names of the spreads of the numbers.
        readers: readers of input files, by ending.
    """

    kind: str
    names: list[str]
    columns: list[str]
    spreads: list[str]
    readers: dict[str, Reader]

    def adopt(self, content: object) -> object:
        """An object of another library as an input; anything else as it is."""

    def check(self, content: object) -> None:
        """Refuse an input that the model cannot take, with an `InputError`."""

    def refusals(self, inputs: Sequence) -> list[str]:
        """For each input the reason why the model cannot know such ones, or nothing."""

    def tally(self) -> "Tally":
        """A count of inputs that are unlike those of the training."""

    def far_outside(self, values: Tensor, inputs: Sequence) -> list[str]:
        """For each row of `finish` of this model a sentence about numbers that no training target
        is near, or nothing.
        """

    def batches(self, inputs: Sequence, size: int) -> Iterator[Sequence]:
        """Consecutive inputs, at most `size` at a time."""

    def clouds(self, batch: Sequence, device: torch.device, rotations: int) -> Iterator[PointCloud]:
        """B inputs as the model saw them in training, in each of several orientations, their own
        first; 0 rotations: in their own alone.
        """

    def finish(self, outputs: Tensor, batch: Sequence) -> Tensor:
        """Outputs of the model (B, T) -> numbers that may be averaged over models, float64."""

    def complete(self, values: Tensor) -> Tensor:
        """Numbers of `finish`, averaged or not -> values of all columns."""

    def cells(self, values: list[float]) -> list[str]:
        """One row of `complete` as text, a cell for every column."""


class MoleculeInputs:
    """Molecules, and their properties in the units of tables, references added.

    Args:
        data: data set of the run, which need not be set up.
        center: move molecules to the origin even where the run did not, since its model ignores
            where they are; single precision knows no positions far from it.
        mean, std: of the training targets, as the model standardizes them, (T,).

    Raises:
        InputError: the checkpoint lacks the reference values of atoms.
    """

    kind = "molecules"

    def __init__(self, data: MoleculeClouds, center: bool, mean: Tensor, std: Tensor) -> None:
        self.data, self.center = data, center
        spread = std * torch.tensor([target.widest for target in data.targets], device=std.device)
        low, high = data.target_range or (mean - spread, mean + spread)
        width = (high - low).double().cpu()
        self.bounds = low.double().cpu() - width, high.double().cpu() + width  # (T,) each
        units = [f" [{target.unit}]" if target.unit else "" for target in data.targets]
        both = [*zip(data.targets, units, strict=True)]
        self.columns = self.names = [f"{target.name}{unit}" for target, unit in both]
        self.spreads = [f"{target.name}_spread{unit}" for target, unit in both]
        self.readers = MOLECULE_READERS
        self.atoms = data.atom_values()  # reference values by nuclear charge, (10, T)
        self.factors = torch.tensor([t.factor for t in data.targets], dtype=torch.float64)

    def adopt(self, content: object) -> object:
        """A molecule of ASE or RDKit as one of ours."""
        return to_molecule(content)

    def check(self, content: object) -> None:
        """Refuse elements that the data set of the run does not have."""
        if not isinstance(content, Molecule):
            raise InputError(
                f"{type(content).__name__} is not a molecule; make one of symbols and positions "
                "with gigp.lab.molecules.readers.molecule.make_molecule."
            )
        assert self.data.atoms is not None
        check_elements(content, self.data.atoms.charges, self.data.name)

    def refusals(self, inputs: Sequence[Molecule]) -> list[str]:
        """Chemistry that the training set of the run does not have."""
        if self.data.chemistry is None:
            return [""] * len(inputs)
        return self.data.chemistry.refusals(inputs, self.data.name)

    def tally(self) -> MoleculeTally:
        """A count of other sizes, other elements, and missing hydrogens."""
        return MoleculeTally(self.data.training_range, self.data.chemistry)

    def far_outside(self, values: Tensor, inputs: Sequence[Molecule]) -> list[str]:
        """A sentence for values that lie farther beyond those of the training set than these are
        wide, references and all."""
        low, high = (bound + self._references(inputs) for bound in self.bounds)  # (B, T)
        far = (values / self.factors < low) | (values / self.factors > high)
        return [
            self._far(values[i], (low * self.factors)[i], (high * self.factors)[i], far[i])
            if far[i].any()
            else ""
            for i in range(len(inputs))
        ]

    def _far(self, values: Tensor, low: Tensor, high: Tensor, far: Tensor) -> str:
        target = self.data.targets[column := int(far.nonzero()[0])]
        bounds = sorted((float(low[column]), float(high[column])))
        return (
            f"{target.name} would be {values[column]:,.6g} {target.unit}, far outside what the "
            f"molecules of {self.data.name} have (here at most {bounds[0]:,.6g} to "
            f"{bounds[1]:,.6g}); extrapolate=true gives it all the same."
        )

    def batches(self, inputs: Sequence[Molecule], size: int) -> Iterator[list[Molecule]]:
        """Consecutive molecules, `size` of them or fewer where they are large."""
        batch: list[Molecule] = []
        pairs = 0
        for molecule in inputs:
            more = len(molecule.charges) ** 2
            if batch and (len(batch) == size or pairs + more > PAIRS):
                yield batch
                batch, pairs = [], 0
            batch.append(molecule)
            pairs += more
        if batch:
            yield batch

    def clouds(
        self, batch: Sequence[Molecule], device: torch.device, rotations: int
    ) -> Iterator[PointCloud]:
        """Molecules prepared as those of the data set, and turned by the rotations of a cube."""
        cloud = self.data.make_clouds(batch, self.center)
        moved: list[Any] = [x.to(device) if isinstance(x, Tensor) else x for x in cloud]
        for turn in cube_rotations()[: max(rotations, 1)]:
            yield turn_points(PointCloud(*moved), turn)

    def finish(self, outputs: Tensor, batch: Sequence[Molecule]) -> Tensor:
        """Add the reference values of the atoms: (B, T) in internal units -> those of tables."""
        return (outputs.double().cpu() + self._references(batch)) * self.factors

    def _references(self, batch: Sequence[Molecule]) -> Tensor:
        """What the data set subtracts from the targets of molecules, (B, T)."""
        free = [self.atoms[molecule.charges].sum(0) for molecule in batch]
        if not free:
            return torch.zeros(0, len(self.factors), dtype=torch.float64)
        offset = self.data.offset
        return torch.stack(free) + (0 if offset is None else offset)

    def complete(self, values: Tensor) -> Tensor:
        """The numbers are the columns."""
        return values

    def cells(self, values: list[float]) -> list[str]:
        """The numbers with ten digits."""
        return [as_cell(value) for value in values]


class ImageInputs:
    """Images (side, side) of gray values from 0 to 255; the most probable class and probabilities.

    Args:
        data: data set of the run, which need not be set up.
    """

    def __init__(self, data: ImageClouds) -> None:
        self.data = data
        self.kind = f"images of {data.side} x {data.side} pixels"
        self.names = [f"probability of {name}" for name in data.classes]
        self.columns = [data.noun, *self.names]
        self.spreads = [f"probability_spread of {name}" for name in data.classes]
        self.readers = image_readers(data.rules)

    def check(self, content: object) -> None:
        """Refuse what is no image of the model's size and range."""
        check_image(content, self.data.rules)

    def adopt(self, content: object) -> object:
        """Images are tensors."""
        return content

    def refusals(self, inputs: Sequence[Tensor]) -> list[str]:
        """No more is known than `check` does."""
        return [""] * len(inputs)

    def tally(self) -> Tally:
        """Nothing is known about ranges of images."""
        return NoTally()

    def far_outside(self, values: Tensor, inputs: Sequence[Tensor]) -> list[str]:
        """Probabilities have no range to leave."""
        return [""] * len(inputs)

    def batches(self, inputs: Sequence[Tensor], size: int) -> Iterator[Sequence[Tensor]]:
        """Consecutive images, `size` at a time."""
        for start in range(0, len(inputs), size):
            yield inputs[start : start + size]

    def clouds(
        self, batch: Sequence[Tensor], device: torch.device, rotations: int
    ) -> Iterator[PointCloud]:
        """Images as clouds of pixels, turned by equal parts of a whole turn."""
        images = torch.stack([*batch]).to(device) / WHITE
        for i in range(max(rotations, 1)):
            degrees = torch.tensor(360 * i / max(rotations, 1), device=device)
            yield self.data.make_cloud(turn_images(images, degrees, self.data.outside))

    def finish(self, outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Probabilities, (B, C)."""
        return outputs.double().cpu()

    def complete(self, values: Tensor) -> Tensor:
        """Probabilities (B, C) -> the most probable class and the probabilities, (B, 1 + C)."""
        return torch.cat([values.argmax(1, keepdim=True), values], 1)

    def cells(self, values: list[float]) -> list[str]:
        """Name of the class, and the probabilities to as many digits as do not depend on the other
        images of a batch.
        """
        return [self.data.classes[int(values[0])], *(f"{value:.4f}" for value in values[1:])]


def as_cell(value: float) -> str:
    """A number as it is written in tables."""
    return f"{value:.10g}"
