"""A clock that jumps, back or forth by years: nothing of a run depends on the time of day."""

import itertools
import json
import os
import time

import pandas as pd
import pytest

from gigp.lab.training.module import LitModule
from gigp.lab.training.run import run
from tests.lab.faults.harness import assert_same_run, left

YEAR = 365 * 86_400


def test_jumping_clock(clouds, monkeypatch):
    """Every look at the clock shows another year; files on the disk are from the future, or older
    than Unix.
    """
    run(whole := clouds("whole"))
    jumps = itertools.cycle([30 * YEAR, -20 * YEAR, 0, 5 * YEAR, -40 * YEAR])
    truth = time.time
    monkeypatch.setattr(time, "time", lambda: truth() + next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * (truth() + next(jumps))))
    cfg, step = clouds("it"), LitModule.training_step

    def fail(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LitModule, "training_step", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        run(cfg)
    monkeypatch.setattr(LitModule, "training_step", step)
    for i, path in enumerate(sorted(left(cfg).path.rglob("*"))):
        os.utime(path, (-YEAR, -YEAR) if i % 2 else (60 * YEAR, 60 * YEAR))
    run(cfg)
    assert_same_run(cfg, whole)
    record = json.loads(left(cfg).record_path.read_text())
    seconds = pd.read_csv(left(cfg).metrics)[["train_seconds", "seconds"]].to_numpy()
    assert ((seconds > 0) & (seconds < 60)).all()
    assert record["samples_per_second"] > 0
    assert json.loads(run(cfg).to_json()) == record  # and it is finished, whatever the year
