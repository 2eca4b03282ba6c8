"""What holds for every format of molecules."""

import pytest

from gigp.errors import InputError
from gigp.lab.data.entries import read_entries
from gigp.lab.molecules.readers import MOLECULE_READERS
from tests.lab.molecules.readers.molecules import TEXTS, assert_water, problems, read


@pytest.mark.parametrize("name", TEXTS)
def test_every_format_gives_the_same_atoms(tmp_path, name):
    entries = read(tmp_path, name, TEXTS[name])
    assert_water(entries)
    assert entries[0].name == ("" if name in ("b.xyz", "c.extxyz") else "water")


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_ends_of_lines_and_byte_order_marks(tmp_path, name, end, encoding):
    (tmp_path / name).write_bytes(TEXTS[name].replace("\n", end).encode(encoding))
    assert_water(read_entries(tmp_path / name, MOLECULE_READERS))


@pytest.mark.parametrize("name", ["a.xyz", "d.sdf", "f.csv"])
@pytest.mark.parametrize("mark", ["\f", "\v", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_ends_of_lines_end_a_line(tmp_path, name, mark):
    """Form feeds and the like may stand in a name, where no molecule may be lost to them."""
    text = TEXTS[name].replace("water", f"water{mark}page 2")
    entries = read(tmp_path, name, text if name == "f.csv" else text * 2)
    assert_water(entries, 1 if name == "f.csv" else 2)
    assert entries[0].name == f"water{mark}page 2"


@pytest.mark.parametrize("name", ["a.xyz", "d.sdf", "f.csv"])
def test_names_of_any_script(tmp_path, name):
    entries = read(tmp_path, name, TEXTS[name].replace("water", "水 ß “x”"))
    assert entries[0].name == "水 ß “x”"


def test_names_that_are_not_utf8_stay_apart(tmp_path):
    """Replaced by one sign they would be one molecule of six atoms."""
    text = TEXTS["f.csv"].replace("water", "S\xe4ure")
    text += TEXTS["f.csv"].replace("water", "S\xf6ure").partition("\n")[2]
    (tmp_path / "in.csv").write_bytes(text.encode("latin-1"))
    entries = read_entries(tmp_path / "in.csv", MOLECULE_READERS)
    assert [entry.name for entry in entries] == ["Säure", "Söure"]
    assert_water(entries, 2)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("exponent", ["D+0", "d+0", "E+0", "*^0"])
def test_exponents_of_fortran(tmp_path, name, exponent):
    number = f"-.4692{exponent}"
    text = TEXTS[name].replace("   -0.4692", f"{number:>10}").replace("-0.4692", number)
    assert_water(read(tmp_path, name, text))


@pytest.mark.parametrize("name", ["a.xyz", "b.xyz", "d.sdf", "f.csv", "g.sdf"])
@pytest.mark.parametrize("symbol", ["D", "T", "h", "H1", "H12", "H1A", "H2'"])
def test_isotopes_and_labels(tmp_path, name, symbol):
    symbol = symbol[:3]  # as many letters as V2000 has
    text = TEXTS[name].replace("H ", f"{symbol} ").replace("H,", f"{symbol},")
    text = TEXTS[name].replace("H  ", f"{symbol:3}") if name == "d.sdf" else text
    assert symbol in text
    assert_water(read(tmp_path, name, text))


@pytest.mark.parametrize("symbol", ["H:", "@H", "Bq", "X", "H-", "Hx", "119", "0", "1.0", "²"])
def test_ghosts_and_unknown_elements(tmp_path, symbol):
    """Such as H: and @H, which have no nucleus in the programs that write them."""
    text = TEXTS["a.xyz"].replace("H 0.0 0.7572", f"{symbol} 0.0 0.7572")
    assert problems_of(tmp_path, "a.xyz", text) == [
        f"element {symbol} is unknown; write its symbol, as in Cl."
    ]


@pytest.mark.parametrize("number", ["1_0", "٣", "0x10", "0,5", "1.5-100", "--1", "1e", "e5", "."])
@pytest.mark.parametrize("name", ["a.xyz", "f.csv", "g.sdf"])
def test_what_is_no_number(tmp_path, name, number):
    """Python would take the first two."""
    text = TEXTS[name].replace(" 0.7572", f" {number}").replace(",0.7572", f',"{number}"')
    (error,) = problems_of(tmp_path, name, text)
    assert "should be" in error


def problems_of(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return problems(tmp_path / name)


@pytest.mark.parametrize("name", ["in.xyz", "in.sdf", "in.csv"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\0\xff\x93NUMPY\x01" * 9])
def test_files_that_hold_no_molecule(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = problems(tmp_path / name)
    assert found
    assert all(found)


def test_empty_files_are_named(tmp_path):
    (tmp_path / "in.csv").write_text("molecule,element,x,y,z\n,,,,\n")
    with pytest.raises(InputError, match=r"in\.csv is empty: it holds nothing to predict"):
        read_entries(tmp_path / "in.csv", MOLECULE_READERS)
