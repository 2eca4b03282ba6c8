"""The record of a run: the state of the code, and values that are refused."""

import json
import subprocess
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest

from gigp.errors import InputError
from gigp.lab.runs import provenance
from gigp.lab.runs.record import Record, parse_record
from gigp.lab.runs.samples import read_samples, write_samples
from tests.records import example_record


@pytest.mark.parametrize("indent", [None, 2])
def test_what_is_written_is_read(indent: int | None) -> None:
    assert parse_record(example_record().to_json(indent), "it") == example_record()


def test_one_line_by_default() -> None:
    assert "\n" not in example_record().to_json()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["metrics", "homo", "test"], 1e300, r"metrics.homo.test: .*not 1e\+300"),
        (["metrics", "homo", "test"], float("nan"), "metrics.homo.test: .*not nan"),
        (["metrics", "homo", "test"], float("inf"), "metrics.homo.test: .*not inf"),
        (["metrics", "homo", "test"], "100", "metrics.homo.test: .*not '100'"),
        (["metrics", "homo", "best"], 1.0, "metrics.homo.best: "),
        (["metrics"], {}, "metrics: "),
        (["curve", "val/homo"], [1.0, 1e300], "curve.val/homo.1: "),
        (["data", "positions_std"], 1e300, "data: .*not a finite number"),
        (["seed"], -1, "seed: .*not -1"),
        (["seed"], 0.5, "seed: .*not 0.5"),
        (["git_dirty"], "no", "git_dirty: .*not 'no'"),
        (["comment"], "mine", "comment: "),
        (["schema_version"], 1, "schema_version 1; this version of gigp reads 3"),
    ],
)
def test_other_values_are_refused(path: list[str], value: object, message: str) -> None:
    content = json.loads(example_record().to_json())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(InputError, match=message) as error:
        parse_record(json.dumps(content), "runs/it/summary.json")
    assert str(error.value).startswith("runs/it/summary.json ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"seed": 0}', "\x00"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="line 3 of it is damaged") as error:
        parse_record(text, "line 3 of it")
    assert "\n" not in str(error.value)


def test_every_field_must_be_there() -> None:
    content = json.loads(example_record().to_json())
    for key in (field.name for field in fields(Record) if field.default is MISSING):
        with pytest.raises(InputError, match=f"{key}: Field required"):
            parse_record(json.dumps({k: v for k, v in content.items() if k != key}), "it")


def test_samples_are_small_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "test_samples.npz"
    error = np.array([[0.1, -1e6], [2000.0, np.nan]], dtype=np.float32)
    write_samples(path, {"error": error})
    read = read_samples(path)["error"]
    assert read.dtype == np.float16
    np.testing.assert_allclose(read, [[0.1, -65504], [2000, np.nan]], rtol=1e-3)
    write_samples(path, {"predicted": np.arange(10), "label": np.arange(10)})
    assert read_samples(path)["label"].tolist() == list(range(10))
    assert [file.name for file in tmp_path.iterdir()] == ["test_samples.npz"]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="cannot be read"):
        read_samples(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_samples(tmp_path / "other.npz")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a package and a record, both committed, in place of the project's."""
    (tmp_path / "gigp").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "gigp" / "records.py").write_text("code")
    (tmp_path / "results" / "summary.json").write_text("{}")
    (tmp_path / "README.md").write_text("no table yet")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -q -m first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "gigp" / "records.py"))
    return tmp_path


def test_changed_code_is_told(checkout: Path) -> None:
    assert provenance.collect_provenance()["git_dirty"] is False
    (checkout / "gigp" / "records.py").write_text("other code")
    assert provenance.collect_provenance()["git_dirty"] is True


def test_changed_records_and_their_tables_are_no_changed_code(checkout: Path) -> None:
    (checkout / "results" / "summary.json").write_text("[]")
    (checkout / "README.md").write_text("a table")
    assert provenance.collect_provenance()["git_dirty"] is False
