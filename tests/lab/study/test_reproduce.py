"""`scripts/reproduce.py` knows which runs its tables lack and what must run before them, and
carries that out.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen

import pytest
from omegaconf import OmegaConf

from gigp.errors import InputError
from gigp.lab.config.compose import _compose, compose_config, read_sweep
from gigp.lab.config.instantiate import instantiate
from gigp.lab.config.paths import trained_network
from gigp.lab.runs.lock import lock_folder
from gigp.lab.runs.name import run_name
from gigp.lab.runs.weights import FILE
from gigp.lab.study.experiments import (
    Cell,
    make_label,
    parse_choices,
    read_experiment,
    read_experiments,
)
from gigp.lab.study.plan import (
    Clock,
    Job,
    _start,
    choose_settings,
    find_start,
    plan,
    recorded,
    run_jobs,
)
from gigp.pools import Pool
from tests.conftest import ROOT
from tests.lab.study.synthetic import record_of
from tests.programs import run_here
from tests.records import example_record

EXPERIMENTS = read_experiments()


@pytest.fixture
def models(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty folder in place of that of the models that come with the project."""
    monkeypatch.setattr("gigp.lab.config.paths.MODELS", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    _start.cache_clear()
    yield tmp_path / "models"
    _start.cache_clear()


@pytest.fixture
def reproduce(monkeypatch, capsys) -> Iterator[Callable[..., CompletedProcess]]:
    handler = signal.getsignal(signal.SIGTERM)
    yield partial(run_here, monkeypatch, capsys, "scripts/reproduce.py")
    signal.signal(signal.SIGTERM, handler)


def cells_of(name: str, **wanted) -> dict[Cell, tuple[str, ...]]:
    found = EXPERIMENTS[name].cells().items()
    return {c: o for c, o in found if all(getattr(c, k) == v for k, v in wanted.items())}


def test_lists_what_is_missing_and_what_runs_before(reproduce, tmp_path):
    chosen = ("--only", "seed=0", "--only", "pool=gigp,one_orbit", "--only", "lr=0.001")
    options = ("--scale", "debug", "--dry-run", f"results_dir={tmp_path}", "logger=csv")
    done = reproduce("--table", "qm9_outputs", *chosen, *options)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("3 runs, 0 with a record, 3 missing, 1 to run before them; ")
    where = f"scale=debug results_dir={tmp_path} logger=csv"
    assert lines[1].endswith(f"train.py experiment=qm9_backbone seed=0 {where}")
    assert len(lines) == 5


def test_unknown_table_names_the_tables(reproduce):
    done = reproduce("--table", "qm8")
    assert done.returncode == 2
    assert "orbits" in done.stderr


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("pool=gigp,mean", "--only pool=gigp,mean"),
        ("seed=range(3)", "--only"),
        ("gigp", "KEY=VALUE"),
    ],
)
def test_a_sweep_is_no_override(reproduce, override, advice):
    done = reproduce("--table", "qm9_outputs", "--dry-run", override)
    assert done.returncode == 2
    assert override in done.stderr
    assert advice in done.stderr


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (
            "sed=0",
            "no run has sed. Did you mean seed? Write KEY=V1,V2 with one of experiment, lr, ",
        ),
        ("seed", "--only seed: no run is left; seed is 0, 1, 2."),
        ("pool=gigpp,sum", "--only pool=gigpp,sum: no run is left; pool is gigp, gigp_released, "),
    ],
)
def test_only_what_there_is(reproduce, only, message):
    done = reproduce("--table", "qm9_outputs", "--dry-run", "--only", only)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.slow
