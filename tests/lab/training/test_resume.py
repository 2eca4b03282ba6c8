"""Resume where the best epoch is early: after every epoch `last.ckpt` is that epoch's."""

import json
import os
import shutil
import signal
import time

import pandas as pd
import pytest
import torch

from gigp.lab.runs.checkpoints import load_checkpoint
from gigp.lab.runs.folder import RunFolder
from gigp.lab.training.module import LitModule
from gigp.lab.training.run import run
from tests.conftest import tiny
from tests.lab.faults.harness import COLUMNS, assert_same_run, left
from tests.programs import Program, run_program

EPOCHS = 8
# a rate so large that the validation loss soon grows
DIVERGING = (
    "dataset=orbits",
    *tiny(epochs=EPOCHS, train=60, val=20, test=20),
    "dataset.batch_size=20",
    "lr=0.3",
    "trainer.gradient_clip_val=1",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of the run that was never interrupted."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def whole(configure, runs):
    """The run that was never interrupted; the first test that needs it makes it."""
    cfg = configure(*DIVERGING, f"results_dir={runs}", "name=whole")
    summary = run(cfg)
    assert summary.best_epoch < EPOCHS - 2, "the best epoch must be early"
    return cfg


def interrupt(monkeypatch, method: str, epoch: int) -> None:
    """Make one step of an epoch fail, once."""
    step = getattr(LitModule, method)

    def fail(self, batch, batch_idx):
        if self.current_epoch == epoch:
            monkeypatch.setattr(LitModule, method, step)
            raise OSError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LitModule, method, fail)


def epoch_of(path) -> int:
    return load_checkpoint(path)["epoch"]


def rows_of_file(metrics) -> int:
    return len(metrics.read_text().splitlines()) - 1


def rows_of(folder: RunFolder) -> pd.DataFrame:
    return pd.read_csv(folder.metrics).drop(columns=COLUMNS)


@pytest.mark.parametrize("epoch", [2, EPOCHS - 1])
def test_resume_goes_on_from_the_last_finished_epoch(configure, whole, monkeypatch, epoch):
    cfg = configure(*DIVERGING, "name=it")
    interrupt(monkeypatch, "training_step", epoch)
    with pytest.raises(OSError, match="power cut"):
        run(cfg)
    folder = left(cfg)
    rows = rows_of(folder)
    assert epoch_of(folder.last) == epoch - 1
    assert rows["epoch"].tolist() == list(range(epoch))
    assert epoch_of(folder.best) == rows["val/loss"].idxmin()
    pd.testing.assert_frame_equal(rows, rows_of(left(whole))[:epoch])

    trained = []
    step = LitModule.training_step

    def watch(self, batch, batch_idx):
        trained.append(self.current_epoch)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LitModule, "training_step", watch)
    run(cfg)
    assert sorted(set(trained)) == list(range(epoch, EPOCHS))
    assert_same_run(cfg, whole)
    assert epoch_of(folder.last) == EPOCHS - 1


def test_run_interrupted_in_its_test_resumes_with_the_test(configure, whole, monkeypatch):
    cfg = configure(*DIVERGING, "name=it")
    interrupt(monkeypatch, "test_step", EPOCHS)
    with pytest.raises(OSError, match="power cut"):
        run(cfg)

    def train(self, batch, batch_idx):
        raise AssertionError("it trains again")

    monkeypatch.setattr(LitModule, "training_step", train)
    before = left(cfg).last.read_bytes()
    run(cfg)
    assert left(cfg).last.read_bytes() == before
    assert_same_run(cfg, whole)


def test_folder_that_was_moved_resumes_to_the_same_record(configure, tmp_path, whole, monkeypatch):
    """Also where something has been put at the place that it was moved from."""
    cfg = configure(*DIVERGING, f"results_dir={tmp_path}/first", "name=it")
    interrupt(monkeypatch, "training_step", 4)
    with pytest.raises(OSError, match="power cut"):
        run(cfg)
    shutil.move(tmp_path / "first", tmp_path / "second")
    moved = configure(*DIVERGING, f"results_dir={tmp_path}/second", "name=it")
    run(moved)
    assert_same_run(moved, whole)
    assert not (tmp_path / "first").exists()


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGTERM,
        *(pytest.param(how, marks=pytest.mark.slow) for how in (signal.SIGKILL, signal.SIGINT)),
    ],
)
def test_killed_process_resumes(configure, tmp_path, runs, how):
    """The real command, killed from outside in the middle of training."""
    # long enough to be still at it when the signal comes
    overrides = [*DIVERGING, "trainer.max_epochs=60"]
    whole = configure(*overrides, f"results_dir={runs}", "name=long")
    run(whole)
    where = [f"results_dir={tmp_path}/runs", "name=it"]
    line = [*overrides, "logger=csv", "report=false", *where]
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = Program("train.py", *line, env=env)
    metrics = tmp_path / "runs" / "it" / "seed0" / "metrics.csv"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
        assert process.poll() is None, process.wait().stderr
        time.sleep(0.005)
    process.send_signal(how)
    killed = process.wait()
    if how != signal.SIGKILL:
        assert killed.returncode == 130
        assert "The same command goes on" in killed.stderr
        assert "Traceback" not in killed.stderr
    # a row stands for an epoch that is in last.ckpt
    assert epoch_of(metrics.parent / "checkpoints" / "last.ckpt") >= rows_of_file(metrics) - 1 > 0
    resumed = run_program("train.py", *line, env=env)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming" in resumed.stdout
    assert_same_run(configure(*overrides, "name=it"), whole)
    # the test does not go back in history
    record = json.loads(left(whole).record_path.read_text())
    assert record["epochs"] == 60 > record["best_epoch"] + 1
