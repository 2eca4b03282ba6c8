"""The one exception that means: the input is wrong, and the message says how to mend it."""

from typing import Any, get_args


class InputError(ValueError):
    """A user's mistake. The message names the value, what is allowed, and the fix.

    `train.py` prints it without a traceback and exits with code 2; a library user sees a
    `ValueError`.
    """


def check_choice(name: str, value: object, choice: Any) -> None:
    """Refuse a `value` that is none of the members of the `Literal` type `choice`."""
    if value not in get_args(choice):
        raise InputError(
            f"{name}={value!r} is unknown; choose one of {', '.join(map(str, get_args(choice)))}."
        )
