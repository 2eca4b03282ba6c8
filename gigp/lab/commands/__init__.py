"""The programs `gigp-train`, `gigp-predict`, `gigp-explain`, `gigp-report` and `gigp-compare`;
train.py, predict.py and the scripts of a checkout are the same ones.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gigp.errors import InputError, did_you_mean, printable

if TYPE_CHECKING:
    from gigp.lab.data.entries import InputEntry


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


def parse_options(arguments: Iterable[str], known: Sequence[str], usage: str) -> dict[str, str]:
    """Words of the form option=value, by name. Values are as they are, special characters included.

    Args:
        arguments: words of the command line.
        known: names of the options; `input` must be given, `check` and `extrapolate` are true or
            false.
        usage: how to call the program, for messages.

    Raises:
        InputError: a word of another form, an unknown option, one without a value or given twice.
    """
    options: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r} is not of the form option=value; {usage}")
        if key not in known:
            names = [f"{name}=" for name in known]
            meant = did_you_mean(f"{key}=", names)
            raise InputError(f"{key!r} is not an option.{meant} Options: {', '.join(names)}.")
        if key in options:
            raise InputError(f"{key}= is given twice; give it once.")
        if not value:
            raise InputError(f"{key}= has no value.")
        options[key] = value
    if "input" not in options:
        raise InputError(f"input= is missing; {usage}")
    for key in ("check", "extrapolate"):
        if options.get(key, "true") not in ("true", "false"):
            raise InputError(f"{key}={options[key][:40]}: it must be true or false.")
    return options


def check_positive(options: dict[str, str], key: str) -> None:
    """Refuse an option that is given and is not a positive integer."""
    if not re.fullmatch(r"0*[1-9]\d{0,6}", options.get(key, "1"), re.ASCII):
        raise InputError(f"{key}={options[key][:40]}: it must be a positive integer.")


def answer(
    arguments: list[str],
    description: str,
    work: Callable[[list[str]], list["InputEntry"]],
    verb: str,
) -> int:
    """Follow a command line that names an input, and return the exit status.

    Args:
        arguments: words of the command line; help, or none, prints the description.
        work: does what they say, and returns the entries of the input.
        verb: what it does to an entry, as `Predicted`.
    """
    if not arguments or {"-h", "--help", "help"} & set(arguments):
        print(description)
        return 0 if arguments else 2
    try:
        entries = work(arguments)
    except InputError as error:
        tell(printable(f"Error: {error}"))
        return 2
    return tell_errors(entries, verb)


def tell_errors(entries: Sequence["InputEntry"], verb: str) -> int:
    """Print what is wrong with entries of an input, and how many are right; the exit status: 0, all
    of them, 1, some, 2, none.
    """
    bad = [entry for entry in entries if entry.error]
    for entry in bad:
        name = f" ({entry.name})" if entry.name else ""
        where = f"{entry.file}, {entry.number}{name}: " if entry.number else ""
        tell(printable(where + entry.error))
    tell(f"{verb} {len(entries) - len(bad):,} of {len(entries):,}.")
    return 0 if not bad else 1 if len(bad) < len(entries) else 2
