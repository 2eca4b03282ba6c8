"""The study is logged for real, offline: tables with their numbers, charts and figures lie in
wandb's files.
"""

import json
import runpy
import sys

import pytest

from gigp.lab.study.experiments import read_experiments
from tests.conftest import DATA, ROOT
from tests.lab.study.synthetic import write_evidence


@pytest.fixture
def log_study(monkeypatch, capsys):
    def call(*arguments: str) -> str:
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setattr(sys, "argv", ["log_study.py", "--data", DATA, *arguments])
        runpy.run_path(str(ROOT / "scripts" / "log_study.py"), run_name="__main__")
        return capsys.readouterr().out

    return call


@pytest.mark.slow
def test_a_table_is_logged_offline(blank, tmp_path, log_study, qm9):
    write_evidence(
        blank, read_experiments()["qm9_outputs"], lambda c, t: 5.0 + c.seed + (c.label == "gigp")
    )
    (blank / "results" / "figures" / "forest.svg").write_text("<svg><text>it</text></svg>")
    out = log_study("--table", "qm9_outputs", "--root", str(blank), "--dir", str(tmp_path))
    assert "qm9_outputs: wandb sync " in out
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    logged = [
        json.loads(path.read_text())
        for path in (folder / "files" / "media" / "table").rglob("*.table.json")
    ]
    results = next(t for t in logged if "asked for" in t["columns"])
    rows = [dict(zip(results["columns"], row, strict=True)) for row in results["data"]]
    (gigp,) = (row for row in rows if row["pool"] == "gigp" and row["target"] == "homo")
    assert (gigp["mean"], gigp["seeds"], gigp["unit"]) == (7.0, 3, "meV")
    paired = next(t for t in logged if "difference" in t["columns"])
    found = [row[paired["columns"].index("difference")] for row in paired["data"]]
    assert any(value == pytest.approx(1, abs=0.02) for value in found)
    assert any(t["columns"] == ["pool", "mean"] for t in logged)
    (forest,) = (folder / "files" / "media" / "html").rglob("forest*.html")
    assert forest.read_text().startswith("<svg>")


def test_tables_without_records_are_refused(blank, log_study, capsys, qm9):
    with pytest.raises(SystemExit):
        log_study("--table", "orbits", "--root", str(blank))
    assert "no records for orbits" in capsys.readouterr().err
