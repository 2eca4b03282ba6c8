"""Make the tables, the figures, results/README.md and the README's table from the records: `python
scripts/make_tables.py`.

A file is written only where it differs by more than rounding. With --check nothing is written; the
exit status tells whether the files follow from the records. With --format latex and --out DIR the
tables are written as LaTeX, and nothing else.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.commands import refuse
from gigp.lab.files import to_path, write_atomically
from gigp.lab.molecules.baselines import molecule_errors
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.study.figures.drawings import draw_figures
from gigp.lab.study.report import make, make_tables, read_evidence, stale_files

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root", type=to_path, default=ROOT, help="folder that holds README.md, docs/ and results/"
    )
    parser.add_argument(
        "--data", type=to_path, default=ROOT / "data", help="folder of the caches of QM9"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if anything differs"
    )
    parser.add_argument("--format", choices=["csv", "latex"], default="csv")
    parser.add_argument("--out", type=to_path, help="folder for --format latex")
    arguments = parser.parse_args()
    if (arguments.format == "latex") != (arguments.out is not None):
        parser.error("--format latex and --out DIR go together")
    try:
        files = make_files(arguments.root, arguments.data, arguments.out)
    except InputError as error:
        refuse(error)
    stale = list(files) if arguments.out else stale_files(arguments.root, files)
    if arguments.check and stale:
        names = ", ".join(map(str, stale))
        sys.exit(f"not what the records give: {names}; run python scripts/make_tables.py")
    for path in stale:
        write(path, files)
    if not stale:
        print(f"Nothing to write: all {len(files)} files are what the records give.")


def make_files(root: Path, data: Path, latex: Path | None) -> dict[Path, str]:
    """Every file with its text; says what it does."""
    say("Fitting the baselines by least squares on QM9")
    qm9 = QM9(root=str(data), cache=str(data), target="all")
    qm9.setup()
    evidence = read_evidence(root, data, molecule_errors(qm9))
    number = sum(map(len, evidence.records.values()))
    say(f"Comparing pools, from {number} records and the errors of their test samples")
    tables = make_tables(evidence)
    if latex:
        return {latex / f"{table.name}.tex": table.latex() for table in tables.values()}
    say("Drawing the figures")
    return make(root, evidence, tables, draw_figures(evidence, tables, qm9))


def say(what: str) -> None:
    print(f"{what} ...", flush=True)


def write(path: Path, files: Mapping[Path, str]) -> None:
    """Write a file, or remove it where the records give none."""
    if path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, files[path])
    else:
        path.unlink()
    print(f"{'wrote' if path in files else 'removed'} {path}")


if __name__ == "__main__":
    main()
