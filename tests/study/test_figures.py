"""Figures are drawn from records, small, and with their text as text."""

import numpy as np
import pandas as pd
import pytest

from gigp.study.experiments import read_experiments
from gigp.study.figures.learned import draw_learned, draw_learned_on, read_learned
from gigp.study.figures.records import draw_angles, draw_cost, draw_curves, draw_effects
from gigp.study.report import family
from gigp.study.runs import read_records
from tests.conftest import DATA
from tests.study.synthetic import write_runs

LARGEST = 150_000  # bytes
EXPERIMENTS = read_experiments()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Records of QM9 from scratch, of digits, and of an ablation."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("qm9_controls", "rotmnist_pools", "ablation_orbits", "orbits_pools"):
        noise = np.random.default_rng(0)
        write_runs(
            folder, EXPERIMENTS[name].cells("small"), lambda c, t, n=noise: 1 + n.random() / 10
        )
    return folder


def records(runs, *members: str) -> pd.DataFrame:
    return family(read_records(runs, EXPERIMENTS), list(members), EXPERIMENTS)


def drawn(path) -> str:
    text = path.read_text()
    assert text.startswith("<?xml")
    assert "<text" in text
    assert len(text) < LARGEST
    return text


def test_curves_have_a_panel_for_every_setting_and_target(runs, tmp_path):
    path = tmp_path / "curves.svg"
    assert draw_curves(records(runs, "qm9_controls", "orbits_pools"), runs, path)
    text = drawn(path)
    for title in (
        "qm9_controls, 1,000 x 20<",
        "orbits_pools, 1,000 x 20, parity<",
        "gigp (5)",
        "validation loss",
    ):
        assert title in text


def test_effects_name_both_sides(runs, tmp_path):
    path = tmp_path / "effects.svg"
    assert draw_effects(records(runs, "ablation_orbits"), path)
    text = drawn(path)
    assert text.index("orbits=5 minus gigp") < text.index("orbits=15 minus gigp")


def test_cost(runs, tmp_path):
    path = tmp_path / "cost.svg"
    assert draw_cost(records(runs, "qm9_controls", "rotmnist_pools"), path)
    assert "rotmnist_pools" in drawn(path)


def test_learned(runs, tmp_path, qm9, digits):
    learned = read_learned(runs, EXPERIMENTS)
    assert draw_learned(learned, tmp_path / "learned.svg")
    assert "response (5)" in drawn(tmp_path / "learned.svg")
    assert draw_learned_on(learned, tmp_path / "on.svg", DATA, 100_000)
    text = drawn(tmp_path / "on.svg")
    assert "atoms by the radius" in text
    assert "pixels by the radius" in text


def test_nothing_is_drawn_of_nothing(runs, tmp_path):
    none = records(runs, "qm9_larger")
    path = tmp_path / "none.svg"
    assert not draw_curves(none, runs, path)
    assert not draw_effects(none, path)
    assert not draw_cost(none, path)
    assert not draw_learned({}, path)
    assert not draw_learned_on({}, path, DATA, 0)
    assert not path.exists()


def test_angles(tmp_path):
    rows = [
        {
            "run": f"r/seed{seed}",
            "group": "SO(2)",
            "pool": pool,
            "augmented": True,
            "angle": angle,
            "error": 5.0 + seed,
        }
        for seed in (0, 1)
        for pool in ("gigp", "mean")
        for angle in (0, 45, 90)
    ]
    draw_angles(pd.DataFrame(rows), tmp_path / "angles.svg")
    assert "angle (degrees)" in drawn(tmp_path / "angles.svg")
