"""Train and test one model, or sweep over many: `gigp-train --help`."""

import os
import sys
from typing import NoReturn

from gigp.errors import InputError, MissingExtraError
from gigp.lab.commands import tell

INTERRUPTED = "\nInterrupted. The same command goes on from the last finished epoch."


def main() -> NoReturn:
    """Run the command line, and exit with its status."""
    try:
        from gigp.lab.commands.train_run import train
        from gigp.lab.runs.console import outlive_log
        from gigp.lab.training.sweep import PARENT, end_with, report
    except MissingExtraError as error:
        tell(f"Error: {error}")
        sys.exit(2)
    # else Hydra prints errors in its own words and cuts tracebacks short
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if sys.stdout is None:  # closed by the shell
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # a path may have characters that the terminal's encoding lacks
        stream.reconfigure(errors="backslashreplace")
    outlive_log()
    if parent := os.environ.get(PARENT):
        end_with(int(parent))
    try:
        train()
    except InputError as error:
        tell(f"\nError: {error}")
        sys.exit(2)
    except KeyboardInterrupt:  # of a sweep
        tell(INTERRUPTED)
        sys.exit(130)
    finally:
        failed = report()
    sys.exit(int(failed))
