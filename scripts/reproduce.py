"""Run what a table lacks, then make the tables: `python scripts/reproduce.py --table pools --scale
small --jobs 2`.

A table is made of the experiments in configs/experiment whose head says "Table NAME:". Runs that
have a record are left out, interrupted ones go on, and one that fails does not stop the others.
What a run starts from is run before it.
"""

import argparse
import os
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

from gigp.errors import InputError
from gigp.study.experiments import Cell, read_experiments, table_members
from gigp.study.plan import plan, recorded, run_jobs

ROOT = Path(__file__).resolve().parents[1]
TAIL = 15  # lines of a failed run to show


def train(cell: Cell, title: str, threads: int | None) -> str:
    """Do one run in a process of its own; alone it has the terminal, beside others its last lines
    tell of a failure.
    """
    command = [sys.executable, "train.py", *cell.overrides]
    print(f"\n{title}: python train.py {' '.join(cell.overrides)}", flush=True)
    if threads is None:
        return (
            f"exit status {code}" if (code := subprocess.run(command, cwd=ROOT).returncode) else ""
        )
    start, env = time.perf_counter(), {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    verdict = "FAILED" if done.returncode else "finished"
    print(f"{title} {verdict} after {time.perf_counter() - start:.0f} s", flush=True)
    return "\n".join(done.stdout.splitlines()[-TAIL:]) or "failed" if done.returncode else ""


def chosen(cell: Cell, wanted: list[str]) -> bool:
    """Whether a cell has one of the values wanted of every key, as KEY=V1,V2."""
    given = {key: str(value) for key, value in cell.choices.items()} | {"seed": str(cell.seed)}
    given |= dict(override.split("=", 1) for override in cell.overrides)
    return all(
        given.get(key) in values.split(",") for key, _, values in (w.partition("=") for w in wanted)
    )


def main() -> None:
    experiments = read_experiments()
    tables = table_members(experiments)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=[*tables, "all"], default="all")
    parser.add_argument("--scale", choices=["debug", "small", "medium", "paper"], default="small")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="KEY=V1,V2",
        help="cells with these values alone",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only list the commands of the runs that are missing"
    )
    parser.add_argument("overrides", nargs="*", help="further overrides of every run, KEY=VALUE")
    arguments = parser.parse_args()
    chosen_tables = tables if arguments.table == "all" else [arguments.table]
    members = [experiments[name] for table in chosen_tables for name in tables[table]]
    cells = [
        cell for member in members for cell in member.cells(arguments.scale, arguments.overrides)
    ]
    wanted = [cell for cell in cells if chosen(cell, arguments.only)]
    places = [
        o.removeprefix("results_dir=") for o in arguments.overrides if o.startswith("results_dir=")
    ]
    runs = ROOT / (places[-1] if places else "results/runs")
    have = recorded(runs)
    missing = sum(cell.key not in have for cell in wanted)
    try:
        jobs = plan(wanted, experiments, runs, arguments.overrides)
    except InputError as error:
        sys.exit(f"Error: {error}")
    before = f", {len(jobs) - missing} to run before them" if len(jobs) > missing else ""
    print(
        f"{len(wanted)} runs, {len(wanted) - missing} with a record, {missing} missing{before}.",
        flush=True,
    )
    if arguments.dry_run:
        for i, job in enumerate(jobs, 1):
            print(f"{i}/{len(jobs)}: python train.py {' '.join(job.cell.overrides)}")
        return
    number, workers = count(1), max(1, arguments.jobs)
    threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else None
    try:
        failed = run_jobs(
            jobs, workers, lambda cell: train(cell, f"{next(number)}/{len(jobs)}", threads)
        )
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command goes on from the last finished epochs.")
    if not places:
        for script in ("make_figures.py", "make_tables.py"):
            subprocess.run([sys.executable, f"scripts/{script}"], cwd=ROOT, check=True)
    if failed:
        lines = (f"{name}, seed {seed}:\n{problem}" for (name, seed), problem in failed.items())
        sys.exit(f"\n{len(failed)} of {len(jobs)} FAILED:\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
