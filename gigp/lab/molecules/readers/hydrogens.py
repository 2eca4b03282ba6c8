"""Hydrogens that a record leaves out, as files of drawings and of crystal structures do."""

from collections.abc import Sequence

from gigp.errors import InputError
from gigp.lab.molecules.readers.molecule import ion_charge

CARBON, VALENCE = 6, 4
ORDERS = {1: 1.0, 2: 2.0, 3: 3.0, 4: 1.5}  # by type of bond in the format; 4 is aromatic
Bond = tuple[int, int, int]  # type, and the numbers of two atoms, from 1


def check_hydrogens(elements: Sequence[str], bonds: Sequence[Bond]) -> None:
    """Refuse a molecule without a hydrogen whose bonds leave room for some at a carbon: it would be
    predicted as bare atoms.

    Not for charged molecules and radicals, which the caller knows, and not without bonds.

    Args:
        elements: symbols of the atoms.
        bonds: all bonds of the record.

    Raises:
        InputError: naming the first such carbon.
    """
    charges = [ion_charge(element) for element in elements]
    if 1 in charges or not bonds or len(charges) < 3:
        return
    orders = [0.0] * len(charges)
    for kind, *atoms in bonds:
        for atom in atoms:
            if kind not in ORDERS or not 1 <= atom <= len(charges):
                return  # other kinds of bonds do not determine the hydrogens
            orders[atom - 1] += ORDERS[kind]
    for number, (charge, order) in enumerate(zip(charges, orders, strict=True), 1):
        if charge == CARBON and order < VALENCE:
            raise InputError(
                f"the molecule has no hydrogens, but the bonds of atom {number} (C) leave room for "
                "some; write all hydrogens."
            )
