"""The page on the published settings: commands that compose, estimates from the benchmark, and what
has been run.
"""

import json
from dataclasses import replace

import pytest

from gigp.config.compose import compose_config
from gigp.study.experiments import base_of
from gigp.study.paper import COMPARISONS, gpu_estimates, paper_table
from gigp.study.runs import read_records
from tests.conftest import ROOT
from tests.study.synthetic import write_run

BENCHMARK = json.loads((ROOT / "results" / "benchmarks" / "cpu.json").read_text())


def test_runs_at_paper_scale_are_told_and_others_are_not(tmp_path):
    overrides = (
        "dataset=qm9",
        "target=homo",
        "pool=mean",
        "scale=paper",
        "trainer.precision=bf16-mixed",
    )
    cell = replace(base_of(overrides).cell("", overrides), targets=("homo",))
    write_run(tmp_path, cell, lambda cell, target: 31.25)
    shown = paper_table(ROOT, read_records(tmp_path, {}), BENCHMARK).shown.set_index("command")[
        "run"
    ]
    run = shown["`python train.py -m dataset=qm9 target=homo pool=mean scale=paper seed=0,1,2`"]
    assert run == "seed 0: 31.25 meV (trainer.precision=bf16-mixed)"
    assert (shown == "not run").sum() == len(shown) - 1


def test_estimates_follow_from_the_benchmark(tmp_path):
    """Hours are samples over the rate; without a record there is none."""
    rate = BENCHMARK["cases"]["QM9 T(3), k 1536"]["sides"]["gigp"]
    hours = 500 * (100_000 / rate["train"] + 17_748 / rate["eval"]) / 3600
    column = "hours a seed on two CPU cores (estimate)"
    records = read_records(tmp_path, {})
    assert paper_table(ROOT, records, BENCHMARK).shown[column][0] == f"{hours:.0f}"
    assert set(paper_table(ROOT, records, None).shown[column]) == {"—"}


def test_gpu_estimates_are_those_of_the_page_on_speed():
    found = gpu_estimates(ROOT / "docs" / "speed.md")
    assert {case for _, _, case in COMPARISONS[:2]} <= found.keys()


@pytest.mark.parametrize("overrides", [overrides for overrides, _, _ in COMPARISONS])
def test_commands_compose(overrides):
    assert compose_config([*overrides, "scale=paper"]).choices.scale == "paper"
