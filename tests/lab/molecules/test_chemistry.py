"""Chemistry that a model has never seen is refused, and nothing of QM9 is."""

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.molecules.bonds import Geometry, in_one_part, lacking_hydrogens, shortest_distances
from gigp.lab.molecules.chemistry import Chemistry
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.molecules.readers.molecule import Molecule, make_molecule
from tests.lab.molecules.readers.molecules import ATOMS, SDF, V3000, read

WATER = [[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]
METHANE = np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) * 0.6287
BENZENE = [[np.cos(a), np.sin(a), 0] for a in np.arange(6) * np.pi / 3]
BOX = {"Lattice": "10 0 0 0 10 0 0 0 10", "pbc": "T T T"}


def water(**fields) -> Molecule:
    return make_molecule("OHH", WATER, fields)


def reason(molecule: Molecule) -> str:
    (found,) = QM9.chemistry.refusals([molecule], "QM9")
    return found


def reasons(tmp_path, name: str, text: str) -> list[str]:
    """Errors and refusals of a file."""
    entries = read(tmp_path, name, text)
    assert [entry.error for entry in entries] == [""] * len(entries)
    return QM9.chemistry.refusals([entry.content for entry in entries], "QM9")


def xyz(comment: str, rows: str = "") -> str:
    atoms = "".join(f"{e} {x} {y} {z}\n" for e, (x, y, z) in zip("OHH", WATER, strict=True))
    return f"3\n{comment}\n{rows or atoms}"


@pytest.mark.parametrize(
    "comment",
    [
        "charge=1",
        "Charge=+1",
        "TOTAL_CHARGE=1",
        "net_charge=-1.0",
        "chg=2+",
        "q=-1",
        'molecular-charge="1+"',
        "formalCharge=++",
        "charge=\u22121",
        "charge: 1",
        "water, charge -1",
        '{"charge": 1}',
        "1 2",
        "-1 2",
        "2 1",
        "the water cation",
        "dianion",
        'initial_charges="1 0 0"',
    ],
)
def test_a_charge_in_any_spelling(tmp_path, comment):
    (said,) = reasons(tmp_path, "in.xyz", xyz(comment))
    assert "models of QM9 know neutral molecules only" in said


@pytest.mark.parametrize(
    "comment",
    [
        "charge=0",
        "charge=unknown",
        "charge=neutral",
        "0 1",
        "water 12",
        "gdb 3\t799.58812\t437.90386",
        "nuclear_charge=10 energy=-76.4",
        "partial_charges='-0.8 0.4 0.4'",
        "spin=0 multiplicity=1",
        "vacation of a zwitterion at a location",
        "mulliken_charges='-0.58 0.291 0.2901'",
        "3 1 4",
    ],
)
def test_what_states_no_charge(tmp_path, comment):
    assert reasons(tmp_path, "in.xyz", xyz(comment)) == [""]


@pytest.mark.parametrize("comment", ["charge=one", "charge=1;mult=1", 'q="two or three"'])
def test_a_charge_that_is_no_number(tmp_path, comment):
    (said,) = reasons(tmp_path, "in.xyz", xyz(comment))
    assert "is no charge; write a number, charge=0 for a neutral molecule" in said


@pytest.mark.parametrize(
    ("properties", "last"),
    [
        ("initial_charges:R:1", "1 0 0"),
        ("formal_charge:I:1", "0 0 -1"),
        ("charge:R:1", "0.2 0.4 0.4"),
    ],
)
def test_charges_of_atoms_sum_to_an_ion(tmp_path, properties, last):
    atoms = zip("OHH", WATER, last.split(), strict=True)
    rows = "".join(f"{e} {x} {y} {z} {q}\n" for e, (x, y, z), q in atoms)
    (said,) = reasons(tmp_path, "in.xyz", xyz(f"Properties=species:S:1:pos:R:3:{properties}", rows))
    assert "know neutral molecules only" in said
    neutral = rows.replace(" 1\n", " 0\n").replace(" -1\n", " 0\n").replace("0.2", "-0.8")
    text = xyz(f"Properties=species:S:1:pos:R:3:{properties}", neutral)
    assert reasons(tmp_path, "in.xyz", text) == [""]


@pytest.mark.parametrize(
    ("record", "known"),
    [
        (SDF, True),
        (SDF.replace("O   0  0", "O   0  3"), False),  # in the block of atoms
        (SDF.replace("O   0  0", "O   0  5"), False),
        (SDF.replace("M  END", "M  CHG  1   1   1\nM  END"), False),
        (SDF + "> <PUBCHEM_TOTAL_CHARGE>\n1\n\n", False),
        (SDF + "> <TOTAL CHARGE>\n-1\n\n", False),
        (SDF.replace("MASS=2", "CHG=-1"), True),
        (V3000.replace("MASS=2", "CHG=-1"), False),
        (SDF.replace("M  END", "M  RAD  1   1   3\nM  END"), False),
        (SDF.replace("O   0  0", "O   0  4"), False),
        # M  CHG replaces what stands in the block of atoms
        (SDF.replace("O   0  0", "O   0  3").replace("M  END", "M  CHG  1   1   0\nM  END"), True),
    ],
)
def test_charges_and_radicals_of_records(tmp_path, record, known):
    (said,) = reasons(tmp_path, "in.sdf", record)
    assert (said == "") == known, said


