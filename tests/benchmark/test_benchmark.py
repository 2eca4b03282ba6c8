"""The benchmark measures the configurations, and the reference check finds differences."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
import torch

from scripts.benchmark import __main__ as benchmark
from scripts.benchmark import reference
from scripts.benchmark.cases import CASES, POOL, BenchInputs, compose_case
from scripts.benchmark.machine import measure_rates
from scripts.benchmark.models import make_aggregation, make_model, make_pool, make_pool_on_molecules
from scripts.benchmark.profile import count_work, time_shares
from scripts.benchmark.workers import Worker
from tests.conftest import ROOT


@pytest.mark.parametrize("title", CASES)
def test_cases_are_the_published_settings(title):
    cfg = compose_case(CASES[title])
    backbone, images = cfg.backbone, title.startswith("rotated")
    assert (backbone.blocks, cfg.dataset.batch_size) == (6, 25 if images else 75)
    assert backbone.width == int(title.split("k ")[1].split(",")[0])
    if "SE(3)" in title:
        lifts, max_neighbors = backbone.num_lifts, backbone.max_neighbors
        assert (lifts, max_neighbors, backbone.fill, cfg.group.alpha) == (4, 25, 0.5, 0.2)
    if "SE(2)" in title:
        assert (backbone.num_lifts, cfg.group.alpha) == (2, 0.05)
    if images:
        assert (backbone.max_neighbors, backbone.fill, backbone.keep_fraction) == (25, 0.1, 0.1)


def test_a_step_is_counted():
    model = make_pool("gigp", points=4, orbits=40)
    assert model.time("train") > 0
    assert model.time("eval") > 0
    found = count_work(model)
    (pos, _, mask), _ = model.batches[0]
    orbits = model.model.pool.orbits
    members = orbits(model.model.pool.coordinate(pos, mask, None), mask)
    rows, width = int((members.sum(-2) > 0).sum()), 128  # empty orbits are left out
    # two layers for every orbit, the last one after the sum over orbits
    mlp = 2 * (rows * (65 * width + width * width + width) + 64 * width * 64)
    sums = 2 * 64 * 40 * 4 * 64
    # memberships have no gradient
    assert found["gflop"] * 1e9 == pytest.approx(3 * mlp + 2 * sums, rel=0.05)
    assert found["gbyte"] > 4 * 64 * 32 * 64 / 1e9
    assert (rows, width, width) in found["products"]
    assert sum(time_shares(model).values()) == pytest.approx(1)


def test_models_are_built_as_those_of_runs(qm9):
    """From what the benchmark keeps of a data module."""
    overrides = ["dataset=qm9", "backbone.width=8", "backbone.blocks=2"]
    batch = qm9.prepare_batch(qm9.get_batch(torch.arange(8)), augment=True)
    inputs = BenchInputs(
        compose_case(overrides), [batch], qm9.in_channels, qm9.out_dim, qm9.grid, atoms=qm9.atoms
    )
    pools = make_pool_on_molecules(inputs, "softmax"), make_aggregation(inputs, "GIGP")
    for model in (make_model(inputs, "gigp"), *pools):
        assert model.size == 8
        assert model.time("train") > 0
        assert model.time("eval", clock="cpu") > 0


def test_matrix_rate_is_the_best_of_libraries_and_shapes(monkeypatch):
    """A step cannot exceed it, whichever library makes its products."""
    rates = {(2048, 2048, 2048): 100.0, (10, 20, 30): 150.0}
    monkeypatch.setattr("scripts.benchmark.machine.product_rate", lambda shape, dtype: rates[shape])
    assert measure_rates([(10, 20, 30)])["fp32"] == 150


@pytest.mark.slow
def test_a_worker_answers_from_its_own_process():
    worker = Worker(partial(make_pool, "gigp", None, 32, 10), threads=1)
    assert worker.process.pid != os.getpid()
    assert worker.ask("size") == 64
    assert worker.ask("time", "train") > 0
    assert worker.ask("peak_mb") > 0
    worker.stop()
    assert not worker.process.is_alive()


def test_unknown_case_names_the_cases(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--cases", "QM8"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "no case contains 'QM8'; the cases are: QM9 T(3), k 256" in capsys.readouterr().err


def test_a_measurement_leaves_the_committed_record_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--cases", "GIGP"])
    out = benchmark.parse_arguments().out
    ignored = subprocess.run(["git", "check-ignore", "-q", out], cwd=ROOT, check=False)
    assert ignored.returncode == 0


@pytest.mark.slow
def test_record(tmp_path, monkeypatch):
    out = tmp_path / "record.json"
    monkeypatch.setattr(
        sys, "argv", ["benchmark.py", "--cases", "GIGP", "--repeats", "1", "--out", str(out)]
    )
    benchmark.main()
    side = json.loads(out.read_text())["cases"][POOL]["sides"]["gigp"]
    assert side["train"] > 0
    assert 0 < side["share_of_matrix_rate"] < 1


@pytest.mark.skipif(
    "LIECONV" not in os.environ, reason="LIECONV does not name a checkout of mfinzi/LieConv"
)
def test_same_arithmetic_as_the_reference():
    torch.manual_seed(0)
    differences = reference.parity(os.environ["LIECONV"])
    assert len(differences) == 8
    assert max(differences.values()) < 1e-5
