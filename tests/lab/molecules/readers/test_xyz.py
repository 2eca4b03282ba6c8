"""Frames of .xyz files: plain, extended as ASE reads them, and as QM9's own."""

import pytest

from gigp.lab.molecules.readers.comment import find_name, parse_comment
from tests.lab.molecules.readers.molecules import EXTENDED, WATER, XYZ, assert_water, errors, read


def rows(order: str, *extra: str) -> str:
    """Rows of water with the columns e (element), p (position), and others in place."""
    found = []
    for e, x, y, z in WATER:
        parts = {"e": e, "p": f"{x} {y} {z}", "Z": {"O": "8", "H": "1"}[e]}
        found.append(" ".join(parts.get(part, part) for part in order.split()))
    return "\n".join(found) + "\n"


@pytest.mark.parametrize(
    ("comment", "order"),
    [
        ("Properties=charge-mulliken:R:1:species:S:1:pos:R:3", "0.1 e p"),
        ("Lattice='9 0 0 0 9 0 0 0 9' Properties='pos:R:3:species:S:1'", "p e"),
        ('Properties="pos:R:3:species:S:1" title="a = b"', "p e"),
        ("Properties={pos:R:3:species:S:1}", "p e"),
        ("Properties = pos:R:3:species:S:1", "p e"),
        (r"name='it\'s' Properties=pos:R:3:species:S:1", "p e"),
        ('name="" Properties=pos:R:3:species:S:1', "p e"),
        ("periodic Properties=pos:R:3:Z:I:1 energy=-76.4", "p Z"),
        ("Properties=species:S:1:Z:I:1:pos:R:3", "X Z p"),  # as in ASE, the number counts
        ('note="Properties=pos:R:3:species:S:1" energy=-76.4', "e p"),
        ("water, from nowhere = here", "e p"),
    ],
)
def test_comments_are_read_as_ase_does(tmp_path, comment, order):
    text = f"3\n{comment}\n{rows(order)}"
    assert_water(read(tmp_path, "in.extxyz", text * 2), 2)


def test_fields_of_a_comment():
    comment = r"""Lattice="9 0 0" energy=-76.4 pbc='F F F' a\ b=c flag "two words"=[1 2] x=y=z"""
    assert parse_comment(comment) == {
        "Lattice": "9 0 0",
        "energy": "-76.4",
        "pbc": "F F F",
        "a b": "c",
        "flag": "T",
        "two words": "1 2",
        "x": "y=z",
    }
    assert parse_comment("") == parse_comment("  ") == {}


def test_fields_come_with_the_molecule(tmp_path):
    (entry,) = read(tmp_path, "in.xyz", XYZ.replace("water", "energy=-76.4 water"))
    assert entry.content.fields == {"energy": "-76.4", "water": "T"}


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


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        ("water", "water"),
        ("water dimer", "water dimer"),
        ("water energy=-76.4 charge=0", "water"),
        ('energy=-76.4 name="water 1" charge=0', "water 1"),
        ("Title=w energy=-76.4", "w"),
        ('Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3', ""),
        ("", ""),
    ],
)
def test_a_name_is_not_the_whole_comment(comment, name):
    assert find_name(comment) == name


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (XYZ.replace("O ", "Xx "), "element Xx is unknown"),
        (XYZ.replace("0.1173", "inf"), "the position of atom 1 is not finite: [0.0, 0.0, inf]."),
        (
            XYZ.replace("0.1173", "0.11.73"),
            "line 6: 'O 0.0 0.0 0.11.73' should be an element and its position x y z.",
        ),
        (XYZ.replace(" 0.1173", ""), "line 6: 'O 0.0 0.0' should be"),
        (XYZ.replace("0.7572", "0.0"), "two atoms lie 0 Angstrom apart"),
        (XYZ.replace("3\nwater", "4\nwater"), "line 4: the frame states 4 atoms, but has 3."),
        (XYZ.replace("3\nwater", "2\nwater"), "line 4: the frame states 2 atoms, but more follow."),
        (XYZ.replace("water\n", ""), "has 2 (the second line of a frame is a comment)."),
        (EXTENDED.replace("3\nP", "2\nP"), "the frame states 2 atoms, but more follow."),
        (EXTENDED.replace("pos:R", "place:R"), "names no columns species (or Z) and pos"),
        (EXTENDED.replace("S:1", "S:one"), "'one' is not a valid width"),
        (
            XYZ.replace("3\nwater", "three\nwater"),
            "line 4: expected the number of atoms, not 'three'.",
        ),
        (XYZ.replace("3\nwater", "9" * 5000 + "\nwater"), "is not a number of atoms."),
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
    assert len(entries[1].error) < 300
    assert [entries[0].name, entries[2].name] == ["atom", "hydrogen"]
