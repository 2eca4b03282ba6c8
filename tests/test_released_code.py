"""The script that checks the paper's released code: refusals, and its figures where GIGP names a
checkout.
"""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.programs import run_here


def test_another_folder_is_refused(tmp_path, monkeypatch, capsys):
    done = run_here(monkeypatch, capsys, "scripts/check_released_code.py", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: {tmp_path}: not a checkout of the reference; architectures.baselines is missing.\n"
    )


@pytest.mark.skipif("GIGP" not in os.environ, reason="GIGP names no checkout of the released code")
def test_its_orbits_on_molecules_are_slabs():
    command = [sys.executable, "-m", "scripts.check_released_code", os.environ["GIGP"]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = {line[:70].strip(): float(line[70:]) for line in done.stdout.splitlines()}
    coordinate, _, radius, *_, turned, exchanged, ours = figures.values()
    assert max(coordinate, radius, ours) < 1e-5
    assert min(turned, exchanged) > 0.1
