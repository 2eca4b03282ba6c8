"""docs/quickstart.ipynb runs from top to bottom, with a shorter training."""

import json

import matplotlib
import pytest

from tests.conftest import ROOT

NOTEBOOK = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text())


def test_runs_and_shows_what_it_says(capsys, tmp_path, monkeypatch):
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict = {}
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"]).replace("max_epochs=20", "max_epochs=3")
            exec(code.replace("%matplotlib inline", "").replace("%%capture", ""), names)
    printed = capsys.readouterr().out
    assert "invariant under random rotations" in printed
    errors = {pool: r.metrics["orbit_sums"].test for pool, r in names["records"].items()}
    assert errors["gigp"] < errors["mean"]
    assert len(names["ax"].patches) == 12


@pytest.mark.parametrize("kind", ["text", "image"])
def test_is_stored_with_its_outputs(kind):
    outputs = [output for cell in NOTEBOOK["cells"] for output in cell.get("outputs", [])]
    assert any(kind in output or f"{kind}/png" in output.get("data", {}) for output in outputs)
