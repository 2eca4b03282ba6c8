"""A sweep announces every run, and ends with the outcomes and a comparison."""

import fcntl
import io
import math
import pickle

from omegaconf import OmegaConf

from gigp.lab.files import open_lock, take_lock
from gigp.lab.runs.console import LabelledLines
from gigp.lab.training.sweep import Outcome, Sweep
from tests.conftest import tiny
from tests.programs import run_program

TINY = tiny(epochs=1, train=40, val=10, test=10)
CLOUDS = ("-m", "dataset=orbits", *TINY, "logger=csv", "report=false")


def test_a_sweep_ends_with_a_comparison(tmp_path):
    """Another process is at work on one of its runs."""
    runs = tmp_path / "my runs"
    line = [*CLOUDS, "pool=mean,sum,max", f"results_dir={runs}", "name=it-${choices.pool}"]
    busy = runs / "it-max" / "seed0"
    busy.mkdir(parents=True)
    with open(busy / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run_program("train.py", *line)
    assert done.returncode == 0, done.stderr
    for number, pool in enumerate(("mean", "sum", "max"), 1):
        assert f"Run {number} of 3:" in done.stdout
        assert f"pool={pool}" in done.stdout
    assert done.stdout.count("skipped: another process") == 1
    table = done.stdout[done.stdout.index("minus mean") :]
    assert "sum" in table
    assert "max" not in table
    assert not (runs / ".sweep").exists()


def test_lines_are_labelled():
    stream = io.StringIO()
    lines = LabelledLines(stream, "[2] ")
    for text in ("one\ntw", "o\n", "rest"):
        lines.write(text)
    assert stream.getvalue() == "[2] one\n[2] two\n"
    assert not lines.isatty()


def test_the_next_sweep_removes_what_a_killed_one_left(tmp_path):
    config = OmegaConf.create(
        {"hydra": {"sweep": {"dir": f"{tmp_path}/.sweep/3"}, "launcher": {"_target_": "basic"}}}
    )
    killed, alive, other = (tmp_path / ".sweep" / name for name in "120")
    for folder in (killed, alive, other):
        (folder / "outcomes").mkdir(parents=True)
    (other / ".submitit").mkdir()
    with open_lock(alive / "outcomes" / ".lock") as file:
        assert take_lock(file)
        Sweep().on_multirun_start(config)
    assert not killed.exists()
    assert (alive / "outcomes").exists()
    assert [path.name for path in other.iterdir()] == [".submitit"]


def test_an_outcome_is_the_loss_that_a_search_minimizes():
    done = pickle.loads(pickle.dumps(Outcome("homo 50 meV", 0.25, "runs/it/seed0")))
    assert (done, done.line) == (0.25, {"outcome": "homo 50 meV", "folder": "runs/it/seed0"})
    failed = pickle.loads(pickle.dumps(Outcome("FAILED: no such pool")))
    assert math.isnan(failed)
    assert failed.line == {"outcome": "FAILED: no such pool"}
