"""QM9: 130,831 small organic molecules and their properties (Ramakrishnan et al. 2014, doi
10.1038/sdata.2014.22).
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gigp.backbones.base import Atoms
from gigp.datasets.atoms import ELEMENTS, MASSES, atom_features
from gigp.datasets.cache import digest_of, load_or_build
from gigp.datasets.loader import Part, PointCloudDataModule, hash_of, take
from gigp.datasets.qm9_sources import NUM_MOLECULES, read_qm9
from gigp.datasets.references import (
    Reference,
    composition,
    count_atoms,
    free_atoms,
)
from gigp.datasets.targets import TARGETS, parse_targets
from gigp.errors import InputError, check_choice
from gigp.groups import SO3
from gigp.pointcloud import PointCloud, center_points

Source = Literal["qm9pack", "pyg"]
Split = Literal["cormorant", "dimenet"]
Center = Literal["centroid", "mass"]
SPLITS = {  # numpy seed of the permutation, sizes of train, val and test
    "cormorant": (0, (100_000, 17_748, 13_083)),
    "dimenet": (42, (110_000, 10_000, 10_831)),
}
HEAVIEST = 9  # most atoms other than hydrogen in a molecule
FORMAT = 1  # of the cache; a higher number makes every cache be built again


class QM9(PointCloudDataModule):
    """Molecules as point clouds of atoms; one or several of twelve properties to predict.

    Features of an atom: its element, one of (H, C, N, O, F), times (1, z / 9, (z / 9)^2) for
    nuclear charge z, 15 channels. Positions are in Angstrom. Targets of energies are in eV, less
    the reference values of their atoms.

    Args:
        root: folder of downloads.
        cache: folder of the compact caches.
        source: `qm9pack`, from the package of that name, or `pyg`, a download.
        split: `cormorant` (100,000 / 17,748 / 13,083) or `dimenet` (110,000 / 10,000 / 10,831).
        target: one of the twelve names, a list of them, or `all`.
        reference: what is subtracted from the targets, atom by atom: `composition`, the
            least-squares fit of every target on the atom counts of the training set; `atoms`, the
            free atoms where `Target.referenced` (as published); or `none`.
        train_size, val_size, test_size: take the first so many of the split's part; None takes all.
        batch_size: of training; eval_batch_size: of validation and test.
        augment: turn every training molecule by a random rotation and shift it by a normal draw of
            1 Angstrom.
        train_heavy_atoms: train and validate on molecules with at most so many atoms other than
            hydrogen; None: any.
        test_heavy_atoms: test on molecules with at least so many.
        recenter: move every molecule's center to the origin.
        center: `centroid` of the nuclei, or center of `mass`.
        scale_positions: divide positions by their standard deviation over the training set.
        seed: of the order of training.
    """

    kind = "regression"
    arrays = ("positions", "charges", "mask", "features", "masses", "values")
    in_channels = 3 * len(ELEMENTS)
    dim = 3

    def __init__(
        self,
        root: str = "data",
        cache: str = "data",
        source: Source = "qm9pack",
        split: Split = "cormorant",
        target: str | list[str] = "homo",
        reference: Reference = "atoms",
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        batch_size: int = 75,
        eval_batch_size: int = 250,
        augment: bool = True,
        train_heavy_atoms: int | None = None,
        test_heavy_atoms: int | None = None,
        recenter: bool = False,
        center: Center = "centroid",
        scale_positions: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, augment, seed)
        check_choice("source", source, Source)
        check_choice("split", split, Split)
        check_choice("reference", reference, Reference)
        check_choice("center", center, Center)
        self.root, self.cache, self.source, self.split = Path(root), Path(cache), source, split
        self.targets, self.reference = parse_targets(target), reference
        self.references: Tensor | None = None  # from the training set, or a checkpoint
        self.out_dim = len(self.targets)
        self.sizes: dict[Part, int | None] = {
            "train": train_size,
            "val": val_size,
            "test": test_size,
        }
        self.train_heavy_atoms, self.test_heavy_atoms = train_heavy_atoms, test_heavy_atoms
        self.recenter, self.center, self.scale_positions = recenter, center, scale_positions
        self.atoms = Atoms(tuple(ELEMENTS.values()), angstrom=not scale_positions)

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "indices"):
            return
        arrays = self._arrays()
        self.counts = arrays["sizes"].astype(np.int64)  # (M,)
        self.mask = torch.arange(self.counts.max()) < torch.from_numpy(self.counts)[:, None]
        self.charges = torch.zeros(self.mask.shape, dtype=torch.int8)
        self.charges[self.mask] = torch.from_numpy(arrays["charges"])
        self.indices = take(self._by_heavy_atoms(split_indices(self.split)), self.sizes)
        self.positions = torch.zeros(*self.mask.shape, 3)
        self.positions[self.mask] = torch.from_numpy(arrays["positions"])
        self.features = atom_features()  # (10, 15)
        self.masses = torch.tensor(MASSES)  # (10,)
        self.values = torch.from_numpy(self._targets(arrays)).float()  # (M, T)
        if self.recenter:
            masses = self.masses[self.charges.long()] if self.center == "mass" else None
            self.positions = center_points(self.positions, self.mask, masses)
        train = self.indices["train"]
        self.positions_std = self.positions[train][self.mask[train]].std().item()
        if self.scale_positions:
            self.positions /= self.positions_std
        self.description = self._describe(digest_of(arrays))

    def atom_values(self) -> Tensor:
        """Reference values by nuclear charge in internal units, (10, T) float64: what to add back,
        atom by atom, to a prediction.

        Raises:
            InputError: the data set is not read, and no checkpoint brought them.
        """
        if self.references is None:
            raise InputError(
                "the checkpoint lacks the reference values of atoms, as those of earlier versions "
                "do; train the run again with overwrite=true."
            )
        return self.references

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "reference": self.reference,
            "references": self.references,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the references of a run along, and refuse other data than it was started with."""
        state = dict(state)
        method, references = state.pop("reference", "atoms"), state.pop("references", None)
        if references is not None and method == self.reference and not hasattr(self, "indices"):
            self.references = self._checked(references)
        super().load_state_dict(state)

    def get_batch(self, indices: Tensor, where: Tensor | None = None) -> tuple[PointCloud, Tensor]:
        counts = self.counts[indices.numpy()]
        num = self.mask.shape[1] if self.fixed_shapes else int(counts.max())
        where = indices.to(self.device) if where is None else where
        charges = self.charges[where, :num].long()  # (B, N)
        cloud = PointCloud(
            self.positions[where, :num],
            self.features[charges],  # (B, N, 15)
            self.mask[where, :num],
            self.known_sizes(counts),
            self.masses[charges],
        )
        return cloud, self.values[where]

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

    def _by_heavy_atoms(self, parts: dict[Part, Tensor]) -> dict[Part, Tensor]:
        """The molecules of each part that are small, or large, enough."""
        heavy = (self.charges > 1).sum(1)
        most = HEAVIEST if self.train_heavy_atoms is None else self.train_heavy_atoms
        least = 0 if self.test_heavy_atoms is None else self.test_heavy_atoms
        keep = {"train": heavy <= most, "val": heavy <= most, "test": heavy >= least}
        parts = {part: indices[keep[part][indices]] for part, indices in parts.items()}
        if not all(map(len, parts.values())):
            raise InputError(
                f"train_heavy_atoms={self.train_heavy_atoms}, "
                f"test_heavy_atoms={self.test_heavy_atoms} leaves no molecules to train or to test "
                f"on; molecules of QM9 have 1 to {HEAVIEST} heavy atoms."
            )
        return parts

    def _arrays(self) -> dict[str, np.ndarray]:
        path, version = self.cache / f"qm9-{self.source}.cache", f"qm9-{self.source}-{FORMAT}"
        return load_or_build(path, version, lambda: read_qm9(self.source, self.root))

    def _targets(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The chosen targets in internal units less the references of their atoms, (M, T)."""
        columns = [list(TARGETS).index(target.name) for target in self.targets]
        whole = arrays["targets"][:, columns]  # (M, T)
        if self.references is None:
            self.references = torch.from_numpy(self._references(whole, arrays["references"]))
        per_atom = self.references.numpy()[arrays["charges"]]  # (A, T)
        starts = np.cumsum(arrays["sizes"], dtype=np.int64) - arrays["sizes"]
        return whole - np.add.reduceat(per_atom, starts)

    def _references(self, whole: np.ndarray, atoms: np.ndarray) -> np.ndarray:
        """Reference values by nuclear charge, (10, T), from whole targets (M, T) and those of free
        atoms (10, 12).
        """
        free = free_atoms(self.targets, atoms)
        if self.reference == "none":
            return np.zeros_like(free)
        if self.reference == "atoms":
            return free
        train = self.indices["train"]
        counts = count_atoms(self.charges[train], len(free))
        return composition(counts, whole[train.numpy()], free)

    def _checked(self, references: Any) -> Tensor:
        """Reference values from a checkpoint, which may come from anyone."""
        shape = (len(atom_features()), len(self.targets))
        if not (
            isinstance(references, Tensor)
            and references.shape == shape
            and references.dtype == torch.float64
            and bool(references.isfinite().all())
        ):
            raise InputError(
                f"the reference values of atoms in the checkpoint are no finite {shape} table; it "
                "is damaged. Start anew with overwrite=true."
            )
        return references

    def _describe(self, digest: str) -> dict[str, Any]:
        return {
            "dataset": "qm9",
            "source": self.source,
            "sha256": digest,
            "split": self.split,
            "split_hash": hash_of(self.indices),
            "sizes": {part: len(indices) for part, indices in self.indices.items()},
            "targets": {
                target.name: {"unit": target.unit, "kind": target.kind} for target in self.targets
            },
            "reference": self.reference,
            "recenter": self.center if self.recenter else None,
            "heavy_atoms": {
                "train at most": self.train_heavy_atoms,
                "test at least": self.test_heavy_atoms,
            },
            "positions_std": self.positions_std,
        }


def split_indices(split: Split) -> dict[Part, Tensor]:
    """Indices of train, val and test: consecutive stretches of a numpy permutation with a published
    seed.
    """
    seed, sizes = SPLITS[split]
    permutation = torch.from_numpy(np.random.RandomState(seed).permutation(NUM_MOLECULES))
    return dict(zip(("train", "val", "test"), permutation.split(sizes), strict=True))
