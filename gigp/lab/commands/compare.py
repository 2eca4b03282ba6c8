"""Compare finished runs: `gigp-compare [RUN ...]`.

One table for all runs that differ in pool and seed alone: mean and standard deviation over the
seeds, and the difference to the first pool, paired seed by seed. Without arguments, all runs below
results/runs.
"""

import argparse
from pathlib import Path

from gigp.errors import InputError, MissingExtraError, needs_extra
from gigp.lab.commands import program_name, refuse
from gigp.lab.files import to_path


def main() -> None:
    """Run the command line."""
    try:
        with needs_extra("train"):
            from gigp.lab.runs.compare import find_runs, print_comparison, read_runs
    except MissingExtraError as error:
        refuse(error)
    name = program_name("scripts/compare.py")
    parser = argparse.ArgumentParser(prog=name, description="Compare finished runs, by pool.")
    parser.add_argument("run", nargs="*", type=to_path, help="folder of a run, .../NAME/seedK")
    parser.add_argument(
        "--results-dir",
        type=to_path,
        default=Path("results/runs"),
        help="where runs are, if none is given",
    )
    arguments = parser.parse_args()
    folders = arguments.run or find_runs(arguments.results_dir)
    if not folders:
        refuse(f"there are no finished runs below {arguments.results_dir}.")
    try:
        print_comparison(read_runs(folders))
    except InputError as error:
        refuse(error)
