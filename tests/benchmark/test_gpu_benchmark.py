"""`make gpu` without a GPU: the same in small."""

import json
import shutil
import sys

import pytest
import torch

from gigp.lab.study.report import make, make_tables, read_evidence
from scripts.benchmark import gpu
from scripts.benchmark.gpu_cases import cases
from scripts.benchmark.gpu_measure import (
    load_case,
    matmul_precision,
    matrix_rate,
    measure_all,
    measure_case,
)
from tests.conftest import ROOT

CPU = torch.device("cpu")


def test_hours_of_a_run():
    """500 epochs of 100,000 molecules at 27,777 a second take half an hour."""
    run = cases(small=False)[0].run
    assert run.hours({"train": 1e5 * 500 / 1800, "eval": float("inf")}) == pytest.approx(0.5)


def test_published_sizes_are_those_of_the_configuration(configure):
    for case in cases(small=False):
        dataset = next(o for o in case.overrides if o.startswith("dataset="))
        cfg = configure("scale=paper", dataset)
        data = cfg.dataset
        sizes = (data.train_size, cfg.trainer.max_epochs, data.val_size)
        assert (case.run.samples, case.run.epochs, case.run.validation) == sizes


@pytest.mark.slow
def test_one_entry_in_small(qm9):
    """The first case, eager."""
    case = cases(small=True)[0]
    entry = measure_case(load_case(case, CPU, fixed=False), CPU, "fp32", False, {"fp32": 10.0})
    assert min(entry[key] for key in ("step_ms", "train", "eval", "launches", "peak_mb")) > 0
    assert 0 < entry["share_of_matrix_rate"] < 100


ENTRY = {
    "precision": "tf32",
    "compiled": False,
    "step_ms": 2.5,
    "train": 30_000.0,
    "eval": 60_000.0,
    "launches": 600,
    "peak_mb": 900.0,
    "share_of_matrix_rate": 0.4,
    "hours": 0.5,
}
GPU_RECORD = {
    "device": "An Accelerator",
    "versions": {"torch": "2.15.0"},
    "tests": "9 passed",
    "rates": {"fp32": 5e4},
    "loop": {"run": 0.8, "bare": 0.4, "cost": 0.4},
    "cases": {
        "T(3) k1536 b75 mean": {
            "entries": [ENTRY, ENTRY | {"compiled": True, "graphs": 1, "kernels": 250}],
            "parity": {"output": 1e-6, "gradient": 1e-5},
            "reference": {"train": 4000.0, "eval": 9000.0},
        }
    },
    "left_out": ["SO(2) k128 b25 GIGP, tf32, compiled", "SO(2) k128 b25 GIGP, bf16, compiled"],
}


def test_the_record_of_a_gpu_becomes_part_of_the_tables(tmp_path):
    """Of the report on speed and of the hours at scale=paper, beside those of CPUs."""
    for name in ("docs/report", "results/benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("README.md", "results/published.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    results = tmp_path / "results"
    (results / "benchmarks" / "an-accelerator.json").write_text(json.dumps(GPU_RECORD))
    evidence = read_evidence(tmp_path, tmp_path, {"counts": {"homo": 408.0}})
    files = make(tmp_path, evidence, make_tables(evidence), {})
    speed = files[results / "tables" / "speed.md"]
    assert "## An Accelerator" in speed
    assert "| T(3) k1536 b75 mean | tf32, compiled | 2.5 | 30,000 |" in speed
    assert "the reference trains 4,000/s" in speed
    assert "Measurements left out for lack of time: SO(2) k128 b25 GIGP (2)." in speed
    hours = files[results / "paper_scale.md"]
    assert "| T(3) k1536 b75 mean | An Accelerator | tf32 | 30,000 | 60,000 | 0.5 |" in hours
    assert "AMD EPYC with AVX2" in hours


def test_tf32_is_set_and_put_back():
    before = torch.backends.cuda.matmul.allow_tf32
    for precision, allowed in (("tf32", True), ("fp32", False), ("bf16", False)):
        with matmul_precision(precision):
            assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cuda.matmul.allow_tf32 is before
    assert matrix_rate(CPU, "fp32", 128) > 0.01


@pytest.mark.slow
def test_what_the_time_does_not_allow_is_named():
    *_, record = measure_all(CPU, small=True, minutes=0)
    assert record["cases"] == {}
    assert "T(3) k16 b75 GIGP, fp32, eager" in record["left_out"]
    assert "SO(2) k16 b25 mean, fp32, compiled" in record["left_out"]


def test_without_a_gpu_the_message_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "--device cpu runs everything in small" in capsys.readouterr().err


@pytest.mark.slow
def test_everything_in_small(tmp_path, monkeypatch, capsys):
    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--out", str(out)])
    gpu.main()
    record = json.loads(out.read_text())
    assert record["left_out"] == []
    for result in record["cases"].values():
        assert result["parity"]["output"] < 1e-4
        assert [entry["compiled"] for entry in result["entries"]] == [False] * 3 + [True]
        for entry in result["entries"]:
            assert entry["train"] > 0
            assert entry["launches"] > 0
            assert entry["hours"] > 0
    shown = capsys.readouterr().out
    assert "T(3) k16 b75 GIGP" in shown
    assert "Host time of a step of an empty model" in shown


@pytest.mark.slow
def test_trying_it_leaves_the_checkout_as_it_is(tmp_path, monkeypatch):
    """The record of a CPU goes to outputs/, which git ignores."""
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--minutes", "0"])
    gpu.main()
    files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert files == ["outputs/benchmarks/cpu-trial.json"]
    assert "outputs/" in (ROOT / ".gitignore").read_text().splitlines()
