"""Put finished runs into the evidence of the study: `python scripts/collect.py [RUN ...]`.

Without arguments, all finished runs below results/runs; a folder that holds runs stands for them.
Runs at scale=debug, of changed code, of no experiment of the study, and damaged records are left
out and named; where such a run was asked for by its folder, or a record is damaged, the exit status
is 1.
"""

import argparse
import sys
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.commands import refuse
from gigp.lab.files import to_path
from gigp.lab.runs.compare import find_runs
from gigp.lab.study.collect import collect, describe
from gigp.lab.study.experiments import read_experiments

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "run", nargs="*", type=to_path, help="folder of a run, .../NAME/seedK, or of runs"
    )
    parser.add_argument("--runs", type=to_path, default=ROOT / "results" / "runs")
    parser.add_argument("--records", type=to_path, default=ROOT / "results" / "records")
    arguments = parser.parse_args()
    given = [run.resolve() for run in arguments.run]
    folders = [folder for run in given for folder in find_runs(run) or [run]]
    folders = folders or find_runs(arguments.runs)
    try:
        collected = collect(folders, arguments.records, read_experiments())
    except InputError as error:
        refuse(error)
    print("\n".join(describe(collected, ROOT)))
    damaged = any("damaged" in why for why in collected.refused.values())
    sys.exit(int(damaged or bool(arguments.run and collected.refused)))


if __name__ == "__main__":
    main()
