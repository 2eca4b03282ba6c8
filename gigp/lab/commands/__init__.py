"""The programs `gigp-train`, `gigp-predict` and `gigp-compare`; train.py and predict.py of a
checkout are the same ones.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from gigp.errors import printable


def program_name(script: str) -> str:
    """What a user has typed: the command, or `python SCRIPT` in a checkout."""
    typed = Path(sys.argv[0]).name
    return typed if typed.startswith("gigp-") else f"python {script}"


def tell(message: object) -> None:
    """Print on standard error, if it can be printed on; control characters are escaped."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(printable(str(message), keep="\t\n"), file=sys.stderr)


def refuse(error: object) -> NoReturn:
    """End the program with an error, and the status 1."""
    sys.exit(printable(f"Error: {error}", keep="\t\n"))
