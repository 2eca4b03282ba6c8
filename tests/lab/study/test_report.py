"""The report, the README's table and all tables are what the records give."""

import json
import runpy
import sys
from dataclasses import replace

import pytest

from gigp.lab.study.baselines import NAMES
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.report import (
    END,
    START,
    learned_weights,
    main_table,
    make,
    make_tables,
    read_evidence,
    stale_files,
)
from gigp.lab.study.tables.results import make_rows
from gigp.lab.study.tables.table import fill
from tests.conftest import DATA, ROOT
from tests.lab.study.synthetic import record_of, write_evidence

FITS = {"counts": {"homo": 408.0, "mu": 1.0, "alpha": 2.2, "U0": 868.0, "r2": 166.0}}


def files_of(root):
    evidence = read_evidence(root, root, FITS)
    return make(root, evidence, make_tables(evidence))


def run_script(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["make_tables.py", "--data", DATA, *arguments])
    runpy.run_path(str(ROOT / "scripts" / "make_tables.py"), run_name="__main__")


def test_committed_files_are_what_the_records_give(committed, monkeypatch, qm9, capsys):
    run_script(monkeypatch, "--root", str(committed), "--check")
    extra = committed / "results" / "tables" / "by_hand.csv"
    extra.write_text("1\n")
    with pytest.raises(SystemExit, match=r"by_hand\.csv; run python scripts/make_tables\.py"):
        run_script(monkeypatch, "--root", str(committed), "--check")
    run_script(monkeypatch, "--root", str(committed))
    assert not extra.exists()


def test_a_changed_record_changes_its_table(committed):
    before = files_of(committed)
    path = committed / "results" / "records" / "orbits_ablation.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[0])
    for metric in record["metrics"].values():
        metric["test"] *= 2
    path.write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    after = files_of(committed)
    changed = {file for file in after if after[file] != before[file]}
    assert changed == {
        committed / "results" / "tables" / n for n in ("orbits_ablation.csv", "README.md")
    }


def test_claims_stand_in_the_readme_and_the_report(blank):
    experiments = read_experiments()
    pools = {"gigp": 90.0, "mean": 100.0, "one_orbit": 96.0}
    fits = {"counts": dict.fromkeys(["homo", "mu", "alpha", "U0", "r2"], 1000.0)}
    write_evidence(blank, experiments["qm9_scratch"], lambda c, t: pools[c.label] + c.seed)
    write_evidence(blank, experiments["orbits_pools"], lambda c, t: 4.0)
    evidence = read_evidence(blank, blank, fits)
    files = make(blank, evidence, make_tables(evidence))
    for name in ("README.md", "results/README.md"):
        text = files[blank / name]
        assert "T(3): everything trained from scratch | 5 | 4 / 0 / 0 | 4 / 0 / 0 |" in text, name
        assert "| not run yet |" in text
    readme = files[blank / "README.md"]
    assert readme.index(f"| {NAMES['counts']} | 1000 |") < readme.index("4 / 0 / 0")
    assert "qm9_scratch 15" in files[blank / "results" / "README.md"]
    assert (blank / "results" / "tables" / "qm9_scratch_differences.csv") in files


def test_the_backbone_is_the_mean_of_frozen_outputs(blank):
    """On frozen outputs mean pooling has nothing to train, so the backbone stands for it."""
    experiments = read_experiments()
    for name in ("qm9_backbone", "qm9_outputs", "qm9_features"):
        write_evidence(blank, experiments[name], lambda c, t: 10.0 + c.seed)
    evidence = read_evidence(blank, blank, FITS)
    tables = make_tables(evidence)
    rows = tables["qm9_outputs"].shown["pool"].tolist()
    assert rows[1:3] == ["`mean`", "`gigp`"]
    assert "`backbone before`" in tables["qm9_features"].shown["pool"].tolist()
    pairs = tables["qm9_outputs_differences"].numbers
    assert "mean" in set(pairs["minus"])
    assert set(pairs.loc[pairs["minus"] == "mean", "seeds"]) == {3}
    main = main_table(tables, evidence.published)
    assert "published" in main.shown["pool"].iloc[-1]
    assert len(main.shown.columns) == 1 + 5


def test_without_any_records_every_verdict_is_open(blank):
    (blank / "results" / "records").mkdir()
    text = files_of(blank)[blank / "README.md"]
    block = text.partition(START)[2].partition(END)[0]
    assert block.count("not run yet") == 9


def test_latex_goes_elsewhere(committed, monkeypatch, tmp_path, qm9):
    out = tmp_path / "tex"
    run_script(monkeypatch, "--root", str(committed), "--format", "latex", "--out", str(out))
    assert (out / "orbits.tex").read_text().count(r"\toprule") == 1
    assert not list((committed / "results").rglob("*.tex"))
    with pytest.raises(SystemExit):
        run_script(monkeypatch, "--format", "latex")


def test_learned_weights_are_means_over_seeds():
    experiment = read_experiments()["qm9_outputs"]
    assert learned_weights(make_rows(experiment, [])) is None
    cells = [c for c in experiment.cells().items() if c[0].tuned == ("lr=0.001",)]
    learned = {("gigp", 0): [0.5, 1.0], ("gigp", 1): [0.7, 1.2], ("one_orbit", 0): [9.0]}
    records = [
        replace(
            record_of(experiment, cell, overrides, lambda c, t: 1.0),
            learned={"weight": learned[cell.label, cell.seed]},
        )
        for cell, overrides in cells
        if (cell.label, cell.seed) in learned
    ]
    assert len(records) == 3
    found = learned_weights(make_rows(experiment, records))
    assert found == pytest.approx((0.6, 1.1))


def test_stale_files(tmp_path):
    (tmp_path / "results" / "tables").mkdir(parents=True)
    old, same = tmp_path / "results" / "tables" / "old.csv", tmp_path / "results" / "same.md"
    old.touch()
    same.write_text("same")
    new = tmp_path / "new.md"
    assert stale_files(tmp_path, {same: "same", new: "new"}) == [new, old]


def test_fill_needs_its_markers():
    assert fill("a<s>b<e>c", "<s>", "<e>", "new", "it") == "a<s>\nnew<e>c"
    with pytest.raises(ValueError, match=r"README\.md has no block"):
        fill("a<s>b", "<s>", "<e>", "new", "README.md")
