"""Records of .sdf files: V2000, V3000, data, and what the delimiter or flag leaves out."""

import re

import pytest

from tests.lab.molecules.readers.molecules import SDF, V3000, assert_water, errors, read

DATA = "> 25 <energy> (id 7)\n-76.4\neV\n\n>  <name with spaces>\nx\n\n"
FLAT = SDF.replace("0.1173", "0.0000").replace("-0.4692", " 0.4692").replace(" 0.4692", " 0.0000")
UNFLAGGED = "  ACD/Labs"


def flag(record: str, text: str) -> str:
    """The record with another second line."""
    return record.replace("  program 01010000003D", text)


@pytest.mark.parametrize("first", [SDF, V3000])
@pytest.mark.parametrize("between", ["", "\n", "\n\n", DATA, "$$$$\n", f"{DATA}$$$$\n\n"])
def test_no_record_is_lost(tmp_path, first, between):
    """With and without delimiters, data and names."""
    for second in (SDF, SDF.replace("water", ""), flag(SDF, "").replace("water", ""), V3000):
        entries = read(tmp_path, "in.sdf", first + between + second)
        assert_water(entries, 2)
        assert entries[1].name == second.partition("\n")[0]


def test_a_record_without_end_does_not_swallow_the_next(tmp_path):
    assert_water(read(tmp_path, "in.sdf", SDF.replace("M  END\n", "") + SDF), 2)


def test_data_come_with_the_molecule(tmp_path):
    (entry,) = read(tmp_path, "in.sdf", f"{SDF}{DATA}$$$$\n")
    assert entry.content.fields == {"energy": "-76.4\neV", "name with spaces": "x"}


@pytest.mark.parametrize("junk", ["junk\n", "a\nb\nc\nd\ne\n", "value\n\n"])
def test_what_is_no_record_is_listed(tmp_path, junk):
    entries = read(tmp_path, "in.sdf", f"{SDF}{junk}$$$$\n{SDF}")
    assert_water([entries[0], entries[-1]], 2)
    assert len(entries) == 3
    assert re.match("line (11|14): ", entries[1].error)


@pytest.mark.parametrize("end", ["$$$$\n", ""])
def test_blank_lines_within_a_value_belong_to_it(tmp_path, end):
    data = "> <comment>\nfirst part\n\nsecond part\n\n> <energy>\n-40.5\n\n"
    entries = read(tmp_path, "in.sdf", f"{SDF}{data}{end}{SDF}")
    assert_water(entries, 2)
    expected = {"comment": "first part\n\nsecond part", "energy": "-40.5"}
    assert entries[0].content.fields == expected


@pytest.mark.parametrize("title", ["", "methane"])
@pytest.mark.parametrize("before", ["", "\n"])
def test_a_counts_line_without_a_stamp_is_the_fourth(tmp_path, title, before):
    text = SDF.replace("            999 V2000", "  0  0  0  0").replace("water", title)
    assert_water(read(tmp_path, "in.mol", text))
    if before:
        assert_water(read(tmp_path, "in.sdf", f"{SDF}$$$$\n{text}"), 2)


@pytest.mark.parametrize(
    ("second_line", "record", "good"),
    [
        (UNFLAGGED, FLAT, False),  # no flag means 2D
        ("", FLAT, False),
        ("  program 01010000002D", FLAT, False),
        ("  program 01010000003D", FLAT, True),  # a planar molecule
        ("  program 01010000002D", SDF, True),  # z is not 0: the flag is wrong
        (UNFLAGGED, SDF, True),
        (UNFLAGGED, V3000, True),
    ],
)
def test_drawings_are_told_from_positions(tmp_path, second_line, record, good):
    (entry,) = read(tmp_path, "in.sdf", flag(record, second_line))
    if good:
        assert entry.error == ""
    else:
        assert "line 2: a 2D drawing has no positions in space" in entry.error


