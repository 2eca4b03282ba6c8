"""What a record says of the code that made it."""

import subprocess
from pathlib import Path

import pytest

from gigp.training import record


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a package and a record, both committed, in place of the project's."""
    (tmp_path / "gigp").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "gigp" / "records.py").write_text("code")
    (tmp_path / "results" / "summary.json").write_text("{}")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -q -m first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    monkeypatch.setattr(record, "__file__", str(tmp_path / "gigp" / "records.py"))
    return tmp_path


def test_changed_code_is_told(checkout: Path) -> None:
    assert record.environment()["git_dirty"] is False
    (checkout / "gigp" / "records.py").write_text("other code")
    assert record.environment()["git_dirty"] is True


def test_changed_records_are_no_changed_code(checkout: Path) -> None:
    (checkout / "results" / "summary.json").write_text("[]")
    assert record.environment()["git_dirty"] is False
