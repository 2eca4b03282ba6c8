"""Files and folders of inputs: what cannot be read is named, and nothing waits."""

import os
from pathlib import Path

import pytest

from gigp.errors import InputError, printable
from gigp.lab.data.entries import read_entries
from gigp.lab.molecules.readers import MOLECULE_READERS
from tests.lab.molecules.readers.molecules import TEXTS, XYZ


def test_folders_are_read_in_order_and_bad_files_listed(tmp_path):
    for name, text in {**TEXTS, "notes.txt": "3", "a2.xyz": "", "f0.csv": "smiles\nO\n"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.xyz").mkdir()
    (tmp_path / "._a.xyz").write_bytes(b"\0\5\x16\7")  # what macOS leaves beside a file
    entries = read_entries(tmp_path, MOLECULE_READERS)
    assert [Path(entry.file).name for entry in entries] == sorted([*TEXTS, "a2.xyz", "f0.csv"])
    assert [entry.number for entry in entries if entry.error] == [0, 0]


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.xyz")
    with pytest.raises(InputError, match=r"a\.xyz is a pipe or device"):
        read_entries(tmp_path / "a.xyz", MOLECULE_READERS)
    (tmp_path / "b.xyz").write_text(XYZ)
    (tmp_path / "c.xyz").symlink_to(tmp_path / "gone.xyz")
    errors = [entry.error for entry in read_entries(tmp_path, MOLECULE_READERS)]
    assert "is a pipe" in errors[0]
    assert errors[1] == ""
    assert "No such file" in errors[2]


def test_folders_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=f"cannot read input={tmp_path}: Permission denied"):
        read_entries(tmp_path, MOLECULE_READERS)


def test_names_longer_than_the_disk_allows(tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        read_entries(tmp_path / f"{'x' * 300}.xyz", MOLECULE_READERS)


def test_what_is_printed_moves_no_cursor():
    name = "a\x1b[31m\x07\x9b2J\u2028\u202eb\r\n\udcff 水\tß"
    assert printable(name) == r"a\x1b[31m\x07\x9b2J\u2028\u202eb\r\n\udcff 水" + "\tß"
