"""Base class of the data sets of molecules: preparation of atoms, references, augmentation."""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from gigp.backbones.base import Atoms
from gigp.errors import check_choice
from gigp.groups import SO3
from gigp.lab.data.datamodule import LoaderSettings, PointCloudDataModule
from gigp.lab.data.targets import Target
from gigp.lab.molecules.atoms import MASSES, atom_features
from gigp.lab.molecules.checkpoint import missing, pack, unpack
from gigp.lab.molecules.chemistry import Chemistry
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.molecules.references import Reference, composition, count_atoms
from gigp.lab.molecules.training_range import TrainingRange
from gigp.pointcloud import PointCloud, Sizes, center_points, turn_points

Center = Literal["centroid", "mass"]


class MoleculeSettings(LoaderSettings, total=False):
    """Settings that all data sets of molecules have, see `MoleculeClouds`."""

    recenter: bool
    center: Center
    scale_positions: bool


class MoleculeClouds(PointCloudDataModule):
    """Base of the data sets of molecules as point clouds of atoms.

    Args:
        targets: quantities to predict.
        reference: values subtracted from the targets, atom by atom, see `references`.
        recenter: move every molecule's center to the origin.
        center: `centroid` of the nuclei, or center of `mass`.
        scale_positions: divide positions by their standard deviation over the training set.
        settings: see `PointCloudDataModule`; `augment` turns every training molecule by a random
            rotation and shifts it by a normal draw of 1 Angstrom.

    Attributes:
        name: name of the data set in messages.
        references: reference values by nuclear charge in internal units, (Z, T) float64: fitted to
            the training set, or from the checkpoint of a run.
        positions_std: standard deviation of the training positions, from the training set or the
            checkpoint of a run.
        training_range: sizes and elements of the training molecules, from the training set or the
            checkpoint of a run, where it has them.
        target_range: smallest and largest of the training targets in internal units, references
            subtracted, (T,) each; as `training_range`.
        chemistry: kinds of the training molecules; None where they are not known.
        offset: what is subtracted from the targets of every molecule beside the references of its
            atoms, (T,) float64: in double precision, so that small differences of large numbers
            stay.
        input_names: `charge` and `spin`, where the features of atoms have those of their molecule.
        molecule_inputs: these numbers of every molecule, (M, k), or None.
        names: names of the molecules; none where they have numbers alone.
    """

    kind = "regression"
    arrays = ("positions", "charges", "mask", "features", "masses", "values", "molecule_inputs")
    dim = 3
    name: str
    references: Tensor | None = None
    positions_std: float | None = None
    training_range: TrainingRange | None = None
    target_range: tuple[Tensor, Tensor] | None = None
    chemistry: Chemistry | None = None
    offset: Tensor | None = None
    input_names: tuple[str, ...] = ()
    molecule_inputs: Tensor | None = None
    names: Sequence[str] = ()

    def __init__(
        self,
        targets: tuple[Target, ...],
        reference: Reference,
        recenter: bool = False,
        center: Center = "centroid",
        scale_positions: bool = False,
        **settings: Unpack[LoaderSettings],
    ) -> None:
        super().__init__(**settings)
        check_choice("reference", reference, Reference)
        check_choice("center", center, Center)
        self.targets, self.reference, self.out_dim = targets, reference, len(targets)
        self.recenter, self.center, self.scale_positions = recenter, center, scale_positions
        self.masses = torch.tensor(MASSES)  # by nuclear charge

    def set_elements(self, charges: Sequence[int]) -> None:
        """Set the elements that the feature channels encode, by ascending nuclear charge."""
        self.atoms = Atoms(tuple(charges), angstrom=not self.scale_positions)
        self.features = atom_features(charges)  # (Z, c) by nuclear charge
        self.in_channels = self.features.shape[1] + len(self.input_names)

    def pad(self, charges: np.ndarray, positions: np.ndarray, sizes: np.ndarray) -> None:
        """Lay out all molecules side by side: mask (M, N), charges (M, N), positions (M, N, 3).

        Args:
            charges: nuclear charges of all atoms, (A,).
            positions: positions of all atoms in Angstrom, (A, 3).
            sizes: number of atoms of every molecule, (M,).
        """
        self.counts = sizes.astype(np.int64)  # (M,)
        self.mask = _mask(self.counts)
        self.charges = torch.zeros(self.mask.shape, dtype=torch.int8)
        self.charges[self.mask] = torch.from_numpy(charges)
        self.positions = torch.zeros(*self.mask.shape, 3)
        self.positions[self.mask] = torch.from_numpy(positions)

    def prepare(self, whole: np.ndarray, free_atoms: np.ndarray, center: bool = False) -> None:
        """Set `values` and prepare the positions, once `pad` and `indices` are done.

        Args:
            whole: targets before references are subtracted, in internal units, (M, T); NaN where
                they are not known.
            free_atoms: reference values to begin with, by nuclear charge, (Z, T).
            center: subtract the mean of the training set, too.
        """
        train = self.indices["train"]
        counted = torch.bincount(self.charges[train].flatten())  # no atom has charge 0
        elements = (counted[1:].nonzero().flatten() + 1).tolist()
        self.training_range = TrainingRange.of(self.counts[train.numpy()], elements)
        if self.references is None:
            self.references = torch.from_numpy(self._fit(whole, free_atoms))
        rest = torch.from_numpy(whole) - self._sum_references()
        if self.offset is None:
            mean = rest[train].nanmean(0)
            self.offset = mean if center else torch.zeros_like(mean)
        self.values, self.whole = (rest - self.offset).float(), torch.from_numpy(whole)
        known = self.values[train]
        lowest, highest = (known.nan_to_num(bound) for bound in (torch.inf, -torch.inf))
        self.target_range = lowest.amin(0), highest.amax(0)
        if self.recenter:
            masses = self.masses[self.charges.long()] if self.center == "mass" else None
            self.positions = center_points(self.positions, self.mask, masses)
        if self.positions_std is None:
            self.positions_std = self.positions[train][self.mask[train]].std().item()
        if self.scale_positions:
            self.positions /= self.positions_std

    def make_clouds(self, molecules: Sequence[Molecule], center: bool = False) -> PointCloud:
        """Molecules from elsewhere as a batch, prepared as those of the data set.

        Args:
            molecules: molecules of elements that the data set knows.
            center: move the centers to the origin, also with `recenter=False`, for models that
                ignore the position of a molecule; done before rounding to single precision.

        Raises:
            InputError: positions are scaled, and no checkpoint said by which factor.
        """
        counts = np.array([len(molecule.charges) for molecule in molecules])
        mask = _mask(counts)  # (B, N)
        pos = torch.zeros(*mask.shape, 3, dtype=torch.float64)  # (B, N, 3)
        charges = torch.zeros(mask.shape, dtype=torch.long)
        pos[mask] = torch.cat([molecule.positions for molecule in molecules])
        charges[mask] = torch.cat([molecule.charges for molecule in molecules])
        masses = self.masses[charges]
        if self.recenter or center:
            by_mass = self.recenter and self.center == "mass"
            pos = center_points(pos, mask, masses.double() if by_mass else None)
        if self.scale_positions:
            if self.positions_std is None:
                raise missing("the scale of positions")
            pos = pos / self.positions_std
        feat = self.features[charges]
        if self.input_names:
            if self.chemistry is None:
                raise missing("the charges of the training molecules")
            feat = _beside(feat, self.chemistry.inputs_of(molecules, self.input_names))
        return PointCloud(pos.float(), feat, mask, Sizes(counts), masses)

    def atom_values(self) -> Tensor:
        """Reference values by nuclear charge in internal units, (Z, T) float64, which are
        added to predictions atom by atom.

        Raises:
            InputError: the data set is not read, and no checkpoint brought them.
        """
        if self.references is None:
            raise missing("the reference values of atoms")
        return self.references

    def true_targets(self, indices: Tensor) -> Tensor:
        """Targets of molecules in the units of tables, references added, (n, T) float64."""
        factors = [target.factor for target in self.targets]
        return self.whole[indices] * torch.tensor(factors, dtype=torch.double)

    def sample_names(self, indices: Tensor) -> list[str]:
        if not self.names:
            return super().sample_names(indices)
        return [self.names[i] or str(i + 1) for i in indices.tolist()]

    def _sum_references(self) -> Tensor:
        """Sums of the references of the atoms of all molecules, (M, T) float64."""
        per_atom = self.atom_values().numpy()[self.charges[self.mask].cpu().numpy()]  # (A, T)
        starts = np.cumsum(self.counts) - self.counts
        return torch.from_numpy(np.add.reduceat(per_atom, starts))

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | pack(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore values from the training set of a run, and refuse other data than it was started
        with.
        """
        super().load_state_dict(unpack(self, state))

    def get_batch(
        self, indices: Tensor, device_indices: Tensor | None = None
    ) -> tuple[PointCloud, Tensor]:
        counts = self.counts[indices.numpy()]
        num = self.mask.shape[1] if self.fixed_shapes else int(counts.max())
        if device_indices is None:
            device_indices = indices.to(self.device)
        charges = self.charges[device_indices, :num].long()  # (B, N)
        feat = self.features[charges]  # (B, N, c)
        if self.molecule_inputs is not None:
            feat = _beside(feat, self.molecule_inputs[device_indices])
        cloud = PointCloud(
            self.positions[device_indices, :num],
            feat,
            self.mask[device_indices, :num],
            self.known_sizes(counts),
            self.masses[charges],
        )
        return cloud, self.values[device_indices]

    def prepare_batch(
        self, batch: tuple[PointCloud, Tensor], augment: bool
    ) -> tuple[PointCloud, Tensor]:
        cloud, target = batch
        if augment:
            pos = cloud.pos
            turn = SO3().random(len(pos), dtype=pos.dtype, device=pos.device)  # (B, 3, 3)
            shift = torch.randn(len(pos), 1, 3, dtype=pos.dtype, device=pos.device)
            cloud = cloud._replace(pos=pos @ turn.mT + shift)
        return cloud, target

    def turned_batch(self, indices: Tensor, turns: Tensor) -> tuple[PointCloud, Tensor]:
        cloud, target = self.prepare_batch(self.get_batch(indices), augment=False)
        return turn_points(cloud, turns), target

    def _fit(self, whole: np.ndarray, free_atoms: np.ndarray) -> np.ndarray:
        """Reference values by nuclear charge, (Z, T)."""
        if self.reference == "none":
            return np.zeros_like(free_atoms)
        if self.reference == "atoms":
            return free_atoms
        train = self.indices["train"]
        counts = count_atoms(self.charges[train], len(free_atoms))
        return composition(counts, whole[train.numpy()], free_atoms)


def _beside(feat: Tensor, numbers: Tensor) -> Tensor:
    """Features (B, N, c) and the numbers (B, k) of each cloud at all its points, (B, N, c + k)."""
    return torch.cat([feat, numbers[:, None].expand(-1, feat.shape[1], -1)], -1)


def _mask(counts: np.ndarray) -> Tensor:
    """True for the first `counts[i]` points of cloud i, (M, N)."""
    return torch.arange(int(counts.max())) < torch.from_numpy(counts)[:, None]
