"""`scripts/reproduce.py` knows which runs its tables lack and what must run before them, and
carries that out.
"""

import threading
from subprocess import CompletedProcess

import pytest

from gigp.config.compose import compose_config
from gigp.errors import InputError
from gigp.study.experiments import base_of, parse_choices, read_experiment, read_experiments
from gigp.study.plan import plan, run_jobs
from tests.programs import run_program

EXPERIMENTS = read_experiments()


def reproduce(*arguments: str) -> CompletedProcess:
    return run_program("scripts/reproduce.py", *arguments)


def test_lists_what_is_missing_and_what_runs_before(tmp_path):
    """Of fourteen heads for one seed one has a record; their backbone comes first."""
    folder = tmp_path / "features_T3_gigp_small_pool_on-outputs_experiment-qm9_heads" / "seed2"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    done = reproduce(
        "--table", "heads", "--only", "seed=2", "--dry-run", f"results_dir={tmp_path}", "logger=csv"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "14 runs, 1 with a record, 13 missing, 1 to run before them."
    assert (
        f"experiment=qm9_pools scale=small results_dir={tmp_path} logger=csv seed=2 pool=mean"
        in lines[1]
    )
    assert len(lines) == 15


def test_unknown_table_names_the_tables():
    done = reproduce("--table", "qm8")
    assert done.returncode == 2
    assert "orbits" in done.stderr


@pytest.mark.parametrize("experiment", [name for name, e in EXPERIMENTS.items() if e.sweeps])
def test_cells_are_named_as_their_runs(experiment):
    """What is told of a cell without composing its configuration is what the configuration says."""
    from gigp.training.name import run_name

    cell = EXPERIMENTS[experiment].cells("small")[-1]
    cfg, base = compose_config(cell.overrides), base_of(cell.overrides)
    config = {"name": cfg.name, "choices": dict(cfg.choices), "target": base.target}
    assert (cell.name, cell.seed) == (run_name(config, list(cell.overrides)), cfg.seed)
    assert (cell.pool_on, cell.choices) == (cfg.pool_on, dict(cfg.choices))
    assert cell.protocol == base.cell(experiment, cell.overrides).protocol
    if not EXPERIMENTS[experiment].needs:
        assert cell.targets == base.cell(experiment, cell.overrides).targets


@pytest.mark.parametrize(
    "experiment", [n for n, e in EXPERIMENTS.items() if e.needs and "init_from" in e.settings]
)
def test_trains_the_backbone_that_it_starts_from(experiment):
    cfg = compose_config([f"experiment={experiment}"])
    start = compose_config(EXPERIMENTS[experiment].needs[0])
    for key in ("backbone", "group", "target", "recalibrate"):
        assert cfg[key] == start[key], key


def test_a_checkpoint_that_is_here_is_not_made_again(tmp_path):
    cells = [cell for cell in EXPERIMENTS["qm9_heads"].cells("small") if cell.seed == 0]
    jobs = plan(cells, EXPERIMENTS, tmp_path)
    assert jobs[0].cell.name == "qm9_all_T3_mean_small_experiment-qm9_pools"
    assert {job.after for job in jobs[1:]} == {jobs[0].cell.key}
    best = tmp_path / jobs[0].cell.name / "seed0" / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    best.touch()
    assert [job.cell for job in plan(cells, EXPERIMENTS, tmp_path)] == cells


def test_a_start_that_no_experiment_makes_is_named(tmp_path):
    cells = EXPERIMENTS["qm9_heads"].cells("small", ["dataset.run=results/runs/elsewhere/seed0"])
    with pytest.raises(
        InputError, match="elsewhere/seed0, which is no run of experiment=qm9_pools"
    ):
        plan(cells[:1], EXPERIMENTS, tmp_path)


def test_failures_stop_what_needs_them_and_nothing_else(tmp_path):
    """Backbones of seeds 0 and 1; the first fails. What needs it is not tried; the others run, two
    at a time.
    """
    cells = [cell for cell in EXPERIMENTS["qm9_heads"].cells("small") if cell.seed < 2]
    jobs, order, lock, most, now = plan(cells, EXPERIMENTS, tmp_path), [], threading.Lock(), 0, 0
    meet = threading.Barrier(2, timeout=20)

    def start(cell) -> str:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
            order.append(cell.key)
        if cell.choices["dataset"] == "qm9":
            meet.wait()  # both backbones are under way at once
        with lock:
            now -= 1
        return "broken" if cell.choices["dataset"] == "qm9" and cell.seed == 0 else ""

    failed = run_jobs(jobs, 2, start)
    backbones = [job.cell.key for job in jobs if job.after is None]
    assert most == 2
    assert set(order[:2]) == set(backbones)
    assert len(order) == 2 + len(cells) // 2
    assert failed.pop(backbones[0]) == "broken"
    assert len(failed) == len(cells) // 2
    assert all("what it starts from failed" in problem for problem in failed.values())


def test_sweeps_are_read_as_hydra_reads_them(tmp_path):
    assert parse_choices("seed", "range(3)") == ["0", "1", "2"]
    assert parse_choices("target", "homo,[r2,mu]") == ["homo", "[r2,mu]"]
    assert parse_choices("pool.feed_center", "true,false") == ["true", "false"]
    path = tmp_path / "it.yaml"
    path.write_text(
        "# Table t: one\n# two\n# Headline: homo, r2\n# Also: seed=0,1 pool=max\n# python train.py "
        "it\nhydra: {sweeper: {params: {seed: 0}}}\n"
    )
    it = read_experiment(path)
    assert (it.table, it.title, it.headline) == ("t", "one two", ("homo", "r2"))
    assert it.sweeps == ({"seed": ["0"]}, {"seed": ["0", "1"], "pool": ["max"]})


@pytest.mark.slow
def test_runs_backbone_then_heads_side_by_side(tmp_path, qm9):
    """For real, at debug scale; a second time there is nothing left to do."""
    command = [
        "--table",
        "heads",
        "--scale",
        "debug",
        "--jobs",
        "2",
        "--only",
        "seed=0",
        "--only",
        "pool=gigp,mean",
        "--only",
        "pool_on=features",
        f"results_dir={tmp_path}",
        "logger=csv",
    ]
    done = reproduce(*command)
    assert done.returncode == 0, done.stderr
    assert "2 runs, 0 with a record, 2 missing, 1 to run before them." in done.stdout
    assert len(list(tmp_path.glob("*/seed0/summary.json"))) == 3
    assert "2 runs, 2 with a record, 0 missing." in reproduce(*command).stdout
