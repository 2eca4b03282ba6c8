"""Tables as Markdown, CSV and LaTeX, and where they stand in a text."""

import re
from dataclasses import dataclass, field

import pandas as pd

from gigp.errors import InputError


@dataclass(frozen=True)
class Table:
    """A table to read, and the numbers that it is made of.

    Attributes:
        name: of its files.
        notes: sentences that stand above it.
        shown: cells as text.
        numbers: a row for each cell, which may hold its `text`; None where `shown` has them all.
    """

    name: str
    notes: list[str]
    shown: pd.DataFrame
    numbers: pd.DataFrame | None = field(default=None, repr=False)

    def files(self) -> dict[str, str]:
        """Its files by ending."""
        numbers = self.shown if self.numbers is None else self.numbers.drop(columns="text", errors="ignore")
        return {"md": self.markdown(), "tex": self.latex(), "csv": numbers.to_csv(index=False, float_format="%.6g")}

    def markdown(self) -> str:
        return "\n\n".join([*self.notes, to_markdown(self.shown)])

    def latex(self) -> str:
        caption = " ".join(self.notes).replace("`", "").replace("*", "")
        caption = re.sub(r"([_%#&])", r"\\\1", caption)
        return self.shown.to_latex(index=False, escape=True, caption=caption or None, label=f"tab:{self.name}")


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table."""
    if table.empty:
        return "No records yet.\n"
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fill(text: str, start: str, end: str, content: str, where: str) -> str:
    """The text with other content between its markers.

    Raises:
        InputError: the markers are not there.
    """
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise InputError(f"{where} has no block between {start!r} and {end!r}.")
    return f"{before}{start}\n{content}{end}{after}"
