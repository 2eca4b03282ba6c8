"""Tables as Markdown, CSV and LaTeX, and where they stand in a text."""

import re
from dataclasses import dataclass, field

import pandas as pd

from gigp.errors import InputError


@dataclass(frozen=True)
class Section:
    """Sentences, and the rows that they are about, as text."""

    notes: list[str]
    shown: pd.DataFrame


@dataclass(frozen=True)
class Table:
    """A table to read, section by section, and the numbers that it is made of.

    Attributes:
        name: of its files.
        notes: sentences that stand above it.
        sections: rows as text.
        numbers: a row for each cell, which may hold its `text`; None where the sections have them
            all.
    """

    name: str
    notes: list[str]
    sections: list[Section]
    numbers: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def shown(self) -> pd.DataFrame:
        """The rows of all sections."""
        return pd.concat(
            [pd.DataFrame(), *(section.shown for section in self.sections)], ignore_index=True
        )

    def files(self) -> dict[str, str]:
        """Its files by ending."""
        numbers = (
            self.shown
            if self.numbers is None
            else self.numbers.drop(columns="text", errors="ignore")
        )
        return {
            "md": self.markdown(),
            "tex": self.latex(),
            "csv": numbers.to_csv(index=False, float_format="%.6g"),
        }

    def markdown(self) -> str:
        parts = [
            part
            for section in self.sections
            for part in (*section.notes, to_markdown(section.shown).rstrip())
        ]
        return "\n\n".join([*self.notes, *parts]) + "\n"

    def latex(self) -> str:
        return "\n".join(
            to_latex(section.shown, [*self.notes, *section.notes]) for section in self.sections
        )


def to_latex(table: pd.DataFrame, notes: list[str]) -> str:
    """A LaTeX table with a caption, for booktabs."""
    escape = lambda text: re.sub(r"([_%#&])", r"\\\1", text).replace("^", r"\textasciicircum{}")  # noqa: E731
    lines = [
        " & ".join(map(escape, line)) + r" \\"
        for line in [list(table.columns), *table.astype(str).to_numpy()]
    ]
    rows = [lines[0], r"\midrule", *lines[1:]]
    caption = escape(re.sub(r"[`*]", "", " ".join(notes)))
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
            r"\toprule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


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
    _, found, after = rest.partition(end)
    if not found:
        raise InputError(f"{where} has no block between {start!r} and {end!r}.")
    return f"{before}{start}\n{content}{end}{after}"
