"""What must run so that tables have what they ask for: missing cells, after the runs that they
start from.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gigp.config.compose import compose_config
from gigp.errors import InputError
from gigp.study.experiments import Cell, Experiment
from gigp.training.folder import RunFolder
from gigp.training.name import further_overrides

Key = tuple[str, int]


@dataclass(frozen=True)
class Job:
    """A run to do, and the one that must have succeeded before; None where that one is there
    already.
    """

    cell: Cell
    after: Key | None = None


def recorded(runs: Path) -> set[Key]:
    """Names and seeds of finished runs, also of those that a clone brings without checkpoints."""
    folders = (path.parent for path in runs.glob("*/seed*/summary.json"))
    return {
        (folder.parent.name.lower(), int(folder.name.removeprefix("seed"))) for folder in folders
    }


def plan(
    cells: Iterable[Cell],
    experiments: dict[str, Experiment],
    runs: Path,
    further: Sequence[str] = (),
) -> list[Job]:
    """Jobs for the cells without a record, and before them those whose checkpoints they need and
    are not here.

    Raises:
        InputError: a cell starts from a run that no experiment makes which it says it needs.
    """
    have, jobs = recorded(runs), {}
    for cell in cells:
        if cell.key in have or cell.key in jobs:
            continue
        needed = needed_cell(cell, experiments, runs, further)
        if needed is not None and needed.key not in jobs:
            jobs[needed.key] = Job(needed)
        jobs[cell.key] = Job(cell, needed.key if needed else None)
    return list(jobs.values())


def needed_cell(
    cell: Cell, experiments: dict[str, Experiment], runs: Path, further: Sequence[str] = ()
) -> Cell | None:
    """The cell whose checkpoint a cell starts from, if that checkpoint is not here.

    Of further overrides the run before takes those that are no part of its name: where records go,
    how they are logged.
    """
    needs = experiments[cell.experiment].needs
    if not needs:
        return None
    own = [o for o in cell.overrides if o.split("=")[0] in ("dataset.run", "init_from")]
    start = Path(started_from(cell.experiment, cell.choices["scale"] or "", cell.seed, tuple(own)))
    name, seed = start.parent.name, int(start.name.removeprefix("seed"))
    if RunFolder(runs, name, seed).best.exists():
        return None
    passed = [override for override in further if not further_overrides([override])]
    for line in needs:
        source = dict(override.split("=", 1) for override in line)["experiment"]
        for candidate in experiments[source].cells(str(cell.choices["scale"]), passed):
            if candidate.key == (name.lower(), seed):
                return candidate
    raise InputError(
        f"{cell.experiment} starts from {start}, which is no run of "
        f"{' or '.join(map(' '.join, needs))}."
    )


@cache
def started_from(experiment: str, scale: str, seed: int, overrides: tuple[str, ...]) -> str:
    """Folder of the run that the cells of an experiment with this seed start from."""
    cfg = compose_config([f"experiment={experiment}", f"scale={scale}", f"seed={seed}", *overrides])
    return str(cfg.dataset.run if OmegaConf.select(cfg, "dataset.run") else cfg.init_from)


def run_jobs(jobs: list[Job], workers: int, start: Callable[[Cell], Any]) -> dict[Key, str]:
    """Do all jobs, several at a time, each after what it needs; one that fails does not stop the
    others.

    Args:
        jobs: what to do, what is needed before what needs it.
        workers: how many at a time.
        start: does one and returns what went wrong, empty if nothing.

    Returns:
        What went wrong, for the jobs that failed or could not start.
    """
    waiting, failed = list(jobs), {}
    running: dict[Future, Job] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while waiting or running:
                for job in [job for job in waiting if job.after in failed]:
                    failed[job.cell.key] = (
                        f"what it starts from failed: {job.after[0]}, seed {job.after[1]}"
                    )
                    waiting.remove(job)
                pending = {job.cell.key for job in waiting} | {
                    job.cell.key for job in running.values()
                }
                for job in [job for job in waiting if job.after not in pending][
                    : workers - len(running)
                ]:
                    running[pool.submit(start, job.cell)] = job
                    waiting.remove(job)
                for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                    job = running.pop(future)
                    if problem := future.result():
                        failed[job.cell.key] = problem
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return failed
