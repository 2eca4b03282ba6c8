"""Tables come from records: what is committed is what the records give, and a changed record is noticed."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def make_tables(root, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/make_tables.py", "--root", str(root), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """README and records as committed."""
    files = subprocess.run(
        ["git", "ls-files", "README.md", "results"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_committed_tables_are_what_the_records_give(copy):
    done = make_tables(copy, "--check")
    assert done.returncode == 0, done.stderr


def test_a_changed_record_is_noticed(copy):
    path = next(copy.glob("results/runs/*/seed*/summary.json"))
    record = json.loads(path.read_text())
    for metric in record["metrics"].values():
        metric["test"] *= 2
    path.write_text(json.dumps(record))
    done = make_tables(copy, "--check")
    assert done.returncode == 1
    assert "README.md" in done.stderr
    assert make_tables(copy).returncode == 0
    assert make_tables(copy, "--check").returncode == 0


def test_mean_and_spread_over_seeds(copy):
    first = next(copy.glob("results/runs/*/seed0/summary.json"))
    record = json.loads(first.read_text())
    (name,) = record["metrics"]
    for seed, value in ((0, 10.0), (7, 14.0)):
        record["seed"], record["metrics"][name]["test"] = seed, value
        path = first.parents[1] / f"seed{seed}" / "summary.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record))
    assert make_tables(copy).returncode == 0
    assert "| 12 ± 2.8 | 2 |" in (copy / "README.md").read_text()
