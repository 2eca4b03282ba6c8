"""Hydrogens that a record leaves out, as files of drawings and of crystal structures do."""

from collections.abc import Mapping, Sequence

from gigp.lab.molecules.atoms import SYMBOLS

# bonds of a neutral atom, by nuclear charge; an ion has those of the element with as many electrons
VALENCES = {5: 3, 6: 4, 7: 3, 8: 2, 9: 1, 10: 0, 14: 4, 15: 3, 16: 2, 17: 1, 18: 0, 35: 1, 53: 1}
CHECKED = {6, 7, 8, 9, 14, 15, 16, 17, 35, 53}  # others have various valences
ORDERS = {1: 1.0, 2: 2.0, 3: 3.0, 4: 1.5}  # by type of bond in the format; 4 is aromatic
Bond = tuple[int, int, int]  # type, and the numbers of two atoms, from 1


def find_open_valences(
    charges: Sequence[int],
    bonds: Sequence[Bond],
    formal: Mapping[int, int],
    unpaired: Mapping[int, int],
) -> str | None:
    """A sentence about the first atom whose bonds leave room for hydrogens; empty where there is
    none, and None where the bonds do not tell.

    Args:
        charges: nuclear charges of the atoms.
        bonds: all bonds of the record.
        formal: charges of atoms by their number from 1, where they are not 0.
        unpaired: electrons of radicals by the number of their atom.
    """
    if not bonds and len(charges) > 1:
        return None
    orders = [0.0] * len(charges)
    for kind, *atoms in bonds:
        for atom in atoms:
            if kind not in ORDERS or not 1 <= atom <= len(charges):
                return None  # other kinds of bonds do not determine the hydrogens
            orders[atom - 1] += ORDERS[kind]
    for number, (charge, order) in enumerate(zip(charges, orders, strict=True), 1):
        valence = VALENCES.get(charge - formal.get(number, 0))
        if charge not in CHECKED or valence is None:
            continue
        if order < valence - unpaired.get(number, 0):
            return (
                f"the bonds of atom {number} ({SYMBOLS[charge]}) leave room for hydrogens that are "
                "missing; write all hydrogens."
            )
    return ""
