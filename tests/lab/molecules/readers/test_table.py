"""Molecules of .csv files, as programs and spreadsheets write them."""

import tracemalloc

import pytest

from gigp.errors import InputError
from gigp.lab.molecules.readers.table import read_csv
from tests.lab.molecules.readers.molecules import CSV, WATER, assert_water, errors, read

HEADER, ROWS = CSV.split("\n", 1)


def test_columns_in_any_order(tmp_path):
    """Others beside them, rows mixed; a bad row costs its own molecule."""
    rows = [
        f"{e},{name},{z},{y},{x},0.5" for e, x, y, z in WATER for name in ("one", "two", "three")
    ]
    rows[4] = rows[4].replace("-0.4692", "")
    text = "\n".join(["Element, Molecule, z, y, x, charge", *rows, "H,four,0,0,0"])
    entries = read(tmp_path, "in.csv", text)
    assert [entry.name for entry in entries] == ["one", "two", "three", "four"]
    assert [bool(error) for error in errors(entries)] == [False, True, False, False]
    expected = "line 6: 'H, 0.0, 0.7572, ' should be an element and its position x, y, z."
    assert entries[1].error == expected
    assert_water([entries[0], entries[2]], 2)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("comma", [False, True])
@pytest.mark.parametrize("first", ["", "sep={}\n", "\n\n", "{0}{0}{0}{0}\n"])
def test_delimiters_of_spreadsheets(tmp_path, delimiter, comma, first):
    """With decimal commas, as many countries write them."""
    text = CSV.replace(",", delimiter)
    text = text.replace(".", ",") if comma else text
    assert_water(read(tmp_path, "in.csv", first.format(delimiter) + text))


@pytest.mark.parametrize("empty", [",,,,\n", "\n", " , ,,,\n", ",,,,,,\n", '"","","","",""\n'])
def test_rows_without_text_are_no_molecules(tmp_path, empty):
    assert_water(read(tmp_path, "in.csv", HEADER + "\n" + empty + ROWS + empty * 3))


def test_merged_cells_are_ambiguous(tmp_path):
    """A spreadsheet keeps the text of merged cells in the first of them."""
    lines = ROWS.splitlines()
    merged = [lines[0], *(line.replace("water", "") for line in lines[1:])]
    other = ROWS.replace("water", "other")
    entries = read(tmp_path, "in.csv", "\n".join([HEADER, *merged, other]))
    assert [entry.name for entry in entries] == ["water", "other"]
    assert "line 3: no name in the column molecule" in entries[0].error
    assert_water(entries[1:])
    entries = read(tmp_path, "in.csv", f"{HEADER}\n,H,0,0,0\n{ROWS}")
    assert [bool(error) for error in errors(entries)] == [True, False]


@pytest.mark.parametrize("row", ["water,H,0,0,0,7572,-0,4692", "2,3-butanol,H,0,0,0"])
def test_more_cells_than_the_header(tmp_path, row):
    """Of decimal commas or a comma in a name the first numbers would be taken for positions."""
    entries = read(tmp_path, "in.csv", f"{CSV.replace('water', 'good')}{row}\n")
    assert "has more cells than the header" in entries[1].error
    assert_water(entries[:1])


def test_trailing_delimiters_are_no_cells(tmp_path):
    assert_water(read(tmp_path, "in.csv", HEADER + "\n" + ROWS.replace("\n", ",\n")))


def test_quotes(tmp_path):
    """A quote that is not closed would swallow all that follows."""
    (entry,) = read(tmp_path, "in.csv", CSV.replace("water", '"2,3-""water"""'))
    assert entry.name == '2,3-"water"'
    with pytest.raises(InputError, match=r"line 5: unexpected end of data; check the quotes"):
        read(tmp_path, "in.csv", f'{HEADER}\n{ROWS}"open,H,0,0,0\n')


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "id,SMILES",
            r"lacks the columns element, x, y, z\. A SMILES states which atoms",
        ),
        ("molecule,element,x,y", r"lacks the column z\. Give one row"),
        ("molecule;element;x;y", r"lacks the column z\. Give one row"),
        ("molecule,element,x,y,z,X", "has the column x twice"),
    ],
)
def test_columns_that_are_missing_or_double(tmp_path, header, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, "in.csv", f"{header}\n1,C,0,0,0,0\n")


def test_a_table_takes_at_most_five_bytes_for_each_of_its_own(tmp_path, monkeypatch):
    """All of it is read before the first molecule is known."""
    rows = (f"gdb_{i // 9},{'CH'[i % 2]},{i % 9}.123456,-{i % 7}.5,0.25\n" for i in range(3000))
    (path := tmp_path / "in.csv").write_text("molecule,element,x,y,z\n" + "".join(rows))
    monkeypatch.setattr("gigp.lab.data.text.BLOCK", 4096)  # small as the file
    next(read_csv(path))  # what is made once
    tracemalloc.start()
    next(read_csv(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * path.stat().st_size
