"""The programs `gigp-train`, `gigp-predict` and `gigp-compare`; train.py and predict.py of a
checkout are the same ones.
"""

import sys
from pathlib import Path


def program_name(script: str) -> str:
    """What a user has typed: the command, or `python SCRIPT` in a checkout."""
    typed = Path(sys.argv[0]).name
    return typed if typed.startswith("gigp-") else f"python {script}"
