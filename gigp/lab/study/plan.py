"""The runs that tables lack, their order, and an estimate of the time they take."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import mean

from omegaconf import DictConfig, OmegaConf

from gigp.lab.config.compose import compose_config
from gigp.lab.runs.record import Record
from gigp.lab.runs.weights import FILE
from gigp.lab.study.experiments import Cell, Experiment


@dataclass(frozen=True)
class Job:
    """A run to do.

    Attributes:
        cell: cell of a table that it fills.
        overrides: overrides for `train.py`.
        needs: cell whose run must be finished before, where that is not so yet.
    """

    cell: Cell
    overrides: tuple[str, ...]
    needs: Cell | None = None


def recorded(records: Iterable[Record], experiments: Mapping[str, Experiment]) -> set[Cell]:
    """Cells that have a record."""
    return {
        experiments[name].find_cell(record)
        for record in records
        if (name := str(record.choices.get("experiment"))) in experiments
    }


def choose_settings(
    wanted: Mapping[Cell, tuple[str, ...]],
    experiments: Mapping[str, Experiment],
    records: Iterable[Record],
) -> tuple[dict[Cell, tuple[str, ...]], dict[Cell, tuple[str, ...]]]:
    """Settings under `study.select_by_validation` are chosen for each row of a table by the
    validation loss of its first seed; the other seeds run with the chosen ones alone.

    Args:
        wanted: cells with their overrides.
        experiments: experiments of the study.
        records: finished runs.

    Returns:
        Cells to run now, first seeds that others wait for included; cells that wait for them.
    """
    losses: dict[Cell, float] = {}
    for record in records:
        name = str(record.choices.get("experiment"))
        if name in experiments:
            losses[experiments[name].find_cell(record)] = record.val_loss
    now: dict[Cell, tuple[str, ...]] = {}
    later: dict[Cell, tuple[str, ...]] = {}
    for cell, overrides in wanted.items():
        first = _first_seed(cell, experiments[cell.experiment])
        if cell in first or len(first) == 1 or cell in losses:
            now[cell] = overrides
        elif first.keys() <= losses.keys():
            if cell.tuned == min(first, key=lambda c: losses[c]).tuned:
                now[cell] = overrides
        else:
            later[cell] = overrides
            now |= first
    return now, later


def _first_seed(cell: Cell, experiment: Experiment) -> dict[Cell, tuple[str, ...]]:
    """The cells of the row of a cell with its first seed, one for each choice of settings."""
    row = {
        other: overrides
        for other, overrides in experiment.cells().items()
        if (other.label, other.target) == (cell.label, cell.target)
    }
    seed = min(other.seed for other in row)
    return {other: overrides for other, overrides in row.items() if other.seed == seed}


def plan(
    wanted: Mapping[Cell, tuple[str, ...]],
    experiments: Mapping[str, Experiment],
    done: set[Cell],
    root: Path,
    further: Sequence[str] = (),
) -> list[Job]:
    """Jobs for the cells that are not done, each after the run that it starts from.

    Args:
        wanted: cells with their overrides.
        experiments: experiments of the study.
        done: cells that have a record.
        root: folder in which runs start.
        further: overrides of every run.
    """
    jobs: dict[Cell, Job] = {}
    for cell, overrides in wanted.items():
        if cell in done:
            continue
        needs = experiments[cell.experiment].study.starts_from
        needed = _needed(cell, needs, experiments, root, further) if needs else None
        if needed is not None:
            before = experiments[needed.experiment].cells()[needed]
            jobs.setdefault(needed, Job(needed, (*before, *further)))
        jobs[cell] = Job(cell, (*overrides, *further), needed)
    graph = {cell: [job.needs] if job.needs else [] for cell, job in jobs.items()}
    return [jobs[cell] for cell in TopologicalSorter(graph).static_order()]


def _needed(
    cell: Cell,
    needs: str,
    experiments: Mapping[str, Experiment],
    root: Path,
    further: Sequence[str],
) -> Cell | None:
    """The cell of the same seed whose checkpoint a cell starts from, if that is not here."""
    start = _start(cell.experiment, cell.seed, tuple(further))
    if start is not None and is_trained(root / start):
        return None
    return next(c for c in experiments[needs].cells() if c.seed == cell.seed)


def is_trained(folder: Path) -> bool:
    """Whether a folder holds a finished run or a model."""
    return any((folder / name).exists() for name in ("checkpoints/done", FILE))


@cache
def _start(experiment: str, seed: int, further: tuple[str, ...]) -> str | None:
    """Folder of the run that the cells of an experiment with this seed start from."""
    return find_start(compose_config([f"experiment={experiment}", f"seed={seed}", *further]))


def find_start(cfg: DictConfig) -> str | None:
    """Folder of the run that a configuration starts from."""
    for node in (cfg.dataset, cfg):
        for key in ("run", "init_from"):
            if key in node and not OmegaConf.is_missing(node, key) and node[key]:
                return str(node[key])
    return None


class Clock:
    """Seconds that runs take, by experiment, from those that are recorded or have ended here."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.seconds: dict[str, list[float]] = {}
        for record in records:
            self.add(str(record.choices.get("experiment")), record.seconds)

    def add(self, experiment: str, seconds: float) -> None:
        """Note how long a run took."""
        self.seconds.setdefault(experiment, []).append(seconds)

    def left(self, jobs: Sequence[Job], workers: int) -> str:
        """How long these jobs take, in words, as far as that is known."""
        known = [job for job in jobs if job.cell.experiment in self.seconds]
        total = sum(mean(self.seconds[job.cell.experiment]) for job in known) / workers
        hours = f"about {total / 3600:.1f} hours" if total >= 360 else f"about {total / 60:.0f} min"
        unknown = len(jobs) - len(known)
        rest = f", and {unknown} runs of an experiment that was not timed yet" if unknown else ""
        return f"{hours} left{rest}" if known or not jobs else f"time left unknown{rest}"


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    start: Callable[[Job], str],
    clock: Clock,
    report: Callable[[str], None] = print,
) -> dict[Cell, str]:
    """Run all jobs, several at a time, each after those it needs; one that fails does not stop the
    others.

    Args:
        jobs: jobs to run.
        workers: number of jobs at a time.
        start: does one and returns what went wrong, empty if nothing.
        clock: estimate of the time left.
        report: function called with a line about the time left after every job.

    Returns:
        What went wrong, for the jobs that failed or could not start.
    """
    by_cell = {job.cell: job for job in jobs}
    graph = TopologicalSorter({job.cell: [job.needs] if job.needs else [] for job in jobs})
    graph.prepare()
    waiting, failed = dict(by_cell), {}
    running: dict[Future, tuple[Cell, float]] = {}
    ready: list[Cell] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            while graph.is_active():
                ready += graph.get_ready()
                for cell in [cell for cell in ready if by_cell[cell].needs in failed]:
                    failed[cell] = f"what it starts from failed: {by_cell[cell].needs}"
                    ready.remove(cell)
                    del waiting[cell]
                    graph.done(cell)
                while ready and len(running) < workers:
                    cell = ready.pop(0)
                    running[pool.submit(start, by_cell[cell])] = cell, time.perf_counter()
                for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                    cell, began = running.pop(future)
                    del waiting[cell]
                    if problem := future.result():
                        failed[cell] = problem
                    else:
                        clock.add(cell.experiment, time.perf_counter() - began)
                    graph.done(cell)
                    if waiting:
                        report(f"{len(waiting)} runs, {clock.left([*waiting.values()], workers)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return failed
