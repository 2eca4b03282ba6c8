"""wandb's service dies in the middle of a run: training goes on, and the record is whole."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import ROOT, tiny
from tests.lab.faults.harness import assert_same_run, finish

TINY = (*tiny(epochs=40, train=60, val=20, test=20), "dataset=orbits", "dataset.batch_size=20")


def service_of(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "wandb-core" in child.name()]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
def test_service_killed_in_the_middle(configure, tmp_path):
    whole = configure(*TINY, "name=whole")
    finish(whole)
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | {
        "OMP_NUM_THREADS": "1"
    }
    command = [
        sys.executable,
        "train.py",
        *TINY,
        "logger=wandb",
        f"results_dir={tmp_path}/runs",
        "name=it",
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**env, "WANDB_MODE": "offline"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    metrics, deadline = tmp_path / "runs" / "it" / "seed0" / "metrics.csv", time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    services = service_of(process)
    assert services
    for service in services:
        service.kill()
    assert len(metrics.read_text().splitlines()) < 41, (
        "the run was over before the service was killed"
    )
    _out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert errors.count("wandb has stopped") == 1
    assert_same_run(configure(*TINY, "name=it"), whole)
