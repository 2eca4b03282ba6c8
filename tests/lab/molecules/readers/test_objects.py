"""Molecules of ASE and RDKit, where they are installed: those of files, and what they state."""

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.molecules.readers.objects import is_foreign, to_molecule

WATER = [[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]]


def refusal(content: object) -> str:
    """Why models of QM9 do not know an object."""
    return QM9.chemistry.refusals([to_molecule(content)], "QM9")[0]


@pytest.fixture(scope="module")
def ase():
    return pytest.importorskip("ase", reason="ase is not installed")


@pytest.fixture(scope="module")
def water(ase):
    return ase.Atoms("OHH", WATER)


def test_atoms_of_ase(water):
    assert is_foreign(water)
    molecule = to_molecule(water)
    assert molecule.charges.tolist() == [8, 1, 1]
    assert torch.equal(molecule.positions, torch.tensor(WATER, dtype=torch.float64))
    assert refusal(water) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.info.update(charge=1), "charge +1"),
        (lambda w: w.info.update(spin=3), "multiplicity 3"),
        (lambda w: w.set_initial_charges([2.0, 0, 0]), "initial_charges +2"),
        (lambda w: w.set_initial_charges([0.4, -0.2, -0.2]), ""),
        (lambda w: w.set_initial_magnetic_moments([2.0, 0, 0]), "multiplicity 3"),
        (lambda w: w.set_initial_magnetic_moments([[0, 0, 2.0], [0] * 3, [0] * 3]), "ity 3"),
        (lambda w: w.set_array("charges", np.array([-2.0, 0, 0])), "charges -2"),
        (lambda w: w.set_array("forces", np.zeros((3, 3))), ""),
        (lambda w: w.info.update(units="bohr", energy=-1.0, none=None), ""),
        (lambda w: w.set_cell([9, 9, 9]), ""),
        (lambda w: (w.set_cell([9, 9, 9]), w.set_pbc(True)), ""),
        (lambda w: (w.set_cell([9, 9, 1.2]), w.set_pbc(True)), "border of its periodic cell"),
        (lambda w: w.set_positions(2 * w.get_positions()), "two nearest atoms"),
    ],
)
def test_what_atoms_state(water, change, message):
    changed = water.copy()
    change(changed)
    assert message in refusal(changed) if message else refusal(changed) == ""


def test_what_a_calculator_left(ase, water):
    """As `ase.io.read` leaves columns of a file that are no arrays of ASE's own."""
    from ase.calculators.singlepoint import SinglePointCalculator

    for results, message in (
        ({"energy": -1.0, "forces": np.zeros((3, 3)), "charges": np.array([0.4, -0.2, -0.2])}, ""),
        ({"charges": np.array([2.0, 0, 0])}, "charges +2"),
        ({"magmoms": np.array([2.0, 0, 0])}, "multiplicity 3"),
        ({"magmom": 2.0}, "multiplicity 3"),
    ):
        changed = water.copy()
        changed.calc = SinglePointCalculator(changed, **results)
        assert message in refusal(changed) if message else refusal(changed) == "", results


@pytest.fixture(scope="module")
def chem():
    return pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")


def embedded(chem, smiles: str, hydrogens: bool = True):
    from rdkit.Chem import AllChem

    mol = chem.MolFromSmiles(smiles)
    mol = chem.AddHs(mol) if hydrogens else mol
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return mol


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("CCO", ""),
        ("c1ccccc1", ""),
        ("C[N+](=O)[O-]", ""),
        ("C[NH3+]", "charge +1"),
        ("CC(=O)[O-]", "charge -1"),
        ("[CH3]", "multiplicity 2"),
    ],
)
def test_molecules_of_rdkit(chem, smiles, message):
    mol = embedded(chem, smiles)
    assert is_foreign(mol)
    molecule = to_molecule(mol)
    assert molecule.charges.tolist() == [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    assert np.array_equal(molecule.positions.numpy(), mol.GetConformer().GetPositions())
    assert message in refusal(mol) if message else refusal(mol) == ""


def test_what_molecules_of_rdkit_state(chem):
    mol = embedded(chem, "CCO")
    mol.SetProp("units", "bohr")  # of the file that it came from; RDKit's are in Angstrom
    mol.SetDoubleProp("energy", 1.5)
    assert refusal(mol) == ""
    mol.SetIntProp("charge", 2)
    assert "charge +2" in refusal(mol)
    assert "hydrogens that are missing" in refusal(embedded(chem, "CCO", hydrogens=False))
    kekule = embedded(chem, "c1ccccc1")
    chem.Kekulize(kekule, clearAromaticFlags=True)
    assert refusal(kekule) == ""


def test_molecules_of_rdkit_without_positions(chem):
    from rdkit.Chem import AllChem

    flat = chem.MolFromSmiles("CCO")
    with pytest.raises(InputError, match="has no conformer, so no positions; embed it"):
        to_molecule(flat)
    AllChem.Compute2DCoords(flat)
    with pytest.raises(InputError, match="is a flat drawing; embed it in space"):
        to_molecule(flat)
