"""Molecules from objects of ASE (`Atoms`) and RDKit (`Mol`), without importing either."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gigp.errors import InputError
from gigp.lab.molecules.readers.electrons import CHARGE, MULTIPLICITY, fields_of_atoms
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
    """Positions in Angstrom, as ASE has them, with the charges and spins of molecule and atoms, and
    those that a calculator or a file has left.
    """
    results = getattr(atoms.calc, "results", {})
    fields = _without_units({k: v for k, v in results.items() if np.ndim(v) == 0} | atoms.info)
    rows = {name: np.asarray(values) for name, values in {**results, **atoms.arrays}.items()}
    fields |= fields_of_atoms(
        {
            str(name): [" ".join(map(str, np.ravel(row).tolist())) for row in values]
            for name, values in rows.items()
            if values.ndim and len(values) == len(atoms)
        }
    )
    if np.any(atoms.get_pbc()):
        flags = ["T" if repeats else "F" for repeats in atoms.get_pbc()]
        fields |= {"Lattice": np.asarray(atoms.get_cell()), "pbc": " ".join(flags)}
    return make_molecule(atoms.get_atomic_numbers(), atoms.get_positions(), fields)


def _without_units(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """Fields but for units: positions of both libraries are in Angstrom, whatever a file said."""
    return {str(name): value for name, value in fields.items() if "unit" not in str(name).lower()}


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
    fields = _without_units(mol.GetPropsAsDict())
    if charge := sum(formal.values()):
        fields[CHARGE] = f"{charge:+}"
    if unpaired:
        fields[MULTIPLICITY] = str(1 + sum(unpaired.values()))
    missing = find_open_valences(numbers, bonds, formal, unpaired)
    return make_molecule(numbers, conformer.GetPositions(), fields, missing)
