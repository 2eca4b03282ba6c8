"""Sweeps in other processes: outcomes come home, threads are shared, and what is preempted
resumes.
"""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from gigp.lab.runs.name import run_name
from gigp.lab.training.run import run
from tests.conftest import DATA, ROOT, tiny
from tests.lab.training.test_run import assert_same_weights

TINY = (
    *tiny(epochs=1, train=75, val=20, test=20),
    "logger=csv",
    f"dataset.root={DATA}",
    f"dataset.cache={DATA}",
)
# a scheduler of one machine that starts at once the jobs of an array, and requeues
SLURM = {
    "sbatch": """
import os, re, subprocess, sys
from pathlib import Path
if len(sys.argv) == 2:
    last = re.search(r"--array=0-(\\d+)", Path(sys.argv[1]).read_text())
    for task in range(int(last[1]) + 1 if last else 1):
        array = {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": str(task)} if last else {}
        env = {"SLURM_JOB_ID": str(70 + task), "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
        env |= {"SLURM_JOB_NAME": "a", **array}
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        options = dict(env={**os.environ, **env}, start_new_session=True, **quiet)
        subprocess.Popen([*sys.orig_argv, "run"], **options)
    print("Submitted batch job 70")
else:
    mark = Path(__file__).with_name("requeue")
    subprocess.run(["bash", sys.argv[1]])
    while mark.exists():
        mark.unlink()
        subprocess.run(["bash", sys.argv[1]])
""",
    "srun": """
import os, subprocess, sys
array = [os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK")]
name = "_".join(array) if all(array) else "70"
paths = [a.replace("%A_%a", name).replace("%j", name) for a in sys.argv[3:6:2]]
out, err = (open(path.replace("%t", "0"), "a") for path in paths)
subprocess.run(sys.argv[6:], stdout=out, stderr=err)
""",
    "scontrol": """
import sys
from pathlib import Path
assert sys.argv[1] == "requeue"
Path(__file__).with_name("requeue").touch()
""",
    "sacct": """
print("JobID|State|NodeList")
""",
}


@pytest.fixture(autouse=True)
def _data(qm9):
    """The cache is there."""


def start(*arguments: str, **env: str) -> subprocess.Popen:
    command = [sys.executable, "train.py", "-m", *TINY, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, env={**os.environ, **env}, **pipes)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "local"])
def test_outcomes_of_other_processes_are_reported(tmp_path, launcher):
    done = start(
        "pool=mean,sum",
        "lr=0.01,-1",
        f"launcher={launcher}",
        f"results_dir={tmp_path}",
        OMP_NUM_THREADS="",
    )
    out, errors = done.communicate()
    assert done.returncode == 1, errors
    assert out.count("FAILED: lr=-1") == 2
    assert (
        len([line for line in out.splitlines() if "lr=0.01" in line and line.endswith(" meV")]) == 2
    )
    assert "Traceback" not in errors
    names = sorted(
        path.name for path in tmp_path.iterdir() if list(path.glob("seed0/summary.json"))
    )
    assert len(names) == 2
    assert not any("launcher" in name for name in names)
    if launcher == "joblib":
        assert not (tmp_path / ".sweep").exists()
        records = [
            yaml.safe_load((tmp_path / name / "seed0" / "summary.json").read_text())
            for name in names
        ]
        assert {record["threads"] for record in records} == {1}  # cores / runs at a time


@pytest.mark.slow
def test_ctrl_c_ends_runs_side_by_side_in_one_sentence(tmp_path):
    """The terminal sends it to all processes; none stays, and the same command goes on."""
    command = [sys.executable, "train.py", "-m", "dataset=orbits", "scale=debug", "logger=csv"]
    command += [
        "launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "pool=mean,sum",
        "name=${choices.pool}",
    ]
    command += [f"results_dir={tmp_path}", "trainer.accelerator=cpu"]
    options = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    endless = [*command, "trainer.max_epochs=1000000"]
    sweep = subprocess.Popen(endless, start_new_session=True, **options)
    wait_for_epochs(tmp_path, sweep)
    processes = psutil.Process(sweep.pid).children(recursive=True)
    os.killpg(sweep.pid, signal.SIGINT)
    _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 130
    assert errors.strip() == "Interrupted. The same command goes on from the last finished epoch."
    assert psutil.wait_procs(processes, timeout=60)[1] == []
    assert not (tmp_path / ".sweep").exists()


@pytest.mark.slow
def test_run_whose_process_dies_is_a_failure(tmp_path):
    sweep = start(
        "pool=mean",
        "launcher=local",
        f"results_dir={tmp_path}",
        "trainer.max_epochs=500",
        "seed=0,1",
    )
    wait_for_epochs(tmp_path, sweep)
    for process in jobs(tmp_path):
        process.kill()
    out, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 1
    assert out.count("its process died") == 2


@pytest.fixture
def slurm(tmp_path) -> dict[str, str]:
    """Environment in which the commands of SLURM are those above."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in SLURM.items():
        (folder / name).write_text(f"#!{sys.executable}{text}")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def jobs(folder) -> list[psutil.Process]:
    """Processes that run the jobs of a sweep with records below a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if line[2:4] == ["-m", "submitit.core._submit"] and line[4].startswith(str(folder)):
            found.append(process)
    return found


def wait_for_epochs(folder, process: subprocess.Popen) -> None:
    while not any(
        len(path.read_text().splitlines()) > 2 for path in folder.glob("*/seed0/metrics.csv")
    ):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_preempted_run_is_requeued_and_resumes(configure, tmp_path, slurm, launcher):
    run(configure(*TINY, "trainer.max_epochs=40", f"results_dir={tmp_path}/whole", "name=it"))
    folder = tmp_path / "runs"
    sweep = start(
        f"launcher={launcher}",
        f"results_dir={folder}",
        "name=it",
        "trainer.max_epochs=40",
        OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"),
        **slurm,
    )
    wait_for_epochs(folder, sweep)
    (job,) = jobs(folder)
    job.send_signal(signal.SIGTERM)  # which SLURM sends too, and submitit ignores
    job.send_signal(signal.SIGUSR2)
    _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, errors
    (log,) = folder.glob(".sweep/*/.submitit/*/*_log.out")
    assert log.read_text().count("Resuming") == 1
    last = "it/seed0/checkpoints/last.ckpt"
    assert_same_weights(folder / last, tmp_path / "whole" / last)


def test_wandb_sweep(configure):
    """What an agent of wandb would run, composed by Hydra, as wandb itself expands the command."""
    sweep = yaml.safe_load((ROOT / "scripts" / "wandb_sweep.yaml").read_text())
    assert (ROOT / sweep["program"]).exists()
    assert sweep["command"][1:] == ["${interpreter}", "${program}", "${args_no_hyphens}"]
    names = set()
    for pool in sweep["parameters"]["pool"]["values"]:
        values = {
            k: v["values"][0] if "values" in v else v["value"]
            for k, v in sweep["parameters"].items()
        }
        arguments = {key: {"value": value} for key, value in {**values, "pool": pool}.items()}
        overrides = create_sweep_command_args({"args": arguments})["args_no_hyphens"]
        cfg = configure(*overrides)
        assert cfg.choices.pool == pool
        assert cfg.logger.name == "wandb"
        names.add(run_name(OmegaConf.to_container(cfg, resolve=True), overrides))
    assert len(names) == len(sweep["parameters"]["pool"]["values"])
