"""The report, the README's table and all tables are what the records give, and no number stands
without a table.
"""

import json
import re
import runpy
import sys
import time
from dataclasses import replace

import pytest

from gigp.errors import InputError
from gigp.study.experiments import read_experiments
from gigp.study.findings import verdict_table
from gigp.study.report import (
    REPORTS,
    drop_missing_figures,
    family,
    fill_template,
    make,
    stale_files,
)
from gigp.study.runs import read_records
from gigp.study.tables import comparisons, results, results_table
from tests.conftest import ROOT
from tests.study.synthetic import write_runs


def test_committed_files_are_what_the_records_give(committed):
    wanted = make(committed)
    assert stale_files(committed, wanted) == []
    extra = committed / "results" / "tables" / "by_hand.md"
    extra.write_text("| 1 |\n")
    assert stale_files(committed, wanted) == [extra]


def test_check_notices_a_changed_record(committed, monkeypatch):
    path = next(committed.glob("results/runs/*/seed*/summary.json"))
    record = json.loads(path.read_text())
    for metric in record["metrics"].values():
        metric["test"] *= 2
    path.write_text(json.dumps(record))
    monkeypatch.setattr(sys, "argv", ["make_tables.py", "--root", str(committed), "--check"])
    with pytest.raises(
        SystemExit, match=r"results/tables/.*\.csv.* run python scripts/make_tables\.py"
    ):
        runpy.run_path(str(ROOT / "scripts" / "make_tables.py"), run_name="__main__")


def test_headline_stands_in_the_readme(blank):
    """With the best control of those that ran, and the paired difference in percent."""
    values = {"gigp": 10.0, "mean": 20.0, "one_orbit": 12.0, "mean_mlp": 11.0}
    for name in ("qm9_controls", "rotmnist_pools"):
        cells = [c for c in read_experiments()[name].cells("small") if c.choices["pool"] in values]
        write_runs(
            blank / "results" / "runs",
            cells,
            lambda c, t: values[c.choices["pool"]] * (1 + 0.001 * c.seed),
        )
    lines = make(blank)[blank / "README.md"].splitlines()
    line = next(line for line in lines if line.startswith("| qm9") and "| homo" in line)
    assert "mean_mlp: 11.011 ± 0.011 (3)" in line
    assert "-50.0 [-50.1, -49.9]" in line
    assert line.count("missing") == 1  # sum


def test_a_thousand_records_take_seconds(blank):
    """Seeds beyond those that the experiments ask for fill the tables up."""
    cells = [
        cell for experiment in read_experiments().values() for cell in experiment.cells("small")
    ]
    runs, times = blank / "results" / "runs", -(-1000 // len(cells))
    more = [replace(cell, seed=cell.seed + 100 * i) for i in range(times) for cell in cells]
    write_runs(runs, more, lambda cell, target: 1.0 + cell.seed % 7)
    assert len(list(runs.glob("*/seed*"))) >= 1000
    start = time.process_time()
    make(blank)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("template", REPORTS)
def test_every_number_of_the_text_is_a_cell_of_a_table(template):
    """What is left of the text without tables, cells, code, links and names holds no digit."""
    text = (ROOT / template).read_text()
    text = re.sub(r"<!--.*?-->|\{\{.*?\}\}|`[^`]*`|\]\([^)]*\)|\d+-D", "", text, flags=re.DOTALL)
    text = re.sub(r"QM9|arXiv \d{4}\.\d{5}|(?:T|SO|SE|Trivial)\(\d\)|95% interval", "", text)
    assert re.findall(r".*\d.*", text) == []


@pytest.fixture
def tables(tmp_path):
    """Results and verdicts of QM9 from scratch."""
    experiments = read_experiments()
    cells = [c for c in experiments["qm9_controls"].cells("small") if c.choices["pool"] == "gigp"]
    write_runs(tmp_path, cells, lambda cell, target: 10.0 + cell.seed)
    records = family(read_records(tmp_path, experiments), ["qm9_controls"], experiments)
    pools = results_table("pools", results(records, {}), experiments, {})
    return {"pools": pools, "pools_verdicts": verdict_table("pools", comparisons(records), records)}


def test_places_cite_one_cell_with_its_unit(tables):
    verdict = "{{pools_verdicts | qm9_controls | against mean}}"
    template = "GIGP: {{pools | qm9 | homo | pool=gigp}}; " + verdict + "."
    text = fill_template(template, tables, "it")
    assert (
        text
        == "GIGP: [12.0 ± 1.6 (5) meV](tables/pools.md); [12 missing](tables/pools_verdicts.md)."
    )


@pytest.mark.parametrize(
    ("place", "message"),
    [("{{nowhere | homo}}", "nowhere"), ("{{pools | qm9_controls | homo}}", "fits 7")],
)
def test_places_that_cite_nothing_or_too_much_are_refused(tables, place, message):
    with pytest.raises(InputError, match=message):
        fill_template(place, tables, "it")


def test_unknown_block_is_refused():
    with pytest.raises(InputError, match="asks for the table nowhere"):
        fill_template("<!-- table: nowhere -->", {}, "it")


def test_figures_that_were_not_drawn_are_not_shown(tmp_path):
    (tmp_path / "here.svg").touch()
    text = "a\n\n![Here](here.svg)\n\n![Gone](gone.svg)\n\nb\n"
    assert drop_missing_figures(text, tmp_path) == "a\n\n![Here](here.svg)\n\nb\n"


@pytest.mark.parametrize("report", REPORTS.values())
def test_links_of_the_report_lead_somewhere(report):
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / report).read_text()):
        assert link.startswith("https://") or (ROOT / report).parent.joinpath(link).exists(), link
