"""A molecule, and the checks that all molecules go through, from any kind of file."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.text import parse_numbers
from gigp.lab.molecules.atoms import SYMBOLS
from gigp.lab.molecules.readers.units import factor_to_angstrom, without_units

MOST_ATOMS = 400  # 29 in QM9; memory grows with the square
# Angstrom; atoms that are closer coincide, parts with a wider gap are not one molecule: both are
# signs of positions in other units
CLOSEST, WIDEST_GAP = 0.1, 30.0
# Angstrom; beyond it double precision keeps less than seven digits of a bond length
FARTHEST = 1e8
CHARGES = {symbol: charge for charge, symbol in enumerate(SYMBOLS) if charge} | {"D": 1, "T": 1}
CHARGES |= {str(charge): charge for charge in range(1, len(SYMBOLS))}
# O1, H12, C1A, H2': a symbol and the number of the atom, as crystallographers label atoms
LABEL = re.compile(r"([A-Za-z]{1,2})(?:\d{1,4}[A-Za-z]?'*)?", re.ASCII)
# HO3', HG21: hydrogens of biomolecules by the atom that they are at, not holmium and mercury
HYDROGEN_LABEL = re.compile(r"H[A-Z]\d{1,4}[A-Za-z]?'*", re.ASCII)
ISOTOPE = re.compile(r"\d{1,3}([A-Z][a-z]?)", re.ASCII)  # 2H, 13C


class Molecule(NamedTuple):
    """Atoms in space.

    Attributes:
        charges: nuclear charges, (n,) int64.
        positions: positions in Angstrom, (n, 3) float64.
        fields: other properties of the molecule in the file, by name, as text.
        open_valences: what bonds say of missing hydrogens, as a sentence; empty where all valences
            are filled, None where the bonds are not known.
    """

    charges: Tensor
    positions: Tensor
    fields: Mapping[str, str] = {}
    open_valences: str | None = None


def make_molecule(
    elements: Iterable[str | int],
    positions: Sequence[Sequence[float]] | np.ndarray | Tensor,
    fields: Mapping[str, Any] | None = None,
    open_valences: str | None = None,
) -> Molecule:
    """A molecule of any elements.

    Args:
        elements: symbols, labels such as O1, or nuclear charges, (n,); D and T are hydrogen.
        positions: positions in Angstrom, or in the unit that a field states (`units`), (n, 3).
        fields: other properties by name: numbers, arrays or text.
        open_valences: see `Molecule`.

    Raises:
        InputError: no atoms or too many, an unknown element, or positions that are not (n, 3)
            finite numbers, coincide, or lie farther apart than those of any molecule.
    """
    elements = elements.tolist() if isinstance(elements, np.ndarray | Tensor) else list(elements)
    if not 1 <= len(elements) <= MOST_ATOMS:
        raise InputError(
            f"{len(elements)} atoms; a molecule has 1 to {MOST_ATOMS} (QM9's have up to 29)."
        )
    charges = torch.tensor([nuclear_charge(str(element)) for element in elements])
    try:
        pos = torch.as_tensor(positions, dtype=torch.float64).detach().cpu()  # (n, 3)
    except (ValueError, TypeError) as error:
        raise InputError(f"the positions are not rows of three numbers: {error}.") from error
    if pos.shape != (len(charges), 3):
        raise InputError(
            f"positions of shape {tuple(pos.shape)} for {len(charges)} atoms; expected "
            f"({len(charges)}, 3)."
        )
    texts = {str(name): as_text(value) for name, value in (fields or {}).items()}
    factor = factor_to_angstrom(texts)
    if factor != 1:
        pos = pos * factor
        texts = {name: _scaled(name, text, factor) for name, text in texts.items()}
    _check_positions(pos)
    return Molecule(charges, pos, without_units(texts), open_valences)


def as_text(value: Any) -> str:
    """A field as text; the numbers of arrays and lists with spaces between them."""
    if isinstance(value, np.ndarray | Tensor | list | tuple):
        return " ".join(map(str, np.asarray(value).ravel().tolist()))
    return str(value)


def _scaled(name: str, text: str, factor: float) -> str:
    """The vectors of a cell in Angstrom; any other field as it is."""
    numbers = parse_numbers(text.split())
    if name.lower() != "lattice" or numbers is None:
        return text
    return " ".join(f"{number * factor:.12g}" for number in numbers)


def nuclear_charge(element: str) -> int:
    """Nuclear charge of a symbol, a label, or a nuclear charge as text.

    Raises:
        InputError: it is none of these.
    """
    if HYDROGEN_LABEL.fullmatch(element):
        return CHARGES["H"]
    if match := LABEL.fullmatch(element) or ISOTOPE.fullmatch(element):
        element = match[1].capitalize()
    if element in CHARGES:
        return CHARGES[element]
    raise InputError(f"element {element[:20]} is unknown; write its symbol, as in Cl.")


def check_elements(molecule: Molecule, known: Sequence[int], trained_on: str) -> None:
    """Refuse elements that a model has never seen.

    Args:
        known: nuclear charges that the model takes.
        trained_on: name of its training set.

    Raises:
        InputError: naming those that it does not know.
    """
    charges: list[int] = molecule.charges.unique().tolist()
    unknown = [SYMBOLS[charge] for charge in charges if charge not in known]
    if unknown:
        raise InputError(
            f"element {', '.join(unknown)} is unknown to models of {trained_on}, which know "
            f"{', '.join(SYMBOLS[charge] for charge in known)}."
        )


def attempt(parse: Callable[..., Molecule], *arguments: Any) -> Molecule | InputError:
    """The result of a parser, or the error that it raises."""
    try:
        return parse(*arguments)
    except InputError as error:
        return error


def _check_positions(pos: Tensor) -> None:
    """Refuse positions (n, 3) that are not those of a molecule in Angstrom."""
    finite = pos.isfinite().all(1)
    if not finite.all():
        atom = int((~finite).nonzero()[0])
        raise InputError(f"the position of atom {atom + 1} is not finite: {pos[atom].tolist()}.")
    if pos.abs().max() > FARTHEST:
        raise InputError(
            f"a coordinate is {pos.abs().max():.3g} Angstrom; beyond {FARTHEST:.0e} digits do not "
            "tell where an atom is. Move the molecule to the origin."
        )
    if len(pos) == 1:
        return
    distances = torch.pdist(pos)
    nearest = float(distances.min())
    if nearest < CLOSEST:
        raise InputError(
            f"two atoms lie {nearest:.2g} Angstrom apart; are these really positions, and in "
            "Angstrom?"
        )
    if distances.max() > WIDEST_GAP and (gap := _widest_gap(pos)) > WIDEST_GAP:
        raise InputError(
            f"two parts lie {gap:.3g} Angstrom apart, farther than those of any molecule; are "
            "these really positions, and in Angstrom?"
        )


def _widest_gap(pos: Tensor) -> float:
    """Longest step that is needed to walk from atom to atom through all of them (Prim's minimum
    spanning tree)."""
    distance = torch.cdist(pos, pos, compute_mode="donot_use_mm_for_euclid_dist")  # (n, n)
    nearest, gap = distance[0].clone(), 0.0  # from the atoms that are reached, (n,)
    for _ in range(len(pos) - 1):
        nearest[nearest == 0] = torch.inf
        step, atom = nearest.min(0)
        gap = max(gap, float(step))
        nearest = torch.where(nearest.isinf(), nearest, torch.minimum(nearest, distance[atom]))
    return gap
