"""Symmetry of trained models is measured on real runs, with an exact control, and becomes a
table.
"""

import runpy
import sys

import pandas as pd
import pytest
import torch

from gigp.lab.images.clouds import turn_images
from gigp.lab.study.symmetry import measure_invariance
from gigp.lab.training.run import run
from tests.conftest import ROOT, tiny

TINY = tiny(epochs=1, train=75, val=20, test=20)


@pytest.mark.slow
def test_molecules_have_a_row_for_every_target(configure, tmp_path, qm9):
    """T(3) is not invariant under rotation; SE(3) on centered molecules is but for the
    lifts.
    """
    for group in ("T3", "SE3"):
        run(configure(f"group={group}", "target=[homo,r2]", *TINY, f"name={group}"))
    (homo, r2), none = measure_invariance(
        tmp_path / "runs" / "T3" / "seed0", turns=2, clouds=20, step=90
    )
    assert none == []
    assert (homo["unit"], r2["unit"], homo["motion"]) == ("meV", "bohr^2", "random turn and shift")
    assert homo["relative_change"] > 1e-3
    assert homo["error"] > 1  # in meV, not in eV
    (turned_homo, _), _ = measure_invariance(
        tmp_path / "runs" / "SE3" / "seed0", turns=2, clouds=20, step=90
    )
    assert turned_homo["motion"] == "random turn"


def test_digits_turn_exactly_and_resampled(configure, tmp_path, digits, monkeypatch, capsys):
    run(configure("dataset=rotmnist", "dataset.source=embedded", "pool=mean", *TINY, "name=digits"))
    folder = tmp_path / "runs" / "digits" / "seed0"
    script, out = str(ROOT / "scripts" / "check_invariance.py"), tmp_path / "studies"
    command = [
        script,
        str(folder),
        "--clouds",
        "20",
        "--turns",
        "1",
        "--step",
        "45",
        "--out",
        str(out),
    ]
    monkeypatch.setattr(sys, "argv", command)
    for _ in range(2):
        runpy.run_path(script, run_name="__main__")
    rows = pd.read_csv(out / "rotation_angle.csv")
    assert list(rows["angle"]) == list(range(0, 360, 45))
    invariance = pd.read_csv(out / "invariance.csv")
    assert list(invariance["motion"]) == ["turn by 90°, exact", "random turn, resampled"]
    assert rows["error"][0] == pytest.approx(invariance["error"][0], rel=1e-3)
    assert "turn by 90°, exact" in capsys.readouterr().out


def test_turns_by_ninety_degrees_are_exact():
    image = torch.rand(1, 28, 28)
    assert torch.equal(turn_images(image, torch.tensor(360.0 - 90)), torch.rot90(image, -1, (1, 2)))
    resampled = turn_images(image, torch.tensor([90.0]))
    torch.testing.assert_close(resampled, torch.rot90(image, 1, (1, 2)), atol=1e-4, rtol=0)
