"""Molecules from files: every format gives the same atoms, and what is broken is named without harm
to the rest.
"""

import pytest
import torch

from gigp.errors import InputError
from gigp.prediction.entries import read_entries
from gigp.prediction.molecules import MOST_ATOMS, READERS, make_molecule

WATER = [("O", 0.0, 0.0, 0.1173), ("H", 0.0, 0.7572, -0.4692), ("H", 0.0, -0.7572, -0.4692)]
XYZ = "3\nwater\n" + "".join(f"{e} {x} {y} {z}\n" for e, x, y, z in WATER)
EXTENDED = '3\nProperties=pos:R:3:species:S:1:forces:R:3 Lattice="9 0 0 0 9 0 0 0 9"\n' + "".join(
    f"{x} {y} {z} {e} 0.1 0.2 0.3\n" for e, x, y, z in WATER
)
NUMBERS = "3\n\n8 0 0 .1173\n1 0 .7572 -.4692\n1 0 -7.572*^-1 -.4692\n"
ATOMS = "".join(f"{x:10.4f}{y:10.4f}{z:10.4f} {e:3} 0  0  0  0  0  0\n" for e, x, y, z in WATER)
HEADER = "water\n  program 01010000003D\n\n  3  2  0  0  0  0            999 V2000\n"
SDF = f"{HEADER}{ATOMS}  1  2  1  0\n  1  3  1  0\nM  END\n"
CSV = "molecule,element,x,y,z\n" + "".join(f"water,{e},{x},{y},{z}\n" for e, x, y, z in WATER)
TEXTS = {
    "a.xyz": XYZ,
    "b.xyz": EXTENDED,
    "c.extxyz": NUMBERS,
    "d.sdf": SDF + "$$$$\n",
    "e.mol": SDF,
    "f.csv": CSV,
}


def read(tmp_path, name, text):
    """Entries of a file with this text."""
    (tmp_path / name).write_text(text)
    return read_entries(tmp_path / name, READERS)


def errors(entries):
    return [entry.error for entry in entries]


def problems(path):
    """What is said against a file as a whole, or against each of its entries."""
    try:
        return errors(read_entries(path, READERS))
    except InputError as error:
        return [str(error)]


@pytest.mark.parametrize("name", TEXTS)
def test_every_format_gives_the_same_atoms(tmp_path, name):
    (entry,) = read(tmp_path, name, TEXTS[name])
    assert entry.error == ""
    assert entry.name == {"b.xyz": EXTENDED.splitlines()[1], "c.extxyz": ""}.get(name, "water")
    assert entry.content.charges.tolist() == [8, 1, 1]
    expected = torch.tensor([atom[1:] for atom in WATER], dtype=torch.float64)
    assert torch.equal(entry.content.positions, expected)


@pytest.mark.parametrize("name", TEXTS)
def test_windows_line_ends_and_byte_order_mark(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + TEXTS[name].replace("\n", "\r\n").encode())
    (entry,) = read_entries(tmp_path / name, READERS)
    assert entry.error == ""


def test_files_of_qm9_itself(tmp_path):
    """Charges after the positions, exponents of its own, and three lines after the atoms."""
    text = (
        "3\ngdb 3\t799.58812\t437.90386\nO\t-0.0343604951\t 0.9775395708\t "
        "7.6015923*^-3\t-0.589706\nH\t 0.0647664923\t 0.0205721989\t 1.5346341*^-3\t 0.294853\nH\t "
        "0.8717903737\t 1.3007924048\t "
        "6.9312*^-6\t0.294833\n1671.4222\t3803.6305\t3907.698\nO\tO\t\nInChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
    )
    first, second = read(tmp_path, "dsgdb9nsd_000003.xyz", text + XYZ)
    assert first.content.charges.tolist() == [8, 1, 1]
    assert first.content.positions[0, 2] == 7.6015923e-3
    assert second.name == "water"


