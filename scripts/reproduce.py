"""Run the missing cells of a table of the study, then make the tables.

    python scripts/reproduce.py --table qm9_outputs --jobs 2

A table is made of the experiments in configs/experiment that name it under study.table. What a run
starts from is run before it. Runs that have a record are left out, interrupted ones go on, and one
that fails does not stop the others. What has finished becomes evidence (scripts/collect.py).
"""

import argparse
import os
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

from gigp.errors import InputError
from gigp.study.collect import collect, describe, finished_runs
from gigp.study.experiments import Cell, read_experiments, table_members
from gigp.study.plan import Clock, Job, plan, recorded, run_jobs
from gigp.study.records import read_records
from gigp.training.record import Record, read_record

ROOT = Path(__file__).resolve().parents[1]
TAIL = 15  # lines of a failed run to show


def train(job: Job, title: str, threads: int | None) -> str:
    """Do one run in a process of its own; alone it has the terminal, next to others its last lines
    tell of a failure.
    """
    command = [sys.executable, "train.py", *job.overrides]
    print(f"\n{title}: python train.py {' '.join(job.overrides)}", flush=True)
    if threads is None:
        code = subprocess.run(command, cwd=ROOT).returncode
        return f"exit status {code}" if code else ""
    start, env = time.perf_counter(), {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    verdict = "FAILED" if done.returncode else "finished"
    print(f"{title} {verdict} after {time.perf_counter() - start:.0f} s", flush=True)
    return "\n".join(done.stdout.splitlines()[-TAIL:]) or "failed" if done.returncode else ""


def is_chosen(cell: Cell, overrides: tuple[str, ...], only: list[str]) -> bool:
    """Whether a cell has one of the values wanted of every key, as KEY=V1,V2."""
    given = {"seed": str(cell.seed), "pool": cell.label.partition(",")[0]}
    given |= dict(override.split("=", 1) for override in overrides)
    wanted = (entry.partition("=") for entry in only)
    return all(given.get(key) in values.split(",") for key, _, values in wanted)


def records_of_runs(runs: Path) -> list[Record]:
    """Records of finished runs; damaged ones count as missing."""
    found = []
    for folder in finished_runs(runs):
        try:
            found.append(read_record(folder / "summary.json"))
        except InputError as error:
            print(f"Left out: {error}", file=sys.stderr)
    return found


def main() -> None:
    experiments = read_experiments()
    tables = table_members(experiments)
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
    names = tables if arguments.table == "all" else [arguments.table]
    further = [f"scale={arguments.scale}"] if arguments.scale else []
    further += arguments.overrides
    cells = {
        cell: overrides
        for name in names
        for experiment in tables[name]
        for cell, overrides in experiment.cells().items()
        if is_chosen(cell, overrides, arguments.only)
    }
    places = [o.removeprefix("results_dir=") for o in further if o.startswith("results_dir=")]
    runs = ROOT / (places[-1] if places else "results/runs")
    # runs with settings other than those of the study are not evidence
    own = any(not override.startswith(("results_dir=", "logger")) for override in further)
    try:
        evidence = [] if own else read_records(ROOT / "results" / "records")
        done = recorded([*evidence, *([] if own else records_of_runs(runs))], experiments)
        jobs = plan(cells, experiments, done, ROOT, further)
    except InputError as error:
        sys.exit(f"Error: {error}")
    missing = sum(cell not in done for cell in cells)
    before = f", {len(jobs) - missing} to run before them" if len(jobs) > missing else ""
    workers, clock = max(1, arguments.jobs), Clock(evidence)
    print(
        f"{len(cells)} runs, {len(cells) - missing} with a record, {missing} missing{before}; "
        f"{clock.left(jobs, workers)}.",
        flush=True,
    )
    if arguments.dry_run:
        for i, job in enumerate(jobs, 1):
            print(f"{i}/{len(jobs)}: python train.py {' '.join(job.overrides)}")
        return
    number = count(1)
    threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else None
    try:
        failed = run_jobs(
            jobs, workers, lambda job: train(job, f"{next(number)}/{len(jobs)}", threads), clock
        )
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on from the last finished epochs.")
    if not own and not places:
        collected = collect(finished_runs(runs), ROOT / "results" / "records", experiments)
        print("\n".join(describe(collected, ROOT)))
        for script in ("make_figures.py", "make_tables.py"):
            subprocess.run([sys.executable, f"scripts/{script}"], cwd=ROOT, check=True)
    if failed:
        lines = (f"{' '.join(map(str, cell))}:\n{problem}" for cell, problem in failed.items())
        sys.exit(f"\n{len(failed)} of {len(jobs)} FAILED:\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
