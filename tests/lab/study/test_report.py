"""The report, the README's table and all tables are what the records give."""

import json
import runpy
import sys
from dataclasses import replace

import pytest

from gigp.lab.molecules.baselines import NAMES
from gigp.lab.study import baselines
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
from gigp.lab.study.tolerance import same_text
from tests.conftest import DATA, ROOT
from tests.lab.study.synthetic import record_of, write_evidence

FITS = {"counts": {"homo": 408.0, "mu": 1.0, "alpha": 2.2, "U0": 868.0, "r2": 166.0}}


def files_of(root):
    evidence = read_evidence(root, root, FITS)
    return make(root, evidence, make_tables(evidence), {})


@pytest.fixture
def small(blank, monkeypatch, qm9):
    """A checkout with records of the orbits alone, and the script that makes its tables."""
    for name in ("orbits_pools", "orbits_ablation"):
        write_evidence(blank, read_experiments()[name], lambda cell, target: 2.0 + cell.seed)
    monkeypatch.setattr(baselines, "molecule_errors", lambda data: FITS)

    def run_script(*arguments: str) -> None:
        words = ["make_tables.py", "--root", str(blank), "--data", DATA, *arguments]
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(ROOT / "scripts" / "make_tables.py"), run_name="__main__")

    return blank, run_script


def test_committed_files_are_what_the_records_give(made):
    assert stale_files(ROOT, made) == []


@pytest.mark.slow
def test_the_script_writes_what_differs_and_says_so(small, capsys):
    root, run_script = small
    run_script()
    written = capsys.readouterr().out
    assert "Comparing pools, from 136 records" in written
    table = root / "results" / "tables" / "orbits.csv"
    assert f"wrote {table}" in written
    assert f"removed {root / 'results' / 'figures' / 'forest.svg'}" in written
    run_script("--check")
    assert "Nothing to write: all" in capsys.readouterr().out
    extra = root / "results" / "tables" / "by_hand.csv"
    extra.write_text("1\n")
    with pytest.raises(SystemExit, match=r"by_hand\.csv; run python scripts/make_tables\.py"):
        run_script("--check")
    run_script()
    assert not extra.exists()


def test_a_changed_record_changes_its_table(small):
    root, _ = small
    before = files_of(root)
    path = root / "results" / "records" / "orbits_ablation.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[0])
    for metric in record["metrics"].values():
        metric["test"] *= 2
    path.write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    after = files_of(root)
    changed = {file for file in after if after[file] != before[file]}
    assert changed == {
        root / "results" / "tables" / n for n in ("orbits_ablation.csv", "README.md")
    }


def test_claims_stand_in_the_readme_and_the_report(blank):
    experiments = read_experiments()
    pools = {"gigp": 90.0, "mean": 100.0, "one_orbit": 96.0}
    fits = {"counts": dict.fromkeys(["homo", "mu", "alpha", "U0", "r2"], 1000.0)}
    write_evidence(blank, experiments["qm9_scratch"], lambda c, t: pools[c.label] + c.seed)
    write_evidence(blank, experiments["orbits_pools"], lambda c, t: 4.0)
    evidence = read_evidence(blank, blank, fits)
    files = make(blank, evidence, make_tables(evidence), {})
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


@pytest.mark.slow
def test_latex_goes_elsewhere(small, tmp_path):
    root, run_script = small
    out = tmp_path / "tex"
    run_script("--format", "latex", "--out", str(out))
    assert (out / "orbits.tex").read_text().count(r"\toprule") == 1
    assert not list((root / "results").rglob("*.tex"))
    with pytest.raises(SystemExit):
        run_script("--format", "latex")


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


def test_what_rounding_leaves_is_written_with_what_differs_by_more(tmp_path):
    """A number that stands in two files must not be rounded in two ways."""
    table, report, figure = (tmp_path / name for name in ("a.csv", "b.md", "c.svg"))
    table.write_text("pool,0.123456,5\n")
    report.write_text("p 0.077")
    figure.write_text('<svg x="1.000"/>')
    wanted = {table: "pool,0.123457,5\n", report: "p 0.078", figure: '<svg x="1.001"/>'}
    assert stale_files(tmp_path, wanted) == []
    assert stale_files(tmp_path, {**wanted, report: "p 0.079"}) == [table, report]
    assert stale_files(tmp_path, {**wanted, table: "pool,0.123456,6\n"}) == [table, report]
    assert stale_files(tmp_path, {**wanted, figure: '<svg x="1.1"/>'}) == [figure]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("92.0 ± 1.6", "92.1 ± 1.6", True),
        ("92.0 ± 1.6", "92.2 ± 1.6", False),
        ("[-0.0, +3]", "[+0.0, +3]", True),
        ("p 1", "p 0.99", True),
        ("3 of 5 seeds", "4 of 5 seeds", False),
        ("U0 1234", "U0 1235", True),
        ("4e-12", "5e-12", True),
        ("4e-12", "4e-11", False),
        ("lower", "higher", False),
    ],
)
def test_texts_that_differ_by_a_last_digit_are_the_same(one, other, same):
    assert same_text(one, other) == same


def test_fill_needs_its_markers():
    assert fill("a<s>b<e>c", "<s>", "<e>", "new", "it") == "a<s>\nnew<e>c"
    with pytest.raises(ValueError, match=r"README\.md has no block"):
        fill("a<s>b", "<s>", "<e>", "new", "README.md")
