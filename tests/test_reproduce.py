"""`scripts/reproduce.py` knows which runs its tables lack."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


def reproduce(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/reproduce.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(("table", "runs"), [("orbits", 4 * 7 * 5), ("pools", 5 * 7 + 3 * 2 + 3 * 2 * 3 + 3 * 3)])
def test_lists_every_run_that_is_missing(table, runs, tmp_path):
    done = reproduce("--table", table, "--dry-run", f"results_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"{runs} runs, 0 with a record, {runs} missing." in done.stdout
    assert done.stdout.count("python train.py experiment=") == runs


def test_runs_with_a_record_are_left_out(tmp_path):
    folder = tmp_path / "orbits_parity_SO2_max_small_experiment=orbits_pools" / "seed3"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    done = reproduce("--table", "orbits", "--dry-run", f"results_dir={tmp_path}")
    assert "140 runs, 1 with a record, 139 missing." in done.stdout
    assert "target=parity pool=max\n" in done.stdout.replace("seed=3 ", "")


def test_unknown_table_names_the_tables():
    done = reproduce("--table", "qm8")
    assert done.returncode == 2
    assert "orbits" in done.stderr
