"""What is checked of every molecule."""

import pytest
import torch

from gigp.errors import InputError
from gigp.lab.molecules.atoms import ELEMENTS, MASSES, SYMBOLS
from gigp.lab.molecules.readers.molecule import (
    MOST_ATOMS,
    check_elements,
    make_molecule,
    nuclear_charge,
)

BOND = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]]


def test_symbols_are_those_of_the_data_set():
    assert {symbol: nuclear_charge(symbol) for symbol in ELEMENTS} == ELEMENTS
    assert len(SYMBOLS) == len(set(SYMBOLS)) == len(MASSES) == 119
    assert [nuclear_charge(name) for name in ("Fe", "CL", "xe", "118", "D", "T3", "Og1")] == [
        *(26, 17, 54, 118, 1, 1, 118)
    ]


def test_elements_that_a_model_does_not_know():
    molecule = make_molecule(["Cl", "C", "Si"], [[0, 0, 0], [0, 0, 2], [0, 2, 0]])
    with pytest.raises(
        InputError,
        match=r"element Si, Cl is unknown to models of QM9, which know H, C, N, O, F\.",
    ):
        check_elements(molecule, list(ELEMENTS.values()), "QM9")


def test_number_of_atoms():
    line = [[float(i), 0, 0] for i in range(MOST_ATOMS + 1)]
    assert len(make_molecule(["h"] * MOST_ATOMS, line[:-1]).charges) == MOST_ATOMS
    with pytest.raises(InputError, match=f"{MOST_ATOMS + 1} atoms; a molecule has 1 to"):
        make_molecule(["H"] * (MOST_ATOMS + 1), line)
    with pytest.raises(InputError, match="0 atoms"):
        make_molecule([], [])


@pytest.mark.parametrize("gap", [31.0, 1e4, 1e8])
def test_parts_farther_apart_than_any_molecule(gap):
    far = [[x + gap, y, z] for x, y, z in BOND]
    with pytest.raises(InputError, match=r"two parts lie .* Angstrom apart, farther than those"):
        make_molecule(["H"] * 4, BOND + far)
    near = [[x + 10, y, z] for x, y, z in BOND]
    assert len(make_molecule(["H"] * 4, BOND + near).charges) == 4


def test_a_long_chain_has_no_gap():
    places = torch.randperm(300)[:, None].mul(torch.tensor([1.5, 0, 0])).tolist()
    assert len(make_molecule(["C"] * 300, places).charges) == 300


@pytest.mark.parametrize("shift", [1.1e8, 1e19, -1e30, 1e300])
def test_coordinates_beyond_double_precision(shift):
    with pytest.raises(InputError, match=r"a coordinate is .* Move the molecule to the origin"):
        make_molecule(["H", "H"], [[x + shift, y, z] for x, y, z in BOND])


def test_far_from_the_origin_positions_are_kept():
    molecule = make_molecule(["H", "H"], [[1e7, 0, z] for _, _, z in BOND])
    assert molecule.positions.dtype == torch.float64
    assert molecule.positions[1, 0] == 1e7
