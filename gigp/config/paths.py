"""Paths on the command line, taken as they are."""

import re
from collections.abc import Sequence

# settings whose values are paths
PATH_KEYS = {
    "init_from",
    "results_dir",
    "dataset.run",
    "dataset.root",
    "dataset.cache",
    "dataset.path",
}
# what Hydra's grammar reads as one plain text
PLAIN = re.compile(r"(?!(?i:true|false|nan|inf)$)([A-Za-z_]|[\w.-]*/)[\w./-]*", re.ASCII)
# values in Hydra's own grammar: quotes, a reference, a function, nothing
GRAMMAR = re.compile(r"""'.*'|".*"|.*\$\{.*\}.*|[a-z]+\(.*\)|null|\?\?\?|""", re.DOTALL)


def quote_paths(arguments: Sequence[str], multirun: bool = False) -> list[str]:
    """A command line on which paths are quoted where Hydra's grammar would not read them.

    Older run folders have `=` in their names; other folders may have spaces, `#`, `~` or brackets.

    Args:
        arguments: words of the command line.
        multirun: a comma separates the values of a sweep; else it belongs to the path.
    """
    return [_quoted(argument, multirun) for argument in arguments]


def _quoted(argument: str, multirun: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key.lstrip("+") not in PATH_KEYS:
        return argument
    values = value.split(",") if multirun and not GRAMMAR.fullmatch(value) else [value]
    return f"{key}=" + ",".join(map(_quoted_value, values))


def _quoted_value(value: str) -> str:
    if PLAIN.fullmatch(value) or GRAMMAR.fullmatch(value):
        return value
    # a backslash escapes only before a quote
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"