@pytest.mark.parametrize("column", ["charge", "Total Charge", "formal_charge"])
@pytest.mark.parametrize("values", ["1 1 1", "1 0 0", "0 -1 0"])
def test_charges_in_tables(tmp_path, column, values):
    atoms = zip("OHH", WATER, values.split(), strict=True)
    rows = "".join(f"w,{e},{x},{y},{z},{q}\n" for e, (x, y, z), q in atoms)
    (said,) = reasons(tmp_path, "in.csv", f"molecule,element,x,y,z,{column}\n{rows}")
    assert "know neutral molecules only" in said


@pytest.mark.parametrize(
    "fields",
    [
        {"total_spin": 3},
        {"multiplicity": "3"},
        {"Multiplicity": 2},
        {"spin": 2},
        {"uhf": 2},
        {"magmoms": [1.0, 0.0, 1.0]},
        {"spin_multiplicity": "triplet"},
    ],
)
def test_open_shells(fields):
    assert "an open shell; models of QM9 know closed shells" in reason(water(**fields))


def test_odd_numbers_of_electrons():
    assert "electrons is odd (9)" in reason(make_molecule("OH", WATER[:2]))
    assert "electrons is odd (11)" in reason(make_molecule("NHHHH", METHANE))


@pytest.mark.parametrize(
    ("factor", "looks"), [(1 / 0.529177, "Bohr"), (0.1001, "nm"), (1.4, ""), (0.7, ""), (0.529, "")]
)
def test_positions_in_other_units(factor, looks):
    said = reason(make_molecule("CHHHH", METHANE * factor))
    assert "the two nearest atoms are" in said
    assert ("look like" in said) == bool(looks)
    assert f"units={looks}" in said or not looks


def test_the_shortest_molecules_are_known():
    for symbols, length in (("HH", 0.741), ("NN", 1.098), ("FF", 1.41), ("HF", 0.917)):
        assert reason(make_molecule(symbols, [[0, 0, 0], [0, 0, length]])) == ""
    assert "0.65 to 0.85" in reason(make_molecule("HH", [[0, 0, 0], [0, 0, 1.40]]))  # in Bohr


@pytest.mark.parametrize("unit", ["bohr", "Bohr", "a.u.", "nm", "pm", "Angstrom"])
@pytest.mark.parametrize("name", ["units", "length_unit", "Unit"])
def test_stated_units_are_converted(tmp_path, unit, name):
    factors = {"bohr": 0.529177210903, "a.u.": 0.529177210903, "nm": 10, "pm": 0.01}
    factor = factors.get(unit.lower(), 1)
    scaled = (np.array(WATER) / factor).tolist()
    rows = "".join(f"{e} {x!r} {y!r} {z!r}\n" for e, (x, y, z) in zip("OHH", scaled, strict=True))
    text = xyz(f'{name}="{unit}" Lattice="{9 / factor} 0 0 0 9 0 0 0 9"', rows)
    (entry,) = read(tmp_path, "in.xyz", text)
    torch.testing.assert_close(entry.content.positions, torch.tensor(WATER, dtype=torch.double))
    assert float(entry.content.fields["Lattice"].split()[0]) == pytest.approx(9)
    again = make_molecule("OHH", entry.content.positions, entry.content.fields)  # not twice
    assert torch.equal(again.positions, entry.content.positions)


def test_units_in_words_and_in_headers(tmp_path):
    rows = "".join(
        f"{e} {x / 0.529177210903} {y / 0.529177210903} {z / 0.529177210903}\n"
        for e, (x, y, z) in zip("OHH", WATER, strict=True)
    )
    (entry,) = read(tmp_path, "in.xyz", xyz("water in Bohr", rows))
    torch.testing.assert_close(entry.content.positions, torch.tensor(WATER, dtype=torch.double))
    table = "molecule,element,x (nm),y (nm),z (nm)\n" + "".join(
        f"w,{e},{x / 10},{y / 10},{z / 10}\n" for e, (x, y, z) in zip("OHH", WATER, strict=True)
    )
    (entry,) = read(tmp_path, "in.csv", table)
    torch.testing.assert_close(entry.content.positions, torch.tensor(WATER, dtype=torch.double))
    with pytest.raises(InputError, match="length_unit=cubit is no known unit of positions"):
        water(length_unit="cubit")
    assert torch.equal(water(units="eV").positions, water().positions)


