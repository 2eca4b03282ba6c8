"""QM9: 130,831 small organic molecules and their properties (Ramakrishnan et al. 2014, doi
10.1038/sdata.2014.22).
"""

from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError, check_choice
from gigp.lab.data.cache import load_or_build
from gigp.lab.data.splits import Part, take
from gigp.lab.data.targets import TARGETS, parse_targets
from gigp.lab.hashing import hash_arrays, hash_split
from gigp.lab.molecules.atoms import ELEMENTS
from gigp.lab.molecules.chemistry import Chemistry
from gigp.lab.molecules.clouds import MoleculeClouds, MoleculeSettings
from gigp.lab.molecules.qm9_sources import NUM_MOLECULES, read_qm9
from gigp.lab.molecules.references import Reference, free_atoms

Source = Literal["qm9pack", "pyg"]
Split = Literal["cormorant", "dimenet"]
SPLITS = {  # numpy seed of the permutation, sizes of train, val and test
    "cormorant": (0, (100_000, 17_748, 13_083)),
    "dimenet": (42, (110_000, 10_000, 10_831)),
}
HEAVIEST = 9  # most atoms other than hydrogen in a molecule
FORMAT = 2  # of the cache; a higher number makes every cache be built again


class QM9(MoleculeClouds):
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
        reference: values subtracted from the targets, atom by atom: `composition`, the
            least-squares fit of every target on the atom counts of the training set; `atoms`, the
            free atoms where `Target.referenced` (as published); or `none`.
        train_heavy_atoms: train and validate on molecules with at most so many atoms other than
            hydrogen; None: any.
        test_heavy_atoms: test on molecules with at least so many.
        settings: see `MoleculeClouds`.
    """

    name = "QM9"
    chemistry = Chemistry()  # neutral, with closed shells and all hydrogens

    def __init__(
        self,
        root: str = "data",
        cache: str = "data",
        source: Source = "qm9pack",
        split: Split = "cormorant",
        target: str | list[str] = "homo",
        reference: Reference = "atoms",
        train_heavy_atoms: int | None = None,
        test_heavy_atoms: int | None = None,
        **settings: Unpack[MoleculeSettings],
    ) -> None:
        super().__init__(parse_targets(target), reference, **settings)
        check_choice("source", source, Source)
        check_choice("split", split, Split)
        self.root, self.cache, self.source, self.split = Path(root), Path(cache), source, split
        self.train_heavy_atoms, self.test_heavy_atoms = train_heavy_atoms, test_heavy_atoms
        self.set_elements(tuple(ELEMENTS.values()))

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "indices"):
            return
        arrays = self._arrays()
        self.pad(arrays["charges"], arrays["positions"], arrays["sizes"])
        self.indices = take(self._by_heavy_atoms(split_indices(self.split)), self.sizes)
        columns = [list(TARGETS).index(target.name) for target in self.targets]
        atoms = free_atoms(self.targets, arrays["references"])
        self.prepare(arrays["targets"][:, columns], atoms)
        self.description = self._describe(hash_arrays(arrays))

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

    def _describe(self, digest: str) -> dict[str, Any]:
        return {
            "dataset": "qm9",
            "source": self.source,
            "sha256": digest,
            "split": self.split,
            "split_hash": hash_split(self.indices),
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
