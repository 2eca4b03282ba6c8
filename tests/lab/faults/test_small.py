"""Mistakes and losses that each end in one sentence, or in nothing at all."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gigp.errors import InputError
from gigp.lab.commands.train import main
from gigp.lab.config.validate import check_settings
from gigp.lab.files import write_atomically
from gigp.lab.training.loggers import wandb_mode
from gigp.lab.training.sweep import end_with
from tests.conftest import tiny


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "${oc.env:NOPE}", "a setting refers to what there is not: .*NOPE"),
        ("trainer.accumulate_grad_batches", 0, "must be a whole number, 1 or larger"),
        ("trainer.accumulate_grad_batches", 1.5, "must be a whole number, 1 or larger"),
        ("lr", 10**400, "it must be a number"),
        ("lr", float("inf"), "it must be a number"),
    ],
)
def test_settings(configure, key, value, message):
    cfg = configure("dataset=orbits")
    OmegaConf.update(cfg, key, value, force_add=True)
    with pytest.raises(InputError, match=message):
        check_settings(cfg)


@pytest.mark.parametrize("where", ["full disk", "closed"])
def test_output_that_cannot_be_written(where, tmp_path, monkeypatch):
    """Training goes on: its results are in files."""
    if where == "full disk" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    out = open("/dev/full", "w", buffering=1) if where == "full disk" else None  # noqa: SIM115
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, out)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    words = ["dataset=orbits", *tiny(epochs=1, train=40, val=10, test=10), "logger=csv", "name=it"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words, f"results_dir={tmp_path}"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert (tmp_path / "it" / "seed0" / "summary.json").exists()
    if out is not None:
        with pytest.raises(OSError, match="No space left"):
            out.close()


def test_workers_end_with_their_parent():
    """A process forks a worker and is killed; the worker holds the pipe open while it lives."""
    reader, writer = os.pipe()
    if not (parent := os.fork()):
        middle = os.getpid()
        if not os.fork():
            end_with(middle)
            os.write(writer, b"1")
        time.sleep(20)
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"1"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    begun = time.monotonic()
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert time.monotonic() - begun < 10


def test_offline_in_capitals(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "OFFLINE")
    assert wandb_mode() == "offline"


def test_folder_is_synced_after_a_rename(tmp_path, monkeypatch):
    """Else a loss of power may bring the old file back after a newer one has been written."""
    calls, replace, sync = [], os.replace, os.fsync

    def note(name, call):
        return lambda *arguments: calls.append(name) or call(*arguments)

    monkeypatch.setattr(os, "replace", note("rename", replace))
    monkeypatch.setattr(os, "fsync", note("sync", sync))
    write_atomically(tmp_path / "it", "here")
    assert calls == ["sync", "rename", "sync"]
