"""A list of runs that is worked through in pieces: nothing is lost, nothing is done twice."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time

import pytest

from gigp.errors import InputError
from gigp.lab.config.compose import compose_config
from gigp.lab.config.validate import check_settings
from scripts.run_queue import read_queue, take_over
from tests.conftest import ROOT, tiny

CLOUDS = " ".join(
    ["dataset=orbits", "logger=csv", *tiny(epochs=30, train=60, val=20, test=20)],
)


def test_blocks_of_a_list(tmp_path):
    path = tmp_path / "queue.txt"
    path.write_text("# first\nseed=0 pool=mean\nseed=1  # next\n\n\nname='a b'\n")
    assert read_queue(path) == [[["seed=0", "pool=mean"], ["seed=1"]], [["name=a b"]]]
    for text, message in (
        ("", "has no runs"),
        ("seed=0\npool gigp", "line 2: 'pool' is no override"),
        ("name='a", "line 1: No closing quotation"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_queue(path)
    with pytest.raises(InputError, match="cannot be read as a list of runs"):
        read_queue(tmp_path / "none.txt")


def test_the_list_for_a_gpu_can_be_run():
    blocks = read_queue(ROOT / "scripts" / "gpu_queue.txt")
    assert blocks
    for first, *_ in blocks:
        check_settings(compose_config(first), first)


def test_folders_of_an_earlier_call_are_taken_over(tmp_path):
    for place, text in (("old/a/seed0", "old"), ("old/b/seed0", "old"), ("new/a/seed0", "new")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.yaml").write_text(text)
    take_over(tmp_path / "old", tmp_path / "new")
    texts = {p.parts[-3]: p.read_text() for p in tmp_path.glob("new/*/seed0/config.yaml")}
    assert texts == {"a": "new", "b": "old"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_and_moved_until_all_is_done(tmp_path):
    """The queue is killed at random moments, and goes on in another folder each time."""
    draw = random.Random(0)
    queue = tmp_path / "queue.txt"
    lines = [f"{CLOUDS} name={name} pool={name}" for name in ("mean", "gigp", "max")]
    queue.write_text("\n".join(lines[:2]) + "\n\n" + lines[2] + "\n")
    for call in range(40):
        runs = tmp_path / f"machine{call}"
        command = [sys.executable, "scripts/run_queue.py", queue, "--runs", runs, "--jobs", "2"]
        if call:
            command += ["--from", tmp_path / f"machine{call - 1}"]
        process = subprocess.Popen(
            [*map(str, command)],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        how = draw.choice([signal.SIGKILL, signal.SIGTERM])
        try:
            out, errors = process.communicate(timeout=draw.uniform(8, 25) if call < 6 else 200)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            process.communicate()
            time.sleep(2)  # the runs end with it
            continue
        assert process.returncode == 0, errors
        assert "3 of 3 runs are finished, 0 have failed." in out
        break
    assert call > 0
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for line in lines:
        name = line.rpartition("=")[2]
        folder = runs / name / "seed0"
        record = json.loads((folder / "summary.json").read_text())
        again = tmp_path / "whole"
        words = [*shlex.split(line), f"results_dir={again}"]
        subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, check=True, env=env)
        whole = json.loads((again / name / "seed0" / "summary.json").read_text())
        assert record["metrics"] == whole["metrics"]
        assert len((folder / "metrics.csv").read_text().splitlines()) == 31
