"""Log the tables and figures of the study to Weights & Biases: `python scripts/log_study.py --table
qm9_outputs`.

Where no account is set up everything is written offline, and `wandb sync` uploads it later.
"""

import argparse
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.commands import refuse
from gigp.lab.files import to_path
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.report import make_tables, read_evidence
from gigp.lab.study.wandb_report import log_table

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--table", nargs="+", help="names of tables; all that have records by default"
    )
    parser.add_argument("--root", type=to_path, default=ROOT, help="folder that holds results/")
    parser.add_argument(
        "--data", type=to_path, default=ROOT / "data", help="folder of QM9's caches"
    )
    parser.add_argument("--project", default="gigp")
    parser.add_argument("--entity")
    parser.add_argument("--dir", type=to_path, default=ROOT, help="folder of wandb's own files")
    arguments = parser.parse_args()
    try:
        evidence = read_evidence(arguments.root, arguments.data)
    except InputError as error:
        refuse(error)
    experiments = read_experiments()
    begun = dict.fromkeys(
        experiments[name].study.table for name in evidence.records if name in experiments
    )
    unknown = set(arguments.table or []) - begun.keys()
    if unknown:
        parser.error(
            f"no records for {', '.join(sorted(unknown))}; there are some for "
            f"{', '.join(sorted(begun))}."
        )
    tables = make_tables(evidence)
    figures = arguments.root / "results" / "figures"
    for table in arguments.table or begun:
        where = log_table(
            table, tables, figures, arguments.dir, arguments.project, arguments.entity
        )
        print(f"{table}: {where if where.startswith('http') else f'wandb sync {where}'}")


if __name__ == "__main__":
    main()
