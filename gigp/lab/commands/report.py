"""A page about finished runs: `gigp-report RUN [RUN ...]`.

For one run, report.html in its folder, which every run writes at its end: what was run, learning
curves, predicted against true, errors by kind of molecule, the worst ones, what the pool has
learned. For several, one page with them side by side, report.html in this folder.
"""

import argparse
from pathlib import Path

from gigp.errors import InputError, MissingExtraError, needs_extra
from gigp.lab.commands import program_name, refuse, tell
from gigp.lab.files import to_path


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    name = program_name("scripts/report.py")
    parser = argparse.ArgumentParser(prog=name, description="A page about finished runs.")
    parser.add_argument("run", nargs="+", type=to_path, help="folder of a run, .../NAME/seedK")
    parser.add_argument("--out", type=to_path, help="page to write, in place of report.html")
    options = parser.parse_args(arguments)
    try:
        with needs_extra("train"):
            from gigp.lab.files import write_atomically
            from gigp.lab.report.stored import comparison_of, report_of
        one = len(options.run) == 1
        page = report_of(options.run[0]).html if one else comparison_of(options.run)
        out = options.out or (options.run[0] if one else Path()) / "report.html"
        write_atomically(out, page)
    except (InputError, MissingExtraError) as error:
        refuse(error)
    tell(f"{out}: {len(page.encode()) / 1000:.0f} kB; open it in a browser.")