def test_a_single_atom_lies_anywhere(tmp_path):
    atom = "atom\n\n\n  1  0  0  0  0  0            999 V2000\n"
    atom += f"{0:10.4f}{0:10.4f}{0:10.4f} N   0  0\nM  END\n"
    (entry,) = read(tmp_path, "in.sdf", atom)
    assert entry.content.charges.tolist() == [7]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (SDF.replace(" O ", " Xx"), "element Xx is unknown"),
        (SDF.replace("  3  2", " 30  2"), "should be x, y, z and an element"),
        (SDF.replace("  3  2", "    2"), "should be a V2000 counts line"),
        (SDF.replace("  3  2", " \u0663  2"), "should be a V2000 counts line"),
        (SDF.replace("0.1173", "0.1.73"), "line 16: '0.0000    0.0000    0.1.73 O"),
        ("\n".join([*SDF.splitlines()[:5], ""]), "the record states 3 atoms, but has 1."),
        ("water\n", "three lines of header and a counts line"),
        (V3000.replace("COUNTS 3", "COUNTS 4"), "the record states 4 atoms, but has 3."),
        (V3000.replace("0.7572", "0.7.572"), "should be a number, an element, and x y z."),
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


def ethanol(bonds: str, more: str = "", elements: str = "CCO") -> str:
    """Its heavy atoms alone."""
    places = [(0.0, 0.0, 0.0), (1.5, 0.0, 0.1), (2.0, 1.3, 0.0)]
    atoms = "".join(
        f"{x:10.4f}{y:10.4f}{z:10.4f} {e:3} 0  0\n"
        for e, (x, y, z) in zip(elements, places, strict=True)
    )
    counts = f"  3{len(bonds.splitlines()):3}  0  0  0  0            999 V2000"
    return f"x\n  program 01010000003D\n\n{counts}\n{atoms}{bonds}{more}M  END\n"


@pytest.mark.parametrize(
    ("record", "missing"),
    [
        (ethanol("  1  2  1  0\n  2  3  1  0\n"), True),
        (ethanol("  1  2  4  0\n  2  3  4  0\n"), True),
        (ethanol("  1  2  1  0\n  2  3  1  0\n", "M  CHG  2   1   1   2  -1\n"), True),
        (ethanol("  1  2  2  0\n  2  3  2  0\n", elements="OCO"), False),
        (ethanol(""), None),  # nothing is known of its bonds
        (ethanol("  1  2  1  0\n  2  x  1  0\n"), None),
        (V3000.replace(" O 0.0", " C 0.0").replace(" H ", " O "), True),
        (V3000, False),
        (V3000.replace("M  V30 2 1 1 3\n", ""), True),  # water with one hydrogen
        (SDF, False),
    ],
)
def test_hydrogens_that_are_left_out(tmp_path, record, missing):
    """Such a molecule would be predicted as bare atoms; None: bonds do not tell."""
    (entry,) = read(tmp_path, "in.sdf", record)
    assert entry.error == ""
    said = entry.content.open_valences
    assert said is None if missing is None else bool(said) == missing
    if missing:
        assert re.match(r"the bonds of atom \d \(.\) leave room for hydrogens", said)


@pytest.mark.parametrize(
    ("record", "charge"),
    [
        (SDF, None),
        (SDF.replace("M  END", "M  CHG  2   1   1   2  -1\nM  END"), None),  # a zwitterion
        (SDF.replace("M  END", "M  CHG  2   1   1   2   1\nM  END"), "+2"),
        (V3000.replace("MASS=2", "CHG=-1"), "-1"),
        (SDF.replace("M  END", "M  CHG  1   1   x\nM  END"), None),
    ],
)
def test_the_charge_of_an_ion(tmp_path, record, charge):
    (entry,) = read(tmp_path, "in.sdf", record)
    assert_water([entry])
    assert entry.content.fields.get("charge") == charge


def test_records_of_public_reports(tmp_path):
    """Data right before the delimiter, blank lines with a space, counts without a space."""
    many = 120
    line = "".join(f"{i:10.4f}{0:10.4f}{0:10.4f} H   0  0\n" for i in range(many))
    glued = f"m\n  program 01010000003D\n\n{many:3}100  0  0  0  0            999 V2000\n{line}"
    entries = read(
        tmp_path,
        "in.sdf",
        f"{SDF}> <a>\n1\n$$$$\n{SDF}> <a>\n1\n \n> <b>\n2\n \n$$$$\n{SDF}\n> <a>\n1\n\n$$$$\n"
        f"{glued}M  END\n$$$$\n\n  Ketcher 06242214552D\n\n  0  0  0  0  0 999 V2000\nM  END\n",
    )
    assert [entry.content.fields for entry in entries[:3]] == [
        {"a": "1"},
        {"a": "1", "b": "2"},
        {"a": "1"},
    ]
    assert [bool(error) for error in errors(entries)] == [False] * 4 + [True]
    assert len(entries[3].content.charges) == many
    assert "0 atoms" in entries[4].error
