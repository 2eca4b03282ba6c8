"""Run the missing cells of a table of the study, then make the tables.

    python scripts/reproduce.py --table qm9_outputs --jobs 2

A table is made of the experiments in configs/experiment that name it under study.table. What a run
starts from is run before it. Where validation chooses settings, as the learning rate, the first
seed tries them all and the others take the best. Runs that have a record are left out, interrupted
ones go on, and one that fails does not stop the others. What has finished becomes evidence
(scripts/collect.py).
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from gigp.errors import InputError, did_you_mean
from gigp.lab.commands import refuse, tell
from gigp.lab.config.paths import below_home
from gigp.lab.runs.compare import find_runs
from gigp.lab.runs.record import Record, read_record
from gigp.lab.study.collect import collect, describe
from gigp.lab.study.experiments import Cell, Experiment, read_experiments, table_members
from gigp.lab.study.plan import Clock, Job, choose_settings, plan, recorded, run_jobs
from gigp.lab.study.records import read_records
from gigp.lab.training.sweep import PARENT

ROOT = Path(__file__).resolve().parents[1]
TAIL = 15  # lines of a failed run to show
RUNNING: set[subprocess.Popen[str]] = set()


def interrupt_runs(*_: Any) -> NoReturn:
    """On SIGTERM, interrupt the runs, too; Ctrl-C reaches them by itself."""
    for process in tuple(RUNNING):
        process.terminate()
    raise KeyboardInterrupt


def train(job: Job, title: str, threads: int | None) -> str:
    """Do one run in a process of its own; alone it has the terminal, next to others its last lines
    tell of a failure.
    """
    command = [sys.executable, "train.py", *job.overrides]
    print(f"\n{title}: python train.py {' '.join(job.overrides)}", flush=True)
    env = {**os.environ, PARENT: str(os.getpid())}
    if threads is None:
        code, _ = wait_for(subprocess.Popen(command, cwd=ROOT, env=env, text=True))
        return f"exit status {code}" if code else ""
    start, env = time.perf_counter(), {**env, "OMP_NUM_THREADS": str(threads)}
    code, output = wait_for(
        subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    )
    verdict = "FAILED" if code else "finished"
    print(f"{title} {verdict} after {time.perf_counter() - start:.0f} s", flush=True)
    return "\n".join(output.splitlines()[-TAIL:]) or "failed" if code else ""


def wait_for(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and output of a process, which `interrupt_runs` knows meanwhile."""
    RUNNING.add(process)
    with process:
        output, _ = process.communicate()
    RUNNING.remove(process)
    return process.returncode, output or ""


def choose(cells: Mapping[Cell, tuple[str, ...]], only: list[str]) -> dict[Cell, tuple[str, ...]]:
    """The cells that have one of the values wanted of every key, as KEY=V1,V2.

    Raises:
        InputError: none has.
    """
    settings = {cell: settings_of(cell, overrides) for cell, overrides in cells.items()}
    chosen = set(cells)
    for entry in only:
        key, _, values = entry.partition("=")
        there_are = sorted({given[key] for given in settings.values() if key in given})
        if not there_are:
            keys = sorted({key for given in settings.values() for key in given})
            raise InputError(
                f"--only {entry}: no run has {key}.{did_you_mean(key, keys)} Write KEY=V1,V2 with "
                f"one of {', '.join(keys)}."
            )
        chosen &= {cell for cell in cells if settings[cell].get(key) in values.split(",")}
        if not chosen:
            raise InputError(f"--only {entry}: no run is left; {key} is {', '.join(there_are)}.")
    return {cell: overrides for cell, overrides in cells.items() if cell in chosen}


def settings_of(cell: Cell, overrides: tuple[str, ...]) -> dict[str, str]:
    """The settings of a run, those that are not written out included."""
    given = {"seed": str(cell.seed), "pool": cell.label.partition(",")[0]}
    return given | dict(override.split("=", 1) for override in overrides)


def records_of_runs(runs: Path) -> list[Record]:
    """Records of finished runs; damaged ones count as missing."""
    records = []
    for folder in find_runs(runs):
        try:
            records.append(read_record(folder / "summary.json"))
        except InputError as error:
            tell(f"Left out: {error}")
    return records


