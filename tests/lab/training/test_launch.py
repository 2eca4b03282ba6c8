"""One run in two processes: the same numbers as in one, one record, and a resume in either
direction.
"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.runs.checkpoints import load_checkpoint
from gigp.lab.runs.samples import read_samples
from gigp.lab.training import launch as processes
from gigp.lab.training.module import LitModule
from gigp.lab.training.run import run
from tests.conftest import DATA, ROOT, tiny

# uneven shares everywhere; the last batch of validation, test and recalibration is a single cloud
UNEVEN = (
    *tiny(epochs=3, train=151, val=61, test=71),
    "dataset.eval_batch_size=20",
    "trainer.precision=64-true",
)
QM9 = ("dataset=qm9", "dataset.batch_size=75")
DIGITS = ("dataset=rotmnist", "dataset.batch_size=25")
TWO = "trainer.devices=2"
TIMES = ["train_seconds", "seconds", "cpu_seconds"]


@pytest.fixture(autouse=True)
def _data(qm9, digits):
    """The caches are there."""


def interrupt(monkeypatch, epoch: int, batch: int) -> None:
    """Let this process fail in training, once."""
    step = LitModule.training_step

    def fail(self, inputs, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            monkeypatch.setattr(LitModule, "training_step", step)
            raise OSError("power cut")
        return step(self, inputs, batch_idx)

    monkeypatch.setattr(LitModule, "training_step", fail)


def assert_same_run(a, b) -> None:
    """Two run folders hold the same run, up to rounding; metrics are summed in single precision."""
    records = [json.loads((folder / "summary.json").read_text()) for folder in (a, b)]
    for name, metric in records[0]["metrics"].items():
        for part in ("test", "val"):
            assert records[1]["metrics"][name][part] == pytest.approx(metric[part], rel=1e-6)
    for key in ("best_epoch", "epochs", "steps", "parameters"):
        assert records[0][key] == records[1][key]
    rows = [pd.read_csv(folder / "metrics.csv").drop(columns=TIMES) for folder in (a, b)]
    pd.testing.assert_frame_equal(*rows, rtol=1e-6)
    samples = [read_samples(folder / "test_samples.npz") for folder in (a, b)]
    for name, values in samples[0].items():
        np.testing.assert_allclose(samples[1][name], values, rtol=2e-3)
    weights = [load_checkpoint(f / "checkpoints" / "last.ckpt")["state_dict"] for f in (a, b)]
    assert weights[0].keys() == weights[1].keys()
    for key in weights[0]:
        torch.testing.assert_close(weights[1][key], weights[0][key], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("data", [QM9, DIGITS])
def test_one_process_begins_and_two_go_on(configure, tmp_path, monkeypatch, data):
    run(configure(*UNEVEN, *data, "name=whole"))
    interrupt(monkeypatch, epoch=1, batch=1)
    with pytest.raises(OSError, match="power cut"):
        run(configure(*UNEVEN, *data, "name=it"))
    assert run(configure(*UNEVEN, *data, "name=it", TWO)).processes == 2
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & os.environ.keys()
    assert not torch.distributed.is_initialized()
    runs = tmp_path / "runs"
    assert_same_run(runs / "whole" / "seed0", runs / "it" / "seed0")
    assert sorted(path.name for path in (runs / "it" / "seed0").iterdir()) == [
        ".lock",
        "checkpoints",
        "config.yaml",
        "metrics.csv",
        "summary.json",
        "test_predictions.csv",
        "test_samples.npz",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("data", [QM9, DIGITS])
def test_two_processes_begin_and_one_goes_on(configure, tmp_path, monkeypatch, data):
    run(configure(*UNEVEN, *data, "name=whole"))
    interrupt(monkeypatch, epoch=1, batch=1)
    with pytest.raises(OSError, match="power cut"):
        run(configure(*UNEVEN, *data, "name=it", TWO))
    run(configure(*UNEVEN, *data, "name=it"))
    assert_same_run(*(tmp_path / "runs" / name / "seed0" for name in ("whole", "it")))


@pytest.mark.slow
def test_more_processes_than_clouds_in_a_batch_are_refused(configure):
    with pytest.raises(InputError, match="2 processes cannot share batches of 1"):
        run(configure(*UNEVEN, "dataset.batch_size=1", TWO))
    with pytest.raises(InputError, match="auto, ddp"):
        run(configure(*UNEVEN, "trainer.strategy=fsdp"))
    with pytest.raises(InputError, match="torchrun"):
        run(configure(*UNEVEN, TWO, "+trainer.num_nodes=2"))


SRUN = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_JOB_NAME": "a"}


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "1"},
        {"LOCAL_RANK": "3"},
        {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x"},
        SRUN | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"},
        SRUN | {"SLURM_PROCID": "0"},  # the script of a job with --ntasks=4, without srun
    ],
)
def test_a_run_on_one_device_is_whole_whatever_the_environment(
    configure, tmp_path, monkeypatch, capsys, environment
):
    """Ranks may be left over, or belong to independent runs that one srun has started."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    # as Lightning does when it is imported
    rank = int(environment.get("RANK") or environment.get("LOCAL_RANK") or 2)
    monkeypatch.setattr(processes.rank_zero_only, "rank", rank)
    sizes = tiny(epochs=1, train=20, val=10, test=10)
    run(configure("dataset=orbits", *sizes, "name=it"))
    folder = tmp_path / "runs" / "it" / "seed0"
    assert json.loads((folder / "summary.json").read_text())["processes"] == 1
    assert (folder / ".lock").exists()
    assert "epoch 1/1" in capsys.readouterr().out


