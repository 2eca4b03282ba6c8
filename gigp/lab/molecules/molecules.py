"""Molecules from the user's files: extended XYZ, SDF, or CSV."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from torch import Tensor

from gigp.errors import InputError, check_choice
from gigp.lab.data.cache import Arrays, load_or_build
from gigp.lab.data.entries import find_files
from gigp.lab.data.splits import Part, check_fractions, labelled_split, named_split, take
from gigp.lab.hashing import hash_arrays, hash_file, hash_split, hash_text
from gigp.lab.molecules.atoms import SYMBOLS
from gigp.lab.molecules.baselines import trivial_errors
from gigp.lab.molecules.chemistry import find_chemistry, make_inputs
from gigp.lab.molecules.clouds import MoleculeClouds, MoleculeSettings
from gigp.lab.molecules.files import Reading, read_molecules
from gigp.lab.molecules.own_targets import make_targets
from gigp.lab.molecules.readers import MOLECULE_READERS
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.molecules.references import Reference

log = logging.getLogger(__name__)
MoleculeInput = Literal["charge", "spin"]
LOOKED_AT = 1000  # training molecules whose distances tell what the chemistry of all is
FORMAT = 2  # of the cache; a higher number makes every cache be built again


class Molecules(MoleculeClouds):
    """Molecules from files, of any elements, with one or several numbers to predict for each.

    Args:
        path: file, or folder of files, whose names end in .xyz, .extxyz, .sdf, .mol or .csv.
        target: name of a property, or a list of them: a key of the comment line (.xyz), a data
            field (.sdf), or a column of `targets`.
        targets: CSV file of properties, one row for each molecule, named in its first column; None
            where the files have them.
            Some molecules may lack some of several targets.
        unit: unit of the targets in tables, or one for each by name.
        extensive: true for targets that grow with the molecule; one value for all, or one for each
            by name.
        split: property with the values `train`, `val` and `test`; None: files of a folder that are
            called so, or else a seeded draw.
        group: property whose equal values stay in one part of the seeded draw, such as the name of
            a molecule of which there are several conformers.
        inputs: `charge` and `spin` of molecules, where they are inputs of the model.
        skip_broken: leave out molecules that are damaged, and list them in a file in `cache`.
        val_fraction, test_fraction: shares of the molecules in the seeded draw.
        split_seed: seed of the draw.
        cache: folder of the compact cache.
        reference: `composition`, the least-squares fit of every target on the atom counts of the
            training set is subtracted before training; or `none`.
        settings: see `MoleculeClouds`.

    Raises:
        InputError: there are no such files; a molecule is damaged, periodic, or lacks a target; all
            with the number of the molecule.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str] = "energy",
        targets: str | None = None,
        unit: str | Mapping[str, str] = "",
        extensive: bool | Mapping[str, bool] = False,
        split: str | None = None,
        group: str | None = None,
        inputs: Sequence[str] = (),
        skip_broken: bool = False,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        cache: str = "data",
        reference: Reference = "composition",
        **settings: Unpack[MoleculeSettings],
    ) -> None:
        super().__init__(make_targets(target, unit, extensive), reference, **settings)
        if reference == "atoms":
            raise InputError(
                "reference=atoms: only QM9 comes with values of free atoms; use composition or "
                "none."
            )
        self.path, self.targets_file = Path(path), None if targets is None else Path(targets)
        self.cache, self.split, self.split_seed = Path(cache), split, split_seed
        self.group, self.skip_broken = group, skip_broken
        for name in inputs:
            check_choice("dataset.inputs", name, MoleculeInput)
        self.input_names = tuple(inputs)
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
        self.names = json.loads(bytes(arrays["names"]))
        known = arrays["known"].astype(bool)
        self.indices = take(self._split(arrays["parts"], arrays["groups"], known), self.sizes)
        self._check_labels(known)
        self._read_electrons(arrays["electrons"].astype(np.int64))
        whole = np.where(known, arrays["targets"], np.nan)
        self.prepare(whole, np.zeros((elements[-1] + 1, len(self.targets))), center=True)
        unseen = set(elements) - set(self.charges[self.indices["train"]].unique().tolist())
        if unseen:
            log.warning("No training molecule has %s.", _symbols(sorted(unseen)))
        self.description = {
            "dataset": "molecules",
            "source": self.name,
            "sha256": hash_arrays(arrays),
            "split": self._describe_split(arrays["parts"]),
            "split_hash": hash_split(self.indices),
            "sizes": {part: len(indices) for part, indices in self.indices.items()},
            "targets": {
                target.name: {"unit": target.unit, "kind": target.kind} for target in self.targets
            },
            "missing": dict(zip(self._target_names(), (~known).sum(0).tolist(), strict=True)),
            "skipped": int(arrays["skipped"][0]),
            "baselines": trivial_errors(self),
            "inputs": list(self.input_names),
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
        files = find_files(self.path, MOLECULE_READERS, "dataset.path", self.targets_file)
        tables = [] if self.targets_file is None else [self.targets_file]
        for file in [*files, *tables]:
            if not file.is_file():
                raise InputError(f"{file} is missing, or is a pipe or device; give a regular file.")
        names = self._target_names()
        settings = [*names, str(self.split), str(self.group), str(self.skip_broken)]
        contents = [f"{file.name} {hash_file(file)}" for file in [*files, *tables]]
        identity = "\n".join([str(FORMAT), *settings, *contents])
        digest = hash_text(identity)[:16]
        skipped = self.cache / f"molecules-{digest}-skipped.txt" if self.skip_broken else None
        reading = Reading(
            self.path, tuple(names), self.targets_file, self.split, self.group, skipped
        )
        arrays = load_or_build(
            self.cache / f"molecules-{digest}.cache",
            f"molecules-{digest}",
            lambda: read_molecules(reading),
        )
        if left_out := int(arrays["skipped"][0]):
            log.warning("%d molecules are left out; %s lists them.", left_out, skipped)
        return arrays

    def _target_names(self) -> list[str]:
        return [target.name for target in self.targets]

    def _split(
        self, parts: np.ndarray, groups: np.ndarray, known: np.ndarray
    ) -> dict[Part, Tensor]:
        """Molecules of each part, as given in the files or drawn.

        Args:
            parts, groups: see `read_molecules`.
            known: whether a molecule has a target, (M, T): the first draw is taken in which every
                part has all targets.
        """
        if self.split is not None or (parts >= 0).all():
            named = f"has {self.split}=" if self.split else "stands in a file that is called "
            what = f"molecule of {self.path} {named}"
            return named_split(parts, what, self.fractions[0], self.split_seed)
        what = f"{self.path} has {len(parts)} molecules"
        together = None if self.group is None else groups
        return labelled_split(len(parts), self.fractions, self.split_seed, what, known, together)

    def _describe_split(self, parts: np.ndarray) -> str:
        if self.split is not None or (parts >= 0).all():
            return self.split or "names of files"
        by = f" by {self.group}" if self.group else ""
        return f"seeded draw {self.split_seed}{by}"

    def _check_labels(self, known: np.ndarray) -> None:
        """Refuse a part in which no molecule has a target, and a training set with only one.

        Args:
            known: whether a molecule has a target, (M, T).
        """
        for part, indices in self.indices.items():
            least = 2 if part == "train" else 1
            for name, count in zip(
                self._target_names(), known[indices.numpy()].sum(0), strict=True
            ):
                if count < least:
                    raise InputError(
                        f"{count} molecules of the part {part} have a value of {name}; at least "
                        f"{least} must."
                    )

    def _read_electrons(self, electrons: np.ndarray) -> None:
        """Take charges and spins as inputs, or refuse molecules in which they differ.

        Args:
            electrons: charge and multiplicity of every molecule, (M, 2).
        """
        for name, what, column in (("charge", "charges", 0), ("spin", "multiplicities", 1)):
            values = np.unique(electrons[:, column]).tolist()
            if len(values) > 1 and name not in self.input_names:
                raise InputError(
                    f"the molecules of {self.path} have the {what} {', '.join(map(str, values))}, "
                    f"which positions do not tell; write dataset.inputs=[{name}], or leave out all "
                    "but one."
                )
        if self.input_names:
            self.molecule_inputs = make_inputs(electrons, self.input_names)
        train = self.indices["train"]
        some = [
            Molecule(self.charges[i][self.mask[i]].long(), self.positions[i][self.mask[i]].double())
            for i in train[:LOOKED_AT].tolist()
        ]
        self.chemistry = find_chemistry(some, electrons[train.numpy()])


def _symbols(charges: Any) -> str:
    return ", ".join(SYMBOLS[charge] for charge in charges)