def test_cells_that_cut_a_molecule():
    place = np.array(WATER) + np.array([5, 5, 5])
    assert reason(make_molecule("OHH", place, BOX)) == ""
    cut = place - np.array([5, 5, 5])
    cut[1] += [0, 0, 10]  # its image is bonded
    assert "cuts bonds" in reason(make_molecule("OHH", cut, BOX))
    assert "falls into parts" in reason(make_molecule("OHH", cut, BOX | {"pbc": "F F F"}))
    diamond = make_molecule("CC", [[0, 0, 0], [0.89, 0.89, 0.89]])
    diamond = diamond._replace(fields={"Lattice": "0 1.78 1.78 1.78 0 1.78 1.78 1.78 0"})
    assert "cuts bonds" in reason(diamond)


def test_parts():
    far = np.array(WATER) + np.array([5, 0, 0])
    assert "falls into parts" in reason(make_molecule("OHHOHH", [*WATER, *far.tolist()]))


@pytest.mark.parametrize("keep", [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]])
def test_hydrogens_that_distances_miss(keep):
    """Of methane; with all of them nothing is missing."""
    (said,) = QM9.chemistry.doubts([make_molecule(["C", *"HHHH"][: len(keep)], METHANE[keep])])
    assert bool(said) == (len(keep) > 1)
    assert QM9.chemistry.doubts([make_molecule("CHHHH", METHANE)]) == [""]


def test_bare_rings_and_the_check_of_bonds(tmp_path):
    bare = make_molecule("C" * 6, np.array(BENZENE) * 1.397)
    assert "atom 1 (C) has room for hydrogens" in QM9.chemistry.doubts([bare])[0]
    whole = np.concatenate([np.array(BENZENE) * 1.397, np.array(BENZENE) * 2.48])
    assert QM9.chemistry.doubts([make_molecule("C" * 6 + "H" * 6, whole)]) == [""]
    one = SDF.replace("  3  2", "  3  1").replace("  1  3  1  0\n", "")  # water, a bond left out
    assert "the bonds of atom 1 (O) leave room" in reasons(tmp_path, "in.sdf", one)[0]
    dimer = ATOMS.splitlines()[0]
    assert dimer.split()[3] == "O"


def test_what_a_model_was_trained_on_decides():
    ions = Chemistry(charges=(0, 1), multiplicities=(1, 2), odd=True, parts=True, bare=True)
    assert ions.refusals([water(charge=1), water(multiplicity=2)], "mine") == ["", ""]
    (said,) = ions.refusals([water(charge=2)], "mine")
    assert said == "the molecule has the charge +2; the molecules of mine have +0, +1."
    assert ions.doubts([make_molecule("CH", METHANE[:2])]) == [""]
    assert Chemistry.from_state([*map(list, ions[:2]), *ions[2:]]) == ions


@pytest.mark.parametrize(
    "state",
    [7, [], [[0], [1], False, [1.0, 2.0], False], [[0.5], [1], False, [1.0, 2.0], False, False]],
)
def test_damaged_kinds_are_refused(state):
    with pytest.raises(InputError, match="the kinds of training molecules in the checkpoint"):
        Chemistry.from_state(state)


def _problems(qm9, indices) -> list[int]:
    """Molecules of QM9 that would be refused or warned of for their shape or electrons."""
    charges = qm9.charges[indices].long().numpy()
    geometry = Geometry.of(charges, qm9.positions[indices].double().numpy())
    low, high = QM9.chemistry.shortest
    shortest = shortest_distances(geometry)
    bad = (shortest < low) | (shortest > high) | ~in_one_part(geometry)
    bad |= (lacking_hydrogens(geometry) >= 0) | (charges.sum(1) % 2 == 1)
    return np.flatnonzero(bad).tolist()


def test_molecules_of_qm9_are_known(qm9):
    assert _problems(qm9, torch.arange(0, len(qm9.mask), 900)) == []


@pytest.mark.slow
def test_all_molecules_of_qm9_are_known(qm9):
    """None of the 130,831 is refused or warned of."""
    chunks = torch.arange(len(qm9.mask)).split(2000)
    assert sum(len(chunk) for chunk in chunks) == 130_831
    assert [i for chunk in chunks for i in _problems(qm9, chunk)] == []
    for chunk in torch.arange(0, len(qm9.mask), 10).split(2000):  # by the way of predictions
        molecules = [
            Molecule(qm9.charges[i][qm9.mask[i]].long(), qm9.positions[i][qm9.mask[i]].double())
            for i in chunk.tolist()
        ]
        assert not any(QM9.chemistry.refusals(molecules, "QM9"))
        assert not any(QM9.chemistry.doubts(molecules))


def test_missing_hydrogens_are_found(qm9):
    """Of molecules that lack all of them nearly all, of those that lack one the most."""
    indices = torch.arange(50, len(qm9.mask), 400)
    charges = qm9.charges[indices].long().numpy()
    positions = qm9.positions[indices].double().numpy()
    hydrogen = charges == 1
    one = hydrogen & (np.cumsum(hydrogen, 1) == 1)
    for removed, least in ((hydrogen, 0.99), (one, 0.8)):
        left = np.where(removed, 0, charges)
        several = removed.any(1) & ((left > 0).sum(1) > 1)
        found = lacking_hydrogens(Geometry.of(left[several], positions[several])) >= 0
        assert found.mean() > least