def test_an_srun_of_another_number_of_tasks_is_refused(configure, monkeypatch):
    for key, value in (SRUN | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(InputError, match="srun has started 4 tasks, but the run has 2 processes"):
        run(configure("dataset=orbits", *tiny(epochs=1, train=20, val=10, test=10), TWO))


def test_process_that_ends_at_once_is_not_waited_for(configure, monkeypatch):
    """PyTorch would wait for it for half an hour."""
    monkeypatch.setattr(processes, "JOIN", "import sys; sys.exit(3)")
    with pytest.raises(InputError, match="process 1 of the run ended before it began"):
        run(configure(*UNEVEN, TWO))
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & os.environ.keys()


def command(*arguments: str, name: str = "it") -> list[str]:
    where = [f"dataset.root={DATA}", f"dataset.cache={DATA}", f"name={name}"]
    return [sys.executable, "train.py", *UNEVEN, *arguments, *where]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_processes_resume(configure, tmp_path, how):
    run(configure(*UNEVEN, "trainer.max_epochs=8", "name=whole"))
    line = command("logger=csv", f"results_dir={tmp_path}/runs", "trainer.max_epochs=8", TWO)
    process = subprocess.Popen(
        line, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = tmp_path / "runs" / "it" / "seed0"
    while not (
        (folder / "metrics.csv").exists()
        and len((folder / "metrics.csv").read_text().splitlines()) > 2
    ):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(how)
    # which waits for the other process too: it holds the pipes
    _, errors = process.communicate(timeout=60)
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert "The same command goes on" in errors
        assert "Traceback" not in errors
    assert (
        "Resuming"
        in subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    )
    assert_same_run(tmp_path / "runs" / "whole" / "seed0", folder)


@pytest.mark.slow
def test_sweep_of_runs_in_two_processes_with_one_wandb_run_each(tmp_path):
    line = [
        "hydra.mode=MULTIRUN",
        "pool=mean,gigp",
        TWO,
        "logger=wandb",
        f"results_dir={tmp_path}/runs",
    ]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | {
        "HOME": str(tmp_path)
    }
    done = subprocess.run(
        command(*line, name="null"), cwd=ROOT, capture_output=True, text=True, env=clean
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 3/3") == 2  # one process prints
    folders = list((tmp_path / "runs").glob("*/seed0"))
    assert len(folders) == 2
    for folder in folders:
        assert json.loads((folder / "summary.json").read_text()).processes == 2
        assert len(list((folder / "wandb").glob("offline-run-*"))) == 1


@pytest.mark.slow
def test_torchrun_starts_the_processes(configure, tmp_path):
    run(configure(*UNEVEN, "name=whole"))
    line = command("logger=csv", f"results_dir={tmp_path}/runs", TWO)[1:]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for outcome in ("epoch 3/3", "skipped"):
        done = subprocess.run([*torchrun, *line], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(outcome) == 1
    assert_same_run(*(tmp_path / "runs" / name / "seed0" for name in ("whole", "it")))
