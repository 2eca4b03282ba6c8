"""Molecules from the user's files: extended XYZ, SDF, or CSV."""

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.cache import Arrays, load_or_build
from gigp.lab.data.datamodule import Part, take
from gigp.lab.data.entries import find_files
from gigp.lab.data.splits import check_fractions, drawn_split, named_split
from gigp.lab.data.targets import Target
from gigp.lab.hashing import hash_arrays, hash_file, hash_split, hash_text
from gigp.lab.molecules.atoms import SYMBOLS
from gigp.lab.molecules.clouds import Center, MoleculeClouds
from gigp.lab.molecules.files import read_molecules
from gigp.lab.molecules.readers import MOLECULE_READERS
from gigp.lab.molecules.references import Reference

log = logging.getLogger(__name__)
FORMAT = 1  # of the cache; a higher number makes every cache be built again


class Molecules(MoleculeClouds):
    """Molecules from files, of any elements, with one or several numbers to predict for each.

    Args:
        path: file, or folder of files, whose names end in .xyz, .extxyz, .sdf, .mol or .csv.
        target: name of a property, or a list of them: a key of the comment line (.xyz), a data
            field (.sdf), or a column of `targets`.
        targets: CSV file of properties, one row for each molecule, named in its first column; None
            where the files have them.
        unit: unit of the targets in tables, or one for each by name.
        extensive: true for targets that grow with the molecule; one value for all, or one for each
            by name.
        split: property with the values `train`, `val` and `test`; None: a seeded draw.
        val_fraction, test_fraction: shares of the molecules in the seeded draw.
        split_seed: seed of the draw.
        cache: folder of the compact cache.
        reference: `composition`, the least-squares fit of every target on the atom counts of the
            training set is subtracted before training; or `none`.
        train_size, val_size, test_size, batch_size, eval_batch_size, augment, recenter, center,
            scale_positions, seed: see `MoleculeClouds`.

    Raises:
        InputError: there are no such files; a molecule is damaged, periodic, or lacks a target; all
            with the number of the molecule.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str] = "energy",
        targets: str | None = None,
        unit: str | dict[str, str] = "",
        extensive: bool | dict[str, bool] = False,
        split: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        cache: str = "data",
        reference: Reference = "composition",
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        batch_size: int = 75,
        eval_batch_size: int = 250,
        augment: bool = True,
        recenter: bool = False,
        center: Center = "centroid",
        scale_positions: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            make_targets(target, unit, extensive),
            reference,
            train_size,
            val_size,
            test_size,
            batch_size,
            eval_batch_size,
            augment,
            recenter,
            center,
            scale_positions,
            seed,
        )
        if reference == "atoms":
            raise InputError(
                "reference=atoms: only QM9 comes with values of free atoms; use composition or "
                "none."
            )
        self.path, self.targets_file = Path(path), None if targets is None else Path(targets)
        self.cache, self.split, self.split_seed = Path(cache), split, split_seed
        self.fractions = check_fractions(val_fraction, test_fraction)
        self.name = self.path.name

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "indices"):
            return
        arrays = self._arrays()
        elements = np.unique(arrays["charges"]).tolist()
        if self.atoms is not None and self.atoms.charges != tuple(elements):
            raise InputError(
                f"{self.path} has the elements {_symbols(elements)}, but the run that goes on was "
                f"trained on {_symbols(self.atoms.charges)}."
            )
        self.set_elements(elements)
        self.pad(arrays["charges"], arrays["positions"], arrays["sizes"])
        self.indices = take(self._split(arrays["parts"]), self.sizes)
        self.prepare(arrays["targets"], np.zeros((elements[-1] + 1, len(self.targets))))
        unseen = set(elements) - set(self.charges[self.indices["train"]].unique().tolist())
        if unseen:
            log.warning("No training molecule has %s.", _symbols(sorted(unseen)))
        self.description = {
            "dataset": "molecules",
            "source": self.name,
            "sha256": hash_arrays(arrays),
            "split": self.split or f"seeded draw {self.split_seed}",
            "split_hash": hash_split(self.indices),
            "sizes": {part: len(indices) for part, indices in self.indices.items()},
            "targets": {
                target.name: {"unit": target.unit, "kind": target.kind} for target in self.targets
            },
            "reference": self.reference,
            "elements": [SYMBOLS[charge] for charge in elements],
            "recenter": self.center if self.recenter else None,
            "positions_std": self.positions_std,
        }

    def state_dict(self) -> dict[str, Any]:
        assert self.atoms is not None
        return super().state_dict() | {"elements": list(self.atoms.charges)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        state = dict(state)
        elements = state.pop("elements", None)
        if not hasattr(self, "indices") and elements is not None:
            known = range(1, len(SYMBOLS))
            if not (
                isinstance(elements, list)
                and elements == sorted(set(elements))
                and elements
                and all(type(charge) is int and charge in known for charge in elements)
            ):
                raise InputError(
                    f"the elements in the checkpoint are {elements!r:.60}, not ascending nuclear "
                    "charges; it is damaged. Start again with overwrite=true."
                )
            self.set_elements(elements)
        super().load_state_dict(state)

    def _arrays(self) -> Arrays:
        files = find_files(self.path, MOLECULE_READERS, "dataset.path")
        tables = [] if self.targets_file is None else [self.targets_file]
        for file in [*files, *tables]:
            if not file.is_file():
                raise InputError(f"{file} is missing, or is a pipe or device; give a regular file.")
        names = [target.name for target in self.targets]
        identity = [str(FORMAT), *names, str(self.split), *map(hash_file, [*files, *tables])]
        digest = hash_text("\n".join(identity))[:16]
        return load_or_build(
            self.cache / f"molecules-{digest}.cache",
            f"molecules-{digest}",
            lambda: read_molecules(self.path, names, self.targets_file, self.split),
        )

    def _split(self, parts: np.ndarray) -> dict[Part, Tensor]:
        """Molecules of each part, as given in the files or drawn."""
        if self.split is not None:
            return named_split(parts, f"molecule of {self.path} has {self.split}=")
        what = f"{self.path} has {len(parts)} molecules"
        return drawn_split(len(parts), self.fractions, self.split_seed, what)


def make_targets(
    names: str | list[str], unit: str | dict[str, str], extensive: bool | dict[str, bool]
) -> tuple[Target, ...]:
    """Targets by name, in the unit of their file.

    Raises:
        InputError: a name twice, or a unit or an answer for none of them.
    """
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if not names or len(set(names)) < len(names) or "loss" in names:
        raise InputError(
            f"target={names}: name one property or several different ones, as target=[energy,gap]; "
            "none may be called loss."
        )
    for setting, value in (("unit", unit), ("extensive", extensive)):
        if isinstance(value, dict) and (unknown := sorted(set(value) - set(names))):
            raise InputError(
                f"dataset.{setting} names {', '.join(unknown)}; targets are {', '.join(names)}."
            )
    targets = []
    for name in names:
        its_unit = unit.get(name, "") if isinstance(unit, dict) else unit
        grows = extensive.get(name, False) if isinstance(extensive, dict) else extensive
        kind: Literal["intensive", "extensive"] = "extensive" if grows else "intensive"
        targets.append(Target(name, name, its_unit, 1.0, its_unit, 1.0, kind))
    return tuple(targets)


def _symbols(charges: Any) -> str:
    return ", ".join(SYMBOLS[charge] for charge in charges)
