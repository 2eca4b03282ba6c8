"""Make the tables, results/README.md and the README's table from the records: `python
scripts/make_tables.py`.

With --check nothing is written; the exit status tells whether the files follow from the records.
With --format latex and --out DIR the tables are written as LaTeX, and nothing else.
"""

import argparse
import sys
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.files import to_path, write_atomically
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
        evidence = read_evidence(arguments.root, arguments.data)
        tables = make_tables(evidence)
        if arguments.out:
            files = {arguments.out / f"{t.name}.tex": t.latex() for t in tables.values()}
        else:
            files = make(arguments.root, evidence, tables)
    except InputError as error:
        sys.exit(f"Error: {error}")
    stale = list(files) if arguments.out else stale_files(arguments.root, files)
    if arguments.check and stale:
        names = ", ".join(map(str, stale))
        sys.exit(f"not what the records give: {names}; run python scripts/make_tables.py")
    for path in stale:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, files[path])
        else:
            path.unlink()
        print(f"{'wrote' if path in files else 'removed'} {path}")


if __name__ == "__main__":
    main()
