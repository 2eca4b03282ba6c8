"""The command line as a user meets it: help, sweeps, mistakes, and wandb without an account."""

import json
import os
from subprocess import CompletedProcess

import pytest

from gigp.lab.config.help import help_text
from tests.conftest import DATA, ROOT, tiny
from tests.programs import run_program

TINY = (*tiny(epochs=1, train=75, val=20, test=20), f"dataset.root={DATA}", f"dataset.cache={DATA}")


@pytest.fixture(autouse=True)
def _data(qm9, digits):
    """The caches are there."""


def train(*arguments: str, **env: str) -> CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB") and k != "HOME"}
    return run_program("train.py", *arguments, env={**clean, **env})


def test_help_is_asked_for_anywhere():
    done = train("pool=gigp", "--help")
    assert (done.returncode, done.stdout) == (0, help_text("python train.py"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["poool=gigp"], "poool is not a setting. Did you mean pool?"),
        (
            ["--pool", "gigp"],
            "--pool is not an option; settings are written KEY=VALUE, without dashes, as in pool=",
        ),
        (["target=hommo"], "Did you mean homo"),
        (
            ["trainer.precision=8"],
            "Lightning refuses these settings of trainer: Precision 8 is invalid.",
        ),
    ],
)
def test_mistakes_end_in_one_message(tmp_path, arguments, message):
    done = train(*TINY, "logger=csv", f"results_dir={tmp_path}", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("\nError: ")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.slow
def test_sweep_goes_on_after_a_failure_and_skips_what_is_finished(tmp_path):
    sweep = [
        *("-m", "dataset=orbits", *tiny(epochs=1, train=75, val=20, test=20)),
        *("logger=csv", f"results_dir={tmp_path}", "pool=mean,gigp", "lr=0.01,-1"),
    ]
    done = train(*sweep)
    assert done.returncode == 1
    assert len(list(tmp_path.glob("*/seed0/summary.json"))) == 2
    assert done.stdout.count("FAILED") == 2
    assert "Traceback" not in done.stderr
    again = train(*sweep)
    assert again.stdout.count("skipped") == 2
    assert not (ROOT / "outputs").exists()
    assert not (ROOT / "multirun").exists()


def test_sweep_runs_the_combinations_that_exist(tmp_path):
    where = ["dataset=orbits", *tiny(epochs=1, train=75, val=20, test=20), "logger=csv"]
    where += [f"results_dir={tmp_path}", "pool=gigp,mean", "pool.orbits=5"]
    done = train("-m", *where)
    assert done.returncode == 1
    assert done.stdout.count("pool=mean pool.orbits=5: FAILED: pool.orbits is not a setting.") == 1
    assert len(list(tmp_path.glob("*/seed0/summary.json"))) == 1
    none = train("-m", *where, "pool=sum,mean")
    assert (none.returncode, none.stdout) == (2, "")
    assert none.stderr.startswith("\nError: pool.orbits is not a setting. ")


def test_sweep_over_nothing_is_refused(tmp_path):
    done = train("-m", "dataset=orbits", f"results_dir={tmp_path}", "target=glob(*)")
    assert done.returncode == 2
    assert done.stderr.startswith("\nError: there is nothing to run: glob(...)")


def test_wandb_offline_without_account_or_prompt(tmp_path):
    done = train(*TINY, f"results_dir={tmp_path}", "name=it", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "wandb sync" in done.stdout
    (folder,) = (tmp_path / "it" / "seed0" / "wandb").glob("offline-run-*")
    (log,) = folder.glob("run-*.wandb")
    content = log.read_bytes()
    for expected in (b"val/homo", b"test/homo", b"train/loss"):
        assert expected in content


def test_csv_logger_needs_no_wandb(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import runpy, sys\n"
        "assert 'wandb' not in sys.modules\n"
        "sys.modules['wandb'] = None\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
    )
    words = [*TINY, f"results_dir={tmp_path}", "name=it", "logger=csv"]
    done = run_program(str(script), *words)
    assert done.returncode == 0, done.stderr
    assert (
        json.loads((tmp_path / "it" / "seed0" / "summary.json").read_text())["metrics"]["homo"][
            "unit"
        ]
        == "meV"
    )
