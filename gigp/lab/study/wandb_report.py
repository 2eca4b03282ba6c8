"""The comparisons on Weights & Biases: for every table a run with its numbers, a chart of each
target, its figures.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import wandb

from gigp.lab.hashing import hash_text
from gigp.lab.study.tables.table import Table
from gigp.lab.training.loggers import is_online, svg_as_html

FIGURES = {
    "qm9_backbone": ["qm9_backbone_curves"],
    "qm9_outputs": ["forest"],
    "qm9_features": ["forest"],
    "qm9_ablation": ["orbits_number"],
}


def log_table(
    name: str,
    tables: Mapping[str, Table],
    figures: Path,
    folder: Path,
    project: str = "gigp",
    entity: str | None = None,
) -> str:
    """Log one table of the study, online where an account is set up and offline elsewhere.

    The same table is the same wandb run again, so that logging it again replaces its content.

    Args:
        name: name of the table.
        tables: all tables of the study by name.
        figures: folder of the figures.
        folder: folder of wandb's files.
        project, entity: project and account of wandb.

    Returns:
        Where it went: an address, or the folder of the offline run.
    """
    own = {key: tables[key] for key in (name, f"{name}_differences") if key in tables}
    run = wandb.init(
        mode="online" if is_online() else "offline",
        project=project,
        entity=entity,
        id=hash_text(f"study/{name}")[:16],
        name=f"study/{name}",
        group=name,
        job_type="study",
        notes=" ".join(own[name].notes),
        dir=str(folder),
        resume="allow",
        settings=wandb.Settings(silent=True),
    )
    try:
        shown = {key: wandb.Table(dataframe=plain(table)) for key, table in own.items()}
        run.log(shown | charts(own[name].numbers) | drawings(name, figures))
        return run.url or str(Path(run.dir).parent)
    finally:
        run.finish()


def plain(table: Table) -> pd.DataFrame:
    """Numbers of a table where it has them, else its text, with types that wandb takes."""
    frame = table.shown if table.numbers is None else table.numbers
    text = frame.select_dtypes(exclude="number").columns
    return frame.astype(dict.fromkeys(text, "object")).where(frame.notna(), None)


def charts(numbers: pd.DataFrame | None) -> dict[str, object]:
    """A bar chart of the mean by pool for every target."""
    if numbers is None or numbers.empty:
        return {}
    charts: dict[str, object] = {}
    for (target, unit), cells in numbers.dropna(subset="mean").groupby(["target", "unit"]):
        bars = wandb.Table(dataframe=cells[["pool", "mean"]].reset_index(drop=True))
        charts[str(target)] = wandb.plot.bar(bars, "pool", "mean", title=f"{target}, {unit}")
    return charts


def drawings(name: str, figures: Path) -> dict[str, wandb.Html]:
    """The figures that belong to a table."""
    paths = [figures / f"{stem}.svg" for stem in FIGURES.get(name, [])]
    return {f"figure/{path.stem}": svg_as_html(path.read_text()) for path in paths if path.exists()}
