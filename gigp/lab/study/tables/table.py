"""A table as Markdown, CSV and LaTeX."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from gigp.errors import InputError


@dataclass(frozen=True)
class Table:
    """A table to read and the numbers that it is made of.

    Attributes:
        name: name of its file.
        notes: sentences above the table.
        shown: its text.
        numbers: a row for each cell; None if `shown` is all there is.
    """

    name: str
    notes: Sequence[str]
    shown: pd.DataFrame
    numbers: pd.DataFrame | None = field(default=None, repr=False)

    def only(self, targets: Collection[str]) -> "Table":
        """The rows with the columns of some targets alone."""
        first, *others = self.shown.columns
        kept = [name for name in others if name.partition(",")[0] in targets]
        return replace(self, shown=self.shown[[first, *kept]])

    def csv(self) -> str:
        """The numbers."""
        numbers = self.shown if self.numbers is None else self.numbers
        return numbers.to_csv(index=False, float_format="%.6g")

    def markdown(self) -> str:
        """Notes and text."""
        return "\n\n".join([*self.notes, to_markdown(self.shown).rstrip()]) + "\n"

    def latex(self) -> str:
        """A table with a caption, for the package booktabs."""
        caption = " ".join(self.notes).translate(str.maketrans("", "", "`*"))
        for character in r"_%#&":
            caption = caption.replace(character, "\\" + character)
        return self.shown.astype(str).to_latex(index=False, escape=True, caption=caption)


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table."""
    if table.empty:
        return "No records yet.\n"
    lines = [
        list(table.columns),
        ["---"] * len(table.columns),
        *table.astype(str).to_numpy().tolist(),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fill(text: str, start: str, end: str, content: str, where: str) -> str:
    """The text with other content between its markers.

    Raises:
        InputError: the markers are not there.
    """
    before, _, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not ended:
        raise InputError(f"{where} has no block between {start!r} and {end!r}.")
    return f"{before}{start}\n{content}{end}{after}"
