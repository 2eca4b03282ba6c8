"""The one exception that means: the input is wrong, and the message says how to mend it."""


class InputError(ValueError):
    """A user's mistake. The message names the value, what is allowed, and the fix.

    `train.py` prints it without a traceback and exits with code 2; a library user sees a `ValueError`.
    """
