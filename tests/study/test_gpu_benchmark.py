"""`make gpu` without a GPU: the same in small."""

import json
import sys

import pytest
import torch

from gigp.study.benchmark.gpu import hours, matmul_precision, matrix_rate, measure_all
from gigp.study.benchmark.gpu_cases import cases
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import gpu

CPU = torch.device("cpu")


def test_hours_of_a_run():
    """500 epochs of 100,000 molecules at 27,777 a second take half an hour."""
    case = cases(small=False)[0]
    assert hours(case, {"train": 1e5 * 500 / 1800, "eval": float("inf")}) == pytest.approx(0.5)


def test_tf32_is_set_and_put_back():
    before = torch.backends.cuda.matmul.allow_tf32
    for precision, allowed in (("tf32", True), ("fp32", False), ("bf16", False)):
        with matmul_precision(precision):
            assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cuda.matmul.allow_tf32 is before
    assert matrix_rate(CPU, "fp32", 128) > 0.01


def test_what_the_time_does_not_allow_is_named():
    record = measure_all(CPU, small=True, minutes=0)
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
    assert "hours" in capsys.readouterr().out
