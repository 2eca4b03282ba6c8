"""Figures that others published, to stand beside ours; the file names their source and budget."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gigp.study.formatting import Section, Table


def read_published(path: Path) -> dict[str, Any]:
    """The file results/published.yaml."""
    return yaml.safe_load(path.read_text())


def published_figure(published: dict[str, Any], dataset: str, group: str, target: str) -> str:
    """A published test figure, or nothing; the main table goes before the table of groups."""
    for table, groups in published.get(dataset, {}).items():
        if table != "train" and target in groups.get(group, {}):
            return groups[group][target]
    return ""


def published_note(published: dict[str, Any], datasets: set[str]) -> str:
    """What must be said beside such figures."""
    budgets = [f"{published[d]['train']} on {d}" for d in sorted(datasets & published.keys())]
    return (
        f"Published: {published['source']}, {published['pool']} pooling, one model for each "
        f"target, train size x epochs {', '.join(budgets)}; not run here."
    )


def published_table(published: dict[str, Any]) -> Table:
    """All published figures."""
    rows = [
        {
            "data set": dataset,
            "table": table,
            "backbone": group,
            "target": target,
            "published": value,
            "train": tables["train"],
        }
        for dataset, tables in published.items()
        if isinstance(tables, dict)
        for table, groups in tables.items()
        if table != "train"
        for group, figures in groups.items()
        for target, value in figures.items()
    ]
    note = f"{published['source']}, {published['pool']} pooling; not run here."
    return Table("published", [note], [Section([], pd.DataFrame(rows))])
