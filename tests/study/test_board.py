"""The study is logged for real, offline: tables with their numbers, charts and figures lie in
wandb's files.
"""

import json
import runpy
import sys

import pytest

from gigp.study.experiments import read_experiments
from tests.conftest import ROOT
from tests.study.synthetic import write_runs


@pytest.fixture
def log_study(monkeypatch, capsys):
    def call(*arguments: str) -> str:
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setattr(sys, "argv", ["log_study.py", *arguments])
        runpy.run_path(str(ROOT / "scripts" / "log_study.py"), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_a_table_is_logged_offline(blank, tmp_path, log_study):
    cells = [
        c for c in read_experiments()["rotmnist_pools"].cells("small") if c.choices["pool"] != "sum"
    ]
    write_runs(
        blank / "results" / "runs", cells, lambda c, t: 5.0 + c.seed + (c.choices["pool"] == "gigp")
    )
    (blank / "results" / "figures" / "curves_pools.svg").write_text("<svg><text>it</text></svg>")
    out = log_study("--table", "pools", "--root", str(blank), "--dir", str(tmp_path))
    assert "pools: wandb sync " in out
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    logged = [
        json.loads(path.read_text())
        for path in (folder / "files" / "media" / "table").rglob("*.table.json")
    ]
    results = next(t for t in logged if "expected" in t["columns"])
    rows = [dict(zip(results["columns"], row, strict=True)) for row in results["data"]]
    (gigp,) = (
        row for row in rows if row["pool"] == "gigp" and row["experiment"] == "rotmnist_pools"
    )
    assert (gigp["mean"], gigp["seeds"], gigp["unit"]) == (8.0, 5, "%")
    paired = next(t for t in logged if "difference" in t["columns"])
    assert 1.0 in [row[paired["columns"].index("difference")] for row in paired["data"]]
    assert any(t["columns"] == ["pool", "mean"] for t in logged)
    (curves,) = (folder / "files" / "media" / "html").rglob("curves_pools*.html")
    assert curves.read_text().startswith("<svg>")


def test_tables_without_records_are_refused(blank, log_study, capsys):
    with pytest.raises(SystemExit):
        log_study("--table", "pools", "--root", str(blank))
    assert "no records for pools" in capsys.readouterr().err
