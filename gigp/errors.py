"""The exception for wrong input, whose message tells the fix, and helpers for such messages."""

import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from numbers import Integral
from typing import Any, get_args

# control characters, halves of characters, and separators of lines; the others reverse the text
HIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
REVERSING = {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}


class InputError(ValueError):
    """A user's mistake. The message names the value, what is allowed, and the fix.

    `train.py` prints it without a traceback and exits with code 2; a library user sees a
    `ValueError`.
    """


def check_choice(name: str, value: object, choice: Any) -> None:
    """Refuse a `value` that is not a member of the `Literal` type `choice`."""
    if value not in get_args(choice):
        raise InputError(
            f"{name}={value!r} is unknown; choose one of {', '.join(map(str, get_args(choice)))}."
        )


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise InputError(f"{name}={value}: it must be a whole number, {least} or larger.")


class MissingExtraError(InputError, ImportError):
    """A package of an optional extra is not installed."""


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Imports inside the block need an extra of pyproject.toml.

    Args:
        extra: `pyg`, `train` or `study`.

    Raises:
        MissingExtraError: one of the imported packages is not installed; the message has
            the command that installs it.
    """
    try:
        with warnings.catch_warnings():
            # of PyTorch Geometric about itself, as it is imported
            warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
            yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "gigp":
            raise
        raise MissingExtraError(
            f"the package {package} is missing; install gigp with its extra {extra!r}: "
            f"`pip install '.[{extra}]'` in a checkout."
        ) from error


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The most similar of the known names.

    Args:
        name: name that the user wrote.
        known: names that are allowed.
        cutoff: least similarity, from 0 (anything) to 1 (equal).
    """
    close = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` Did you mean ...?` with what `closest` finds, or nothing."""
    similar = closest(name, known, cutoff)
    return f" Did you mean {similar}?" if similar else ""


def printable(text: str, keep: str = "\t") -> str:
    """The text with control characters as escapes, so that a name neither moves a terminal's cursor
    nor breaks a line; those to keep stay.
    """

    def hidden(char: str) -> bool:
        return unicodedata.category(char) in HIDDEN_CATEGORIES or char in REVERSING

    return "".join(
        char.encode("unicode_escape").decode() if char not in keep and hidden(char) else char
        for char in text
    )


def first_line(error: BaseException) -> str:
    """What an error says, in at most 200 characters; its kind, where it says nothing."""
    text = str(getattr(error, "strerror", None) or error).strip()
    return (text or type(error).__name__).splitlines()[0][:200]