def test_folders_are_read_in_order_and_bad_files_listed(tmp_path):
    for name, text in {**TEXTS, "notes.txt": "3", "a2.xyz": "", "f0.csv": "smiles\nO\n"}.items():
        (tmp_path / name).write_text(text)
    entries = read_entries(tmp_path, READERS)
    assert [entry.file.rsplit("/")[-1] for entry in entries] == sorted([*TEXTS, "a2.xyz", "f0.csv"])
    assert [entry.number for entry in entries if entry.error] == [0, 0]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            XYZ.replace("O ", "Cl "),
            "element Cl is unknown to models of QM9, which know H, C, N, O, F.",
        ),
        (XYZ.replace("O ", "17 "), "element 17 is unknown"),
        (XYZ.replace("O ", "O1 "), "element O1 is unknown"),
        (XYZ.replace("0.1173", "inf"), "the position of atom 1 is not finite: [0.0, 0.0, inf]."),
        (
            XYZ.replace("0.1173", "0.11.73"),
            "line 6: 'O 0.0 0.0 0.11.73' should be an element and its position x y z.",
        ),
        (XYZ.replace(" 0.1173", ""), "line 6: 'O 0.0 0.0' should be"),
        (XYZ.replace("0.7572", "0.0"), "two atoms lie 0 Angstrom apart"),
        (XYZ.replace("3\nwater", "4\nwater"), "line 4: the frame says 4 atoms, but has 3."),
        (XYZ.replace("3\nwater", "2\nwater"), "line 4: the frame says 2 atoms, but more follow."),
        (XYZ.replace("water\n", ""), "has 2 (the second line of a frame is a comment)."),
        (EXTENDED.replace("3\nP", "2\nP"), "the frame says 2 atoms, but more follow."),
        (EXTENDED.replace("pos:R", "place:R"), "names no columns species (or Z) and pos"),
        (
            XYZ.replace("3\nwater", "three\nwater"),
            "line 4: the number of atoms should stand here, not 'three'.",
        ),
        ("0\nnothing\n", "0 atoms; a molecule has 1 to"),
    ],
)
def test_a_broken_frame_costs_no_other(tmp_path, frame, message):
    # a frame without its number looks like further lines of the one before, which shall not suffer
    hydrogen = "2\nhydrogen\nH 0 0 0\nH 0 0 .74\n"
    entries = read(tmp_path, "in.xyz", "1\natom\nH 0 0 0\n" + frame + hydrogen)
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [bool(error) for error in errors(entries)] == [False, True, False]
    assert message in entries[1].error
    assert [entries[0].name, entries[2].name] == ["atom", "hydrogen"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (SDF.replace(" O ", " Cl"), "element Cl is unknown"),
        (SDF.replace("3D", "2D"), "a 2D drawing has no positions in space"),
        (SDF.replace("V2000", "V3000"), "in the V3000 format; write it as V2000"),
        (SDF.replace("  3  2", " 30  2"), "should be x, y, z and an element"),
        (SDF.replace("  3  2", "    2"), "should be a V2000 counts line"),
        (SDF.replace("0.1173", "0.1.73"), "line 16: '    0.0000    0.0000    0.1.73 O"),
        ("\n".join([*SDF.splitlines()[:5], ""]), "the record says 3 atoms, but ends after 1."),
        ("water\n", "three lines of header and a counts line"),
        (
            SDF.replace("0.7572", "0.0000").replace("0.4692", "0.0000").replace("0.1173", "0.0000"),
            "0 Angstrom apart",
        ),
    ],
)
def test_a_broken_record_costs_no_other(tmp_path, record, message):
    entries = read(tmp_path, "in.sdf", f"{SDF}$$$$\n{record}$$$$\n{SDF}$$$$\n")
    assert [bool(error) for error in errors(entries)] == [False, True, False]
    assert message in entries[1].error


def test_molecules_of_a_table(tmp_path):
    """Columns in any order, others beside them, rows mixed; a bad row costs its own molecule."""
    rows = [
        f"{e},{name},{z},{y},{x},0.5" for e, x, y, z in WATER for name in ("one", "two", "three")
    ]
    rows[4] = rows[4].replace("-0.4692", "")
    entries = read(
        tmp_path, "in.csv", "\n".join(["Element, Molecule, z, y, x, charge", *rows, "H,four,0,0,0"])
    )
    assert [entry.name for entry in entries] == ["one", "two", "three", "four"]
    assert [bool(error) for error in errors(entries)] == [False, True, False, False]
    assert (
        entries[1].error
        == "line 6: 'H, 0.0, 0.7572, ' should be an element and its position x, y, z."
    )
    assert entries[0].content.positions[1].tolist() == list(WATER[1][1:])


def test_a_smiles_has_no_positions(tmp_path):
    with pytest.raises(
        InputError,
        match=r"lacks the columns molecule, element, x, y, z\. A SMILES says which atoms",
    ):
        read(tmp_path, "in.csv", "id,SMILES\n1,CCO\n")
    with pytest.raises(InputError, match=r"lacks the column z\. Give one row"):
        read(tmp_path, "in.csv", "molecule,element,x,y\n1,C,0,0\n")


@pytest.mark.parametrize("name", ["in.xyz", "in.sdf", "in.csv"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\0\xff\x93NUMPY\x01" * 9])
def test_files_that_hold_no_molecule(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = problems(tmp_path / name)
    assert found
    assert all(found)


def test_limits():
    assert (
        len(
            make_molecule(["h"] * MOST_ATOMS, [[float(i), 0, 0] for i in range(MOST_ATOMS)]).charges
        )
        == MOST_ATOMS
    )
    with pytest.raises(
        InputError, match=f"{MOST_ATOMS + 1} atoms; a molecule has 1 to {MOST_ATOMS}"
    ):
        make_molecule(["H"] * (MOST_ATOMS + 1), [[float(i), 0, 0] for i in range(MOST_ATOMS + 1)])
