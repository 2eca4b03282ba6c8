"""Make the tables, the report and the README's table from run records: `python
scripts/make_tables.py`.

With --check nothing is written; the exit status says whether they are what the records give.
"""

import argparse
import sys
from pathlib import Path

from gigp.errors import InputError
from gigp.files import write_atomically
from gigp.study.report import make, stale_files

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="folder that holds README.md, docs/ and results/"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if anything differs"
    )
    arguments = parser.parse_args()
    try:
        wanted = make(arguments.root)
    except InputError as error:
        sys.exit(f"Error: {error}")
    stale = stale_files(arguments.root, wanted)
    if arguments.check and stale:
        sys.exit(
            "not what the records give: " + ", ".join(map(str, stale)) + "; run python "
            "scripts/make_tables.py"
        )
    for path in [] if arguments.check else stale:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, wanted[path])
        else:
            path.unlink()
        print(f"{'wrote' if path in wanted else 'removed'} {path}")


if __name__ == "__main__":
    main()
