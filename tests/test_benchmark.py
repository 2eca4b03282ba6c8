"""The benchmark measures what the configurations say, and the reference check finds differences."""

import json
import os
import sys

import pytest
import torch

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import benchmark
import reference


@pytest.mark.parametrize("title", benchmark.CASES)
def test_cases_are_the_published_settings(title):
    cfg = benchmark.compose_config(benchmark.CASES[title])
    backbone, images = cfg.backbone, title.startswith("rotated")
    assert (backbone.blocks, cfg.dataset.batch_size) == (6, 25 if images else 75)
    assert backbone.width == int(title.split("k ")[1].split(",")[0])
    if "SE(3)" in title:
        assert (backbone.liftsamples, backbone.nbhd, backbone.fill, cfg.group.alpha) == (
            4,
            25,
            0.5,
            0.2,
        )
    if "SE(2)" in title:
        assert (backbone.liftsamples, cfg.group.alpha) == (2, 0.05)
    if images:
        assert (backbone.nbhd, backbone.fill, backbone.total_ds) == (25, 0.1, 0.1)


def test_a_step_is_counted():
    subject = benchmark.make_pool("gigp", {}, points=32, orbits=10)
    assert subject.turn("train") > 0
    assert subject.turn("eval") > 0
    found = benchmark.inspect(subject)
    rows, width = 64 * 10, 128
    # last layer after the sum
    mlp = 2 * (rows * (65 * width + width * width + width) + 64 * width * 64)
    sums = 2 * 64 * 10 * 32 * 64
    # memberships have no gradient
    assert found["gflop"] * 1e9 == pytest.approx(3 * mlp + 2 * sums, rel=0.05)
    assert sum(found["time_shares"].values()) == pytest.approx(1)
    assert found["gbyte"] > 4 * 64 * 32 * 64 / 1e9


def test_unknown_case_names_the_cases(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--cases", "QM8"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "no case contains 'QM8'; the cases are: QM9 T(3), k 256" in capsys.readouterr().err


@pytest.mark.slow
def test_record(tmp_path, monkeypatch):
    out = tmp_path / "record.json"
    monkeypatch.setattr(
        sys, "argv", ["benchmark.py", "--cases", "GIGP", "--repeats", "1", "--out", str(out)]
    )
    benchmark.main()
    side = json.loads(out.read_text())["cases"][benchmark.POOL]["sides"]["gigp"]
    assert side["train"] > 0
    assert 0 < side["share_of_matrix_rate"] < 1.5


@pytest.mark.skipif(
    "LIECONV" not in os.environ, reason="LIECONV is no checkout of github.com/mfinzi/LieConv"
)
def test_same_arithmetic_as_the_reference():
    torch.manual_seed(0)
    differences = reference.parity(os.environ["LIECONV"])
    assert len(differences) == 8
    assert max(differences.values()) < 1e-5
