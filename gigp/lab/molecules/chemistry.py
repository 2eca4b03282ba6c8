"""The kinds of molecules that a model was trained on; others are refused, with one reason each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.text import parse_number
from gigp.lab.molecules.atoms import SYMBOLS
from gigp.lab.molecules.bonds import (
    Geometry,
    cut_by_cell,
    geometries,
    in_one_part,
    lacking_hydrogens,
    shortest_distances,
)
from gigp.lab.molecules.readers.electrons import (
    stated_charge,
    stated_multiplicity,
    unreadable_charge,
)
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.molecules.readers.units import LENGTHS

H2 = (0.65, 0.85)  # Angstrom, bond of the one molecule that is shorter than all others
HIGHEST = 100  # charge or multiplicity, of a checkpoint


class Chemistry(NamedTuple):
    """What a model has seen.

    Attributes:
        charges: charges of the molecules.
        multiplicities: spin multiplicities.
        odd: some have an odd number of electrons, with no charge stated.
        shortest: bounds of the shortest distance between two atoms, in Angstrom.
        parts: some are of several parts that no bond connects.
        bare: some lack hydrogens.
    """

    charges: tuple[int, ...] = (0,)
    multiplicities: tuple[int, ...] = (1,)
    odd: bool = False
    # 0.959 to 1.329 in QM9; room for N2, F2 and what vibrates
    shortest: tuple[float, float] = (0.85, 1.45)
    parts: bool = False
    bare: bool = False

    @classmethod
    def from_state(cls, state: Any) -> "Chemistry":
        """The kinds of molecules in a checkpoint, which may come from anyone.

        Raises:
            InputError: they are none.
        """
        try:
            charges, multiplicities, odd, shortest, parts, bare = state
            numbers = [*charges, *multiplicities]
            low, high = shortest
            fits = (
                all(type(number) is int and abs(number) <= HIGHEST for number in numbers)
                and {type(flag) for flag in (odd, parts, bare)} == {bool}
                and {type(bound) for bound in shortest} == {float}
                and 0 < low <= high < 1e6
                and charges
                and multiplicities
            )
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise InputError(
                f"the kinds of training molecules in the checkpoint are {state!r:.60}, not "
                "charges, multiplicities, distances and answers; it is damaged. Start again with "
                "overwrite=true."
            )
        return cls(tuple(charges), tuple(multiplicities), odd, (low, high), parts, bare)

    def refusals(self, molecules: Sequence[Molecule], trained_on: str) -> list[str]:
        """One reason for each molecule why the model cannot know it, or nothing.

        Args:
            trained_on: name of the training set.
        """
        reasons = [
            self._of_charge(molecule, trained_on)
            or self._of_spin(molecule, trained_on)
            or self._of_electrons(molecule, trained_on)
            or _of_cell(molecule)
            for molecule in molecules
        ]
        shapes = (
            reason
            for geometry in geometries(molecules)
            for reason in self._of_geometry(geometry, trained_on)
        )
        return [
            reason or shape or self._of_hydrogens(molecule)
            for reason, shape, molecule in zip(reasons, shapes, molecules, strict=True)
        ]

    def doubts(self, molecules: Sequence[Molecule]) -> list[str]:
        """For each molecule without known bonds a sentence if it looks as if hydrogens were
        missing, or nothing.
        """
        if self.bare:
            return [""] * len(molecules)
        lacking = [lacking_hydrogens(geometry) for geometry in geometries(molecules)]
        atoms = np.concatenate([np.zeros(0, int), *lacking]).tolist()
        return [
            f"atom {atom + 1} ({SYMBOLS[int(molecule.charges[atom])]}) has room for hydrogens that "
            "seem to be missing; write all hydrogens."
            if atom >= 0 and molecule.open_valences is None
            else ""
            for atom, molecule in zip(atoms, molecules, strict=True)
        ]

    def charge_of(self, molecule: Molecule) -> int:
        """The charge that a molecule states; else the one that all have, or 0."""
        stated = stated_charge(molecule.fields)
        return round(stated[1]) if stated else self.charges[0] if len(self.charges) == 1 else 0

    def multiplicity_of(self, molecule: Molecule) -> int:
        """The spin multiplicity that a molecule states; else the one that all have, or 1."""
        stated = stated_multiplicity(molecule.fields)
        known = self.multiplicities
        return stated[1] if stated else known[0] if len(known) == 1 else 1

    def inputs_of(self, molecules: Sequence[Molecule], names: Sequence[str]) -> Tensor:
        """Charges and spins of molecules as inputs of a model, (B, k); see `read_inputs`."""
        numbers = [(self.charge_of(m), self.multiplicity_of(m)) for m in molecules]
        return make_inputs(np.array(numbers, np.int64).reshape(-1, 2), names)

    def _of_charge(self, molecule: Molecule, trained_on: str) -> str:
        if unreadable := unreadable_charge(molecule.fields):
            return f"{unreadable} is no charge; write a number, charge=0 for a neutral molecule."
        name, charge = stated_charge(molecule.fields) or ("charge", float(self.charge_of(molecule)))
        if charge in self.charges:
            return ""
        known = (
            f"models of {trained_on} know neutral molecules only"
            if self.charges == (0,)
            else f"the molecules of {trained_on} have {', '.join(f'{q:+d}' for q in self.charges)}"
        )
        return f"the molecule has the {name} {charge:+g}; {known}."

    def _of_spin(self, molecule: Molecule, trained_on: str) -> str:
        spin = self.multiplicity_of(molecule)
        if spin in self.multiplicities:
            return ""
        name = (stated_multiplicity(molecule.fields) or ("multiplicity", spin))[0]
        known = (
            "closed shells (multiplicity 1) only"
            if self.multiplicities == (1,)
            else f"multiplicities {', '.join(map(str, self.multiplicities))}"
        )
        return (
            f"the molecule has the multiplicity {spin} ({name}), an open shell; models of "
            f"{trained_on} know {known}."
        )

    def _of_electrons(self, molecule: Molecule, trained_on: str) -> str:
        electrons = int(molecule.charges.sum()) - self.charge_of(molecule)
        if self.odd or electrons % 2 == 0 or self.multiplicities != (1,):
            return ""
        return (
            f"the number of electrons is odd ({electrons}), so it is an ion or a radical, or an "
            f"atom is missing; models of {trained_on} know neither."
        )

    def _of_geometry(self, geometry: Geometry, trained_on: str) -> list[str]:
        """A reason for each molecule of a batch, or nothing."""
        distances, whole = shortest_distances(geometry).tolist(), in_one_part(geometry).tolist()
        sizes = (geometry.charges > 0).sum(1).tolist()
        only_h = np.all(geometry.charges < 2, axis=1).tolist()
        return [
            self._of_distance(distance, H2 if hydrogen and size == 2 else self.shortest, trained_on)
            or ("" if one or self.parts else PARTS.format(trained_on=trained_on))
            for distance, one, size, hydrogen in zip(distances, whole, sizes, only_h, strict=True)
        ]

    def _of_distance(self, shortest: float, bounds: tuple[float, float], trained_on: str) -> str:
        low, high = bounds
        if low <= shortest <= high or shortest == float("inf"):
            return ""
        fitting = [name for name in ("Bohr", "nm", "pm") if _fits(shortest, name, bounds)]
        looks = f"; they look like {fitting[0]}, which units={fitting[0]} says" if fitting else ""
        return (
            f"the two nearest atoms are {shortest:.3g} Angstrom apart, which in molecules as those "
            f"of {trained_on} is {low:.2f} to {high:.2f}{looks}: give positions in Angstrom."
        )

    def _of_hydrogens(self, molecule: Molecule) -> str:
        return "" if self.bare else molecule.open_valences or ""


def make_inputs(numbers: np.ndarray, names: Sequence[str]) -> Tensor:
    """Inputs of a model.

    Args:
        numbers: charge and multiplicity of every molecule, (M, 2).
        names: `charge`, in elementary charges, and `spin`, the number of unpaired electrons.
    """
    columns = {"charge": numbers[:, 0], "spin": numbers[:, 1] - 1}
    return torch.from_numpy(np.stack([columns[name] for name in names], 1)).float()


PARTS = (
    "the molecule falls into parts that no bond connects, as several molecules or frames under one "
    "name do; models of {trained_on} know molecules in one part: give each part a name of its own."
)


def _fits(shortest: float, unit: str, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= shortest * LENGTHS[unit.lower()] <= bounds[1]


def _of_cell(molecule: Molecule) -> str:
    """A reason why a periodic cell is not one around a whole molecule, or nothing."""
    fields = {name.lower(): text for name, text in molecule.fields.items()}
    numbers = [parse_number(word) for word in fields.get("lattice", "").replace(",", " ").split()]
    if len(numbers) != 9 or None in numbers:
        return ""
    cell = np.array(numbers, float).reshape(3, 3)
    words = fields.get("pbc", "T T T").replace(",", " ").split()
    periodic = [word[:1].upper() in ("T", "1") for word in words]
    if len(periodic) != 3 or not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-3:
        return ""
    if not cut_by_cell(molecule, cell, periodic):
        return ""
    return (
        "the border of its periodic cell cuts bonds; make the molecule whole, and crystals are not "
        'supported: a molecule is predicted in empty space (pbc="F F F").'
    )


def find_chemistry(molecules: Sequence[Molecule], numbers: np.ndarray) -> Chemistry:
    """The kinds of molecules of a training set.

    Args:
        molecules: some of it, for distances.
        numbers: charges and multiplicities of all of it, those of `molecules` first, (M, 2).
    """
    charges, spins = (np.unique(column).tolist() for column in numbers.T)
    shapes = list(geometries(molecules))
    shortest = np.concatenate([shortest_distances(shape) for shape in shapes])
    shortest = shortest[np.isfinite(shortest)]
    low, high = (shortest.min(), shortest.max()) if len(shortest) else (1.0, 1.0)
    return Chemistry(
        tuple(charges),
        tuple(spins),
        any((int(m.charges.sum()) - q) % 2 for m, q in zip(molecules, numbers[:, 0], strict=False)),
        (float(0.85 * low), float(1.15 * high)),
        any(not in_one_part(shape).all() for shape in shapes),
        any((lacking_hydrogens(shape) >= 0).any() for shape in shapes),
    )
