"""Molecules from objects of ASE (`Atoms`) and RDKit (`Mol`), without importing either."""

from typing import Any

import numpy as np

from gigp.errors import InputError
from gigp.lab.molecules.readers.electrons import CHARGE, MULTIPLICITY
from gigp.lab.molecules.readers.hydrogens import find_open_valences
from gigp.lab.molecules.readers.molecule import Molecule, make_molecule

AROMATIC = 1.5  # order of a bond in RDKit


def is_foreign(content: object) -> bool:
    """Whether something is one molecule of ASE or RDKit."""
    return hasattr(content, "get_positions") or hasattr(content, "GetConformer")


def to_molecule(content: Any) -> Any:
    """A molecule from an object of ASE or RDKit; anything else as it is.

    Raises:
        InputError: the molecule has no positions, or is damaged.
    """
    if hasattr(content, "get_positions"):
        return _from_ase(content)
    return _from_rdkit(content) if hasattr(content, "GetConformer") else content


def _from_ase(atoms: Any) -> Molecule:
    """Positions in Angstrom, as ASE has them, with the charges and spins of atoms and molecule."""
    info = {name: value for name, value in atoms.info.items() if "unit" not in str(name).lower()}
    charges, moments = atoms.get_initial_charges(), atoms.get_initial_magnetic_moments()
    fields: dict[str, Any] = {}
    if np.any(charges):
        fields["initial_charges"] = charges
    if np.any(moments):
        fields["initial_magmoms"] = np.asarray(moments).ravel()
    if np.any(atoms.get_pbc()):
        flags = ["T" if repeats else "F" for repeats in atoms.get_pbc()]
        fields |= {"Lattice": np.asarray(atoms.get_cell()), "pbc": " ".join(flags)}
    return make_molecule(atoms.get_atomic_numbers(), atoms.get_positions(), info | fields)


def _from_rdkit(mol: Any) -> Molecule:
    """The first conformer, with formal charges, radicals and the valences of the atoms."""
    if not mol.GetNumConformers():
        raise InputError(
            "the molecule of RDKit has no conformer, so no positions; embed it in space, with all "
            "hydrogens (Chem.AddHs)."
        )
    conformer, atoms = mol.GetConformer(), list(mol.GetAtoms())
    if not conformer.Is3D():
        raise InputError("the conformer of RDKit's molecule is a flat drawing; embed it in space.")
    numbers = [atom.GetAtomicNum() for atom in atoms]
    formal = {i: q for i, atom in enumerate(atoms, 1) if (q := atom.GetFormalCharge())}
    unpaired = {i: n for i, atom in enumerate(atoms, 1) if (n := atom.GetNumRadicalElectrons())}
    bonds = [
        (
            4 if bond.GetBondTypeAsDouble() == AROMATIC else round(bond.GetBondTypeAsDouble()),
            bond.GetBeginAtomIdx() + 1,
            bond.GetEndAtomIdx() + 1,
        )
        for bond in mol.GetBonds()
    ]
    fields = {str(name): value for name, value in mol.GetPropsAsDict().items()}
    if charge := sum(formal.values()):
        fields[CHARGE] = f"{charge:+}"
    if unpaired:
        fields[MULTIPLICITY] = str(1 + sum(unpaired.values()))
    missing = find_open_valences(numbers, bonds, formal, unpaired)
    return make_molecule(numbers, conformer.GetPositions(), fields, missing)
