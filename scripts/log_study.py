"""Log the tables and figures of the study to Weights & Biases: `python scripts/log_study.py --table
pools`.

Where no account is set up everything is written offline, and `wandb sync` uploads it later.
"""

import argparse
from pathlib import Path

from gigp.study.board import log_table
from gigp.study.experiments import read_experiments
from gigp.study.report import families, make_tables
from gigp.study.runs import read_records

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--table", nargs="+", help="names of tables; all that have records by default"
    )
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="folder that holds docs/ and results/"
    )
    parser.add_argument("--project", default="gigp")
    parser.add_argument("--entity")
    parser.add_argument("--dir", type=Path, default=ROOT, help="folder of wandb's own files")
    arguments = parser.parse_args()
    experiments, results = read_experiments(), arguments.root / "results"
    records = read_records(results / "runs", experiments)
    begun = {
        t: m
        for t, m in families(records, experiments).items()
        if records["experiment"].isin(m).any()
    }
    unknown = set(arguments.table or []) - begun.keys()
    if unknown:
        parser.error(
            f"no records for {', '.join(sorted(unknown))}; there are some for "
            f"{', '.join(sorted(begun))}."
        )
    tables = make_tables(arguments.root, records, experiments)
    for table in arguments.table or begun:
        where = log_table(
            table, tables, results / "figures", arguments.dir, arguments.project, arguments.entity
        )
        print(f"{table}: {where if where.startswith('http') else f'wandb sync {where}'}")


if __name__ == "__main__":
    main()