def test_sigterm_interrupts_the_runs(tmp_path):
    """A scheduler's signal ends the run, too, and the same command goes on."""
    command = [sys.executable, "-u", "scripts/reproduce.py", "--table", "orbits"]
    chosen = ["--only", "pool=mean", "--only", "seed=0", "--only", "target=parity"]
    options = ["--scale", "debug", f"results_dir={tmp_path}", "logger=csv"]
    long = ["trainer.max_epochs=100000"]
    process = Popen(
        [*command, *chosen, *options, *long], cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/seed0/config.yaml")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "goes on" in errors
    (config,) = tmp_path.glob("*/seed0/config.yaml")
    with lock_folder(config.parent):  # no process is at work there
        assert not (config.parent / "summary.json").exists()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_record_of_a_cell_fills_it(name):
    """Metadata of a cell, known without composing its configuration, equal those of its record."""
    experiment = EXPERIMENTS[name]
    for cell, overrides in experiment.cells().items():
        assert (
            experiment.find_cell(record_of(experiment, cell, overrides, lambda c, t: 1.0)) == cell
        )
    cfg = compose_config(overrides)
    assert cfg.choices.experiment == name
    assert cfg.choices.pool == cell.label.partition(",")[0]
    assert cfg.seed == cell.seed


def pools_by_experiment() -> dict[str, list[tuple[str, ...]]]:
    """Overrides for every pool that no experiment before has on data of the same kind."""
    seen, found = set(), {}
    for name, experiment in EXPERIMENTS.items():
        kind = name.partition("_")[0], name.endswith("outputs")
        for cell, overrides in experiment.cells().items():
            if (kind, cell.label) not in seen:
                seen.add((kind, cell.label))
                found.setdefault(name, []).append(overrides)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pools"), pools_by_experiment().items())
def test_every_pool_of_an_experiment_can_be_made(name, pools):
    """Or a sweep would find out after hours that one of its settings is refused."""
    for overrides in pools:
        cfg = compose_config(overrides)
        width = 64 if name.startswith("rotmnist") else 256  # of the features, at scale=medium
        pool = instantiate(cfg.pool, channels=12 if cfg.pool_on == "outputs" else width)
        assert isinstance(pool, Pool)


@pytest.mark.parametrize("name", [n for n, e in EXPERIMENTS.items() if e.study.starts_from])
def test_what_an_experiment_starts_from_is_a_run_of_what_it_needs(name, models):
    needs = EXPERIMENTS[name].study.starts_from
    *_, (cell, overrides) = EXPERIMENTS[needs].cells().items()
    cfg = compose_config([f"experiment={name}", f"seed={cell.seed}"])
    needed = compose_config(overrides)
    config = {"name": needed.name, "choices": needed.choices, "target": needed.target}
    assert find_start(cfg) == f"results/runs/{run_name(config, list(overrides))}/seed{cell.seed}"


def test_a_run_with_other_settings_is_a_row_of_its_own():
    experiment = EXPERIMENTS["qm9_scratch"]
    choices = {"pool": "gigp", "scale": "paper", "experiment": "qm9_scratch"}
    record = example_record(choices=choices, overrides=["lr=0.1"], metrics=example_record().metrics)
    assert experiment.find_cell(record).label == "gigp, lr=0.1, scale=paper"


def test_a_number_is_the_same_however_it_is_written():
    """A run of lr=1e-3 fills the cell of lr=0.001, and feed_center=False that of false."""
    experiments = read_experiments()
    for name, typed in (("qm9_outputs", "lr=1e-3"), ("qm9_ablation", "pool.feed_center=False")):
        experiment = experiments[name]
        key, _, value = typed.partition("=")
        cell, overrides = next(
            (cell, overrides)
            for cell, overrides in experiment.cells().items()
            if f"{key}={parse_choices(key, value)[0]}" in overrides
        )
        record = record_of(experiment, cell, overrides, lambda c, t: 1.0)
        words = [typed if o.startswith(f"{key}=") else o for o in record.overrides]
        assert typed in words
        assert experiment.find_cell(replace(record, overrides=words)) == cell
    assert make_label("gigp", ["lr=0.1", "pool.orbits=5"], ["lr"]) == "gigp, orbits=5"


def test_a_network_that_comes_with_the_project_goes_before_the_run(models, tmp_path):
    wanted, run = cells_of("qm9_outputs", seed=0), "qm9_backbone_medium/seed0"
    assert trained_network("runs", run) == f"runs/{run}"
    (models / run).mkdir(parents=True)
    for name in ("config.yaml", FILE):
        (models / run / name).touch()
    assert trained_network("runs", run) == f"models/{run}"
    assert compose_config(["experiment=qm9_outputs"]).dataset.run == f"models/{run}"
    assert {job.cell for job in plan(wanted, EXPERIMENTS, set(), tmp_path)} == set(wanted)


def test_a_backbone_that_is_here_is_not_made_again(models, tmp_path):
    wanted = cells_of("qm9_outputs", seed=0)
    jobs = plan(wanted, EXPERIMENTS, set(), tmp_path)
    (backbone,) = cells_of("qm9_backbone", seed=0)
    assert jobs[0].cell == backbone
    assert {job.needs for job in jobs[1:]} == {backbone}
    done = tmp_path / "results/runs/qm9_backbone_medium/seed0/checkpoints/done"
    done.parent.mkdir(parents=True)
    done.touch()
    assert {job.cell for job in plan(wanted, EXPERIMENTS, set(), tmp_path)} == set(wanted)


def test_what_has_a_record_is_left_out(tmp_path):
    experiment = EXPERIMENTS["orbits_ablation"]
    cells = experiment.cells()
    records = [record_of(experiment, c, o, lambda c, t: 1.0) for c, o in [*cells.items()][:5]]
    done = recorded([*records, example_record()], EXPERIMENTS)
    assert done == set([*cells][:5])
    jobs = plan(cells, EXPERIMENTS, done, tmp_path, ["logger=csv"])
    assert [job.cell for job in jobs] == [*cells][5:]
    assert all(job.overrides[-1] == "logger=csv" for job in jobs)


def test_the_first_seed_chooses_the_learning_rate_of_the_others():
    experiment = EXPERIMENTS["qm9_outputs"]
    cells = {c: o for c, o in experiment.cells().items() if c.label in ("gigp", "moments")}
    assert len(cells) == 12
    first = {c: o for c, o in cells.items() if c.seed == 0}
    now, later = choose_settings(cells, EXPERIMENTS, [])
    assert (now, set(later)) == (first, set(cells) - set(first))
    others = {c: o for c, o in cells.items() if c.seed == 1}
    assert choose_settings(others, EXPERIMENTS, []) == (first, others)  # 0 is tried before 1

    def loss(cell: Cell) -> float:
        best = {"gigp": "lr=0.003", "moments": "lr=0.001"}[cell.label]
        return 1.0 if cell.tuned == (best,) else 2.0

    records = [
        replace(record_of(experiment, c, o, lambda c, t: 1.0), val_loss=loss(c))
        for c, o in first.items()
    ]
    now, later = choose_settings(cells, EXPERIMENTS, records)
    assert later == {}
    chosen = {(c.label, c.tuned) for c in now if c.seed > 0}
    assert chosen == {("gigp", ("lr=0.003",)), ("moments", ("lr=0.001",))}
    assert len(now) == 4 + 4
    now, later = choose_settings(cells, EXPERIMENTS, records[:-1])  # one is still running
    assert {c.label for c in later} == {"moments"}


def job(name: str, needs: Job | None = None) -> Job:
    return Job(Cell(name, "gigp", (), "", 0), (), needs.cell if needs else None)


def test_jobs_wait_for_what_they_need_and_failures_stay_alone():
    first, second = job("first"), job("second")
    jobs = [first, job("a", first), job("b", first), second, job("c", second)]
    order, lock = [], threading.Lock()

    def start(job: Job) -> str:
        with lock:
            order.append(job.cell.experiment)
        return "broken" if job is second else ""

    failed = run_jobs(jobs, 2, start, Clock([]), lambda _: None)
    assert order.index("first") < min(order.index("a"), order.index("b"))
    assert "c" not in order
    assert {cell.experiment for cell in failed} == {"second", "c"}
    assert "what it starts from failed" in failed[jobs[-1].cell]


def test_no_more_jobs_than_asked_for_at_a_time():
    busy, most, lock = 0, 0, threading.Lock()

    def start(_: Job) -> str:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.01)
        with lock:
            busy -= 1
        return ""

    assert run_jobs([job(str(i)) for i in range(12)], 3, start, Clock([]), lambda _: None) == {}
    assert most == 3