def summary(
    now: Collection[Cell], later: Collection[Cell], done: set[Cell], jobs: Sequence[Job]
) -> str:
    """How many runs there are, have a record, are missing, and wait, in words."""
    missing = sum(cell not in done for cell in now)
    text = f"{len(now)} runs, {len(now) - missing} with a record, {missing} missing"
    if len(jobs) > missing:
        text += f", {len(jobs) - missing} to run before them"
    waiting = {cell._replace(tuned=()) for cell in later}
    if waiting:
        text += f", then {len(waiting)} with the settings that the first seeds choose"
    return text


def is_sweep(override: str) -> bool:
    """Whether an override has several values, as pool=gigp,mean."""
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except OverrideParseException:  # a path that train.py takes as it is
        return False


def parse_arguments(tables: Collection[str]) -> argparse.Namespace:
    """The command line; `further` are overrides of every run, `runs` is the folder of the runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=[*tables, "all"], default="all")
    parser.add_argument("--scale", help="in place of that of the experiments: debug, paper, ...")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument(
        "--only", action="append", default=[], metavar="KEY=V1,V2", help="only cells with these"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the runs that are missing")
    parser.add_argument("overrides", nargs="*", help="further overrides of every run, KEY=VALUE")
    arguments = parser.parse_args()
    for override in arguments.overrides:
        if "=" not in override:
            parser.error(f"{override!r} is not an override; write KEY=VALUE")
        if is_sweep(override):
            parser.error(f"{override} is a sweep; to choose among the runs use --only {override}")
    arguments.further = [f"scale={arguments.scale}"] if arguments.scale else []
    arguments.further += arguments.overrides
    key = "results_dir="
    places = [o.removeprefix(key) for o in arguments.further if o.startswith(key)]
    arguments.runs = ROOT / below_home(places[-1] if places else "results/runs")
    # runs with settings other than those of the study are not evidence
    arguments.own = any(not o.startswith((key, "logger")) for o in arguments.further)
    arguments.is_study = not arguments.own and not places
    return arguments


def run_missing(
    cells: Mapping[Cell, tuple[str, ...]],
    experiments: Mapping[str, Experiment],
    arguments: argparse.Namespace,
) -> tuple[dict[Cell, str], bool]:
    """Run the cells that have no record, as far as their settings are chosen, or list them.

    Returns:
        What went wrong, and whether cells are left whose settings can be chosen now.
    """
    evidence = [] if arguments.own else read_records(ROOT / "results" / "records")
    finished = [*evidence, *([] if arguments.own else records_of_runs(arguments.runs))]
    now, later = dict(cells), {}
    if not arguments.own:
        now, later = choose_settings(cells, experiments, finished)
    done = recorded(finished, experiments)
    jobs = plan(now, experiments, done, ROOT, arguments.further)
    workers, clock = max(1, arguments.jobs), Clock(evidence)
    print(f"{summary(now, later, done, jobs)}; {clock.left(jobs, workers)}.", flush=True)
    if arguments.dry_run:
        for i, job in enumerate(jobs, 1):
            print(f"{i}/{len(jobs)}: python train.py {' '.join(job.overrides)}")
        return {}, False
    number = count(1)
    threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else None
    failed = run_jobs(
        jobs, workers, lambda job: train(job, f"{next(number)}/{len(jobs)}", threads), clock
    )
    return failed, bool(later) and not failed


def main() -> None:
    experiments = read_experiments()
    tables = table_members(experiments)
    arguments = parse_arguments(tables)
    signal.signal(signal.SIGTERM, interrupt_runs)
    cells = {
        cell: overrides
        for name in (tables if arguments.table == "all" else [arguments.table])
        for experiment in tables[name]
        for cell, overrides in experiment.cells().items()
    }
    try:
        cells = choose(cells, arguments.only)
        failed, more = run_missing(cells, experiments, arguments)
        if more:  # the first seeds have chosen
            failed, _ = run_missing(cells, experiments, arguments)
    except InputError as error:
        refuse(error)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on from the last finished epochs.")
    if arguments.is_study and not arguments.dry_run:
        runs = find_runs(arguments.runs)
        collected = collect(runs, ROOT / "results" / "records", experiments)
        print("\n".join(describe(collected, ROOT)))
        subprocess.run([sys.executable, "scripts/make_tables.py"], cwd=ROOT, check=True)
    if failed:
        lines = (f"{' '.join(map(str, cell))}:\n{problem}" for cell, problem in failed.items())
        sys.exit(f"\n{len(failed)} runs FAILED:\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
