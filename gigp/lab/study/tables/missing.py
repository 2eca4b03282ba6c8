"""What the study asks for and has not run yet."""

from collections.abc import Mapping, Sequence

import pandas as pd

from gigp.lab.study.tables.results import TableRow
from gigp.lab.study.tables.table import Table


def missing_table(rows: Mapping[str, Sequence[TableRow]]) -> Table:
    """A row for each experiment that is not complete.

    Args:
        rows: rows of every experiment, those without runs included.
    """
    shown = []
    for name, entries in rows.items():
        none = [f"`{entry.label}`" for entry in entries if not entry.runs]
        some: dict[str, list[str]] = {}
        for entry in entries:
            if entry.runs and (lack := _lacks(entry)):
                some.setdefault(lack, []).append(f"`{entry.label}`")
        complete = len(entries) - len(none) - sum(map(len, some.values()))
        if complete < len(entries):
            shown.append(
                {
                    "experiment": f"`{name}`",
                    "complete": f"{complete} of {len(entries)} rows",
                    "not complete": " ".join(
                        f"{'; '.join(labels)}: {lack}." for lack, labels in some.items()
                    )
                    or "—",
                    "not run": "; ".join(none) or "—",
                }
            )
    return Table("missing", [], pd.DataFrame(shown))


def _lacks(entry: TableRow) -> str:
    """What a row with runs lacks; empty where it lacks nothing."""
    seeds = [(len(entry.runs.get(t, {})), asked) for t, asked in entry.expected.items()]
    lacks = [f"{done} of {asked} seeds" for done, asked in seeds if done < asked][:1]
    lacks += [f"without {', '.join(entry.untried)}"] if entry.untried else []
    return ", ".join(lacks)