def test_the_time_left_is_that_of_runs_that_were_measured():
    clock = Clock([])
    jobs = [job("a"), job("a"), job("b")]
    assert clock.left(jobs, 1).startswith("time left unknown, and 3 runs")
    clock.add("a", 3600)
    assert clock.left(jobs, 2) == (
        "about 1.0 hours left, and 1 runs of an experiment that was not timed yet"
    )
    lines: list[str] = []
    jobs = [job("a"), job("b"), job("c")]
    measured = example_record(choices=example_record().choices | {"experiment": "a"})
    run_jobs(jobs, 1, lambda _: "", Clock([measured]), lines.append)
    assert len(lines) == 2
    assert lines[-1].startswith("1 runs, ")


def test_choices_are_read_as_hydra_reads_them():
    assert parse_choices("pool", "gigp,mean") == ("gigp", "mean")
    assert parse_choices("seed", "range(3)") == ("0", "1", "2")
    assert parse_choices("pool.feed_center", "true,false") == ("true", "false")
    assert parse_choices("pool.linear", False) == ("false",)
    assert parse_choices("lr", "1e-3,3e-3") == ("0.001", "0.003")


@pytest.mark.parametrize("name", ["qm9_ablation", "qm9_outputs", "orbits_pools"])
def test_an_experiments_file_says_what_hydra_composes(name):
    cfg = _compose([f"experiment={name}"])
    study, sweep, choices = read_sweep(name)
    assert study == OmegaConf.to_container(cfg.study)
    assert sweep == dict(cfg.hydra.sweeper.params)
    assert choices == {key: cfg.hydra.runtime.choices[key] for key in ("pool", "scale")}


def test_a_study_key_that_says_something_else_is_refused(monkeypatch):
    import gigp.lab.study.experiments as module

    said = {"table": "it", "title": "It.", "need": "qm9_backbone"}
    monkeypatch.setattr(module, "read_sweep", lambda name: (said, {}, {}))
    with pytest.raises(InputError, match=r"it\.yaml: study has need; it takes table, title"):
        read_experiment("it")
    said.pop("need")
    said.pop("title")
    with pytest.raises(InputError, match="lacks table or title"):
        read_experiment("it")


def test_experiments_without_a_study_key_are_not_part_of_it():
    assert (ROOT / "configs" / "experiment" / "qm9_finetune.yaml").exists()
    assert "qm9_finetune" not in EXPERIMENTS
