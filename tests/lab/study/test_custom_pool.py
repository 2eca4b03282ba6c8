"""scripts/custom_pool.py on a small backbone: its rows alone, and beside committed ones."""

import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gigp.errors import InputError
from gigp.lab.runs.record import Record, read_record
from gigp.lab.runs.samples import read_samples
from gigp.lab.study import custom_pool
from gigp.lab.study.records import record_key, write_records, write_samples_of
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from gigp.pools import custom as registry
from tests.conftest import DATA, ROOT, tiny

TOYS = "tests.lab.study.toy_pools"
FITS = {"counts": {"homo": 400.0, "r2": 1.0}}  # in place of a fit to the whole data set


@pytest.fixture
def backbone(configure, tmp_path_factory, qm9) -> Path:
    """A finished run with outputs for every point, the same for all tests."""
    root = tmp_path_factory.getbasetemp() / "custom_pool"
    small = tiny(epochs=1, train=150, val=40, test=60)
    run(configure("pool=mean", "target=[homo,r2]", *small, "name=start", f"results_dir={root}"))
    return root / "start" / "seed0"


@pytest.fixture
def compare_pool(backbone, tmp_path, monkeypatch, capsys):
    """scripts/custom_pool.py in this process: exit status, standard output and errors."""
    (tmp_path / "results").mkdir()
    shutil.copy(ROOT / "results" / "published.yaml", tmp_path / "results")
    monkeypatch.setattr(custom_pool, "baseline_errors", lambda *_: FITS)

    def call(name: str, *arguments: str) -> tuple[int, str, str]:
        places = ["--root", tmp_path, "--results-dir", tmp_path / "runs", "--out", tmp_path]
        places += ["--data", DATA, "--backbone", backbone, "--seeds", "0"]
        for setting in (
            "scale=debug",
            "trainer.max_epochs=1",
            "trainer.accelerator=cpu",
            f"dataset.cache={tmp_path}",
        ):
            places += ["--set", setting]
        command = ["custom_pool.py", name, *map(str, places), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "scripts" / "custom_pool.py"), run_name="__main__")
        code = end.value.code
        said = capsys.readouterr()
        return (1, said.out, code) if isinstance(code, str) else (code, said.out, said.err)

    return call


def runs_of(tmp_path: Path, experiment: str) -> list[tuple[Record, Path]]:
    found = sorted(tmp_path.glob(f"runs/{experiment}_*/seed0"))
    return [(read_record(folder / "summary.json"), folder) for folder in found]


def commit(root: Path, records: dict[str, tuple[Record, np.ndarray]]) -> None:
    """Make records the evidence of protocol P."""
    folder = root / "results" / "records"
    named = [(replace(r, name=name), errors) for name, (r, errors) in records.items()]
    write_records(folder / "qm9_outputs.jsonl", [record for record, _ in named])
    samples = {record_key(record): {"error": errors} for record, errors in named}
    write_samples_of(folder, "qm9_outputs", samples)


def test_alone_then_beside_committed_rows(compare_pool, tmp_path, monkeypatch):
    code, out, err = compare_pool(f"{TOYS}:Weighted", "power=2", "--protocol", "P")
    assert (code, err) == (0, "")
    assert "results/records has no rows of qm9_outputs yet" in out
    assert "| `Weighted, power=2, scale=debug` |" in out
    assert "| least squares: number of atoms of each element | 400 | 1 |" in out
    assert "Weighted" in (tmp_path / "custom_pool_P.svg").read_text()

    found = runs_of(tmp_path, "qm9_outputs")
    assert sorted(record.lr for record, _ in found) == [1e-3, 3e-3]  # of every pool
    best, folder = min(found, key=lambda run: run[0].val_loss)
    errors = read_samples(folder / "test_samples.npz")["error"].astype(np.float64)
    worse = {n: replace(metric, test=1.25 * metric.test) for n, metric in best.metrics.items()}
    gigp = best.choices | {"pool": "gigp"}
    other = replace(best, choices=gigp, overrides=[], metrics=worse)
    weights = {**best.data, "features_of": {**best.data["features_of"], "checkpoint": "another"}}
    elsewhere = replace(other, choices=best.choices | {"pool": "one_orbit"}, data=weights)
    commit(tmp_path, {"worse": (other, 1.25 * errors), "elsewhere": (elsewhere, errors)})

    code, out, _ = compare_pool(f"{TOYS}:Weighted", "power=2", "--protocol", "P")
    assert code == 0
    assert "1 of 2 committed rows come from backbones with other weights" in out
    (row,) = (
        line
        for line in out.splitlines()
        if "| `gigp, scale=debug` |" in line and "one seed" in line
    )
    assert row.startswith("| `Weighted, power=2, scale=debug` |")
    difference = float(row.split("|")[3].split(",")[0])
    assert difference == pytest.approx(-0.25 * np.abs(errors[:, 0]).mean(), rel=0.02)
    assert ", p " not in row  # nor a verdict: one seed says nothing about others
    assert "lower" not in row
    assert "gigp" in (tmp_path / "custom_pool_P_differences.svg").read_text()
    assert len(runs_of(tmp_path, "qm9_outputs")) == 2  # nothing was trained again

    _, _, task = load_trained(folder, setup=False)
    assert type(task.model.pool.module).__name__ == "Weighted"
    monkeypatch.setattr(registry, "_REGISTERED", {})
    with pytest.raises(InputError, match="toy_pools:Weighted, a module that its user brought"):
        load_trained(folder, setup=False)


@pytest.mark.slow
def test_a_wider_output_serves_under_protocol_f_alone(compare_pool, tmp_path):
    code, out, err = compare_pool(f"{TOYS}:Wide")
    assert code == 1
    assert err.startswith("Error: protocol P: the pool makes 4 numbers of the 2")
    assert "| `Wide, scale=debug` |" in out
    assert len(runs_of(tmp_path, "qm9_features")) == 2


def test_errors_in_one_sentence(compare_pool, tmp_path):
    code, _, err = compare_pool(f"{TOYS}:Flat")
    assert (code, err.count("\n")) == (1, 0)
    assert "returned shape (2,) for 2 clouds" in err
    code, _, err = compare_pool(f"{TOYS}:Weighted", "power")
    assert err == "Error: 'power' is not KEY=VALUE, an argument of the pool's class."
    code, _, err = compare_pool(f"{TOYS}:Weighted", "--backbone", "nowhere", "--protocol", "F")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("Error: protocol F: there is no trained backbone in nowhere: train")
    assert not list(tmp_path.glob("runs/*"))
