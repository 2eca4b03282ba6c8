"""Figures are drawn from records, small, and with their text as text."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.figures.evidence import (
    draw_backbone_curves,
    draw_forest,
    draw_head_curves,
    draw_orbits_number,
)
from gigp.lab.study.figures.molecule import draw_idea
from gigp.lab.study.figures.style import plain
from gigp.lab.study.report import make_tables, read_evidence
from gigp.lab.study.tolerance import same_drawing
from gigp.pools import GIGP
from tests.conftest import ROOT
from tests.lab.study.synthetic import write_evidence

LARGEST = 150_000  # bytes


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """Records of backbones, of two protocols, and of the ablations."""
    root, noise = tmp_path_factory.mktemp("root"), np.random.default_rng(0)
    experiments = read_experiments()
    for name in ("qm9_backbone", "qm9_outputs", "qm9_scratch", "qm9_ablation"):
        write_evidence(root, experiments[name], lambda c, t: 1 + noise.random() / 10)
    (root / "results" / "published.yaml").write_bytes(
        (ROOT / "results" / "published.yaml").read_bytes()
    )
    return read_evidence(root, root, {})


@pytest.fixture(scope="module")
def tables(evidence):
    return make_tables(evidence)


def drawn(path) -> str:
    text = path.read_text()
    assert text.startswith("<?xml")
    assert "<text" in text
    assert len(text) < LARGEST
    return text


def test_forest(tables, tmp_path):
    path, names = tmp_path / "forest.svg", ("qm9_outputs", "qm9_scratch")
    assert draw_forest({n: tables[f"{n}_differences"].numbers for n in names}, path)
    text = drawn(path)
    groups = ("T(3), outputs (P)", "T(3), scratch (S)", "minus one_orbit")
    for said in (*groups, "r2 (control)", "homo", "GIGP better"):
        assert said in text
    assert not draw_forest({}, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


def test_backbone_curves(evidence, tmp_path):
    path = tmp_path / "curves.svg"
    records = evidence.records["qm9_backbone"]
    assert draw_backbone_curves(records, evidence.published, path)
    text = drawn(path)
    for said in ("homo, meV", "one seed", "published: wider, longer"):
        assert said in text
    assert not draw_backbone_curves([], evidence.published, path)


def test_head_curves(evidence, tmp_path):
    path, experiments = tmp_path / "curves.svg", read_experiments()
    assert draw_head_curves(evidence.entries(experiments["qm9_outputs"]), path)
    text = drawn(path)
    for said in ("homo, meV", "r2, ", "radial_deepsets"):
        assert said in text
    assert "gigp_shuffled" not in text, "six rows are drawn; all would hide each other"
    assert not draw_head_curves(evidence.entries(experiments["qm9_features"]), path)


def test_number_of_orbits(tables, tmp_path):
    path = tmp_path / "orbits.svg"
    assert draw_orbits_number(tables["qm9_ablation"].numbers, path)
    text = drawn(path)
    for said in ("error on r2, bohr^2", "divisor=constant", ">1<", ">15<", ">50<"):
        assert said in text
    assert "least squares" not in text
    fit = pd.DataFrame({"experiment": ["baseline"], "pool": ["fit"], "target": ["r2"], "mean": [1]})
    assert draw_orbits_number(pd.concat([fit, tables["qm9_ablation"].numbers]), path)
    assert "least squares" in drawn(path)
    assert not draw_orbits_number(tables["qm9_scratch"].numbers, path)


def test_the_idea_is_the_same_for_positions_that_differ_in_rounding(tmp_path):
    pos = np.array([[0.0, 0.0, 0.0], [1.1, 0.0, 0.2], [-0.4, 1.0, 0.0], [0.3, -0.8, 1.2]])
    charges = np.array([6, 8, 1, 1])
    draw_idea(pos, charges, tmp_path / "a.svg")
    draw_idea(pos + 1e-6, charges, tmp_path / "b.svg")
    assert same_drawing((tmp_path / "a.svg").read_text(), (tmp_path / "b.svg").read_text())
    assert "its orbits under rotation" in drawn(tmp_path / "a.svg")


def test_the_idea_has_the_memberships_of_the_pool(tmp_path, monkeypatch):
    pos, charges = (
        np.array([[0.0, 0.0, 0.0], [1.1, 0.0, 0.2], [-0.4, 1.0, 0.0]]),
        np.array([8, 1, 1]),
    )
    drawings = set()
    for default in ({}, {"membership": "smooth"}):
        monkeypatch.setattr("gigp.lab.study.figures.molecule.GIGP", partial(GIGP, **default))
        draw_idea(pos, charges, tmp_path / "idea.svg")
        drawings.add(drawn(tmp_path / "idea.svg"))
    assert len(drawings) == 2


def test_committed_figures_are_drawn_again(made):
    """As `make tables` does, on a clean checkout: nothing changes."""
    figures = {path: text for path, text in made.items() if path.suffix == ".svg"}
    assert figures.keys() == set((ROOT / "results" / "figures").glob("*.svg"))
    for path, text in figures.items():
        assert same_drawing(path.read_text(), text), path.name


def test_drawings_hold_no_trace_of_unrounded_coordinates():
    name, other = "0123456789", "fedcba9876"
    svg = f"""<clipPath id="p{name}"/><path d="M 1.23456789 -0.00000001" id="m{other}"/>
<use xlink:href="#m{other}" clip-path="url(#p{name})" style="stroke: #1f77b4"/>2.718281828"""
    text = plain(svg)
    assert (
        text
        == """<clipPath id="p1"/><path d="M 1.235 -0.000" id="m2"/>
<use xlink:href="#m2" clip-path="url(#p1)" style="stroke: #1f77b4"/>2.718281828"""
    )
    assert same_drawing(
        text, plain(svg.replace("1.23456789", "1.23956789").replace(name, "0a" * 5))
    )
    assert not same_drawing(text, text.replace("1.235", "1.335"))
    assert not same_drawing(text, text.replace("2.718281828", "2.718281829"))
    assert not same_drawing(text, text.replace("<use", "<g/><use"))
