"""Tables from the small CSV files in results/studies, which are measured on trained models."""

from pathlib import Path

import pandas as pd

from gigp.study.formatting import Section, Table
from gigp.study.statistics import spread


def study_tables(folder: Path) -> list[Table]:
    """A table for every study, also for one that was not made yet."""
    tables = []
    for name, make in (("invariance", invariance_table), ("rotation_angle", angle_table)):
        path = folder / f"{name}.csv"
        none = Table(name, ["Not measured yet; see scripts/check_invariance.py."], [])
        tables.append(make(pd.read_csv(path)) if path.exists() else none)
    return tables


def invariance_table(numbers: pd.DataFrame) -> Table:
    """How far predictions move when the test clouds do."""
    numbers = numbers.assign(name=numbers["run"].str.rpartition("/")[0])
    keys = ["data set", "target", "unit", "group", "pool", "augmented", "motion", "name"]
    rows = []
    for values, group in numbers.groupby(keys, sort=False):
        row = dict(zip(keys, values, strict=True))
        texts = {c: str(spread(group[c])) for c in ("error", "error_moved", "relative_change")}
        rows.append(
            {
                **{k: v for k, v in row.items() if k != "name"},
                "error": texts["error"],
                "error on moved clouds": texts["error_moved"],
                "change of predictions": texts["relative_change"],
                "run": row["name"],
            }
        )
    notes = [
        "Test clouds as they are and moved by the motion named: mean ± standard deviation (number "
        "of runs). Change of predictions: mean absolute change over the spread of the predictions; "
        "for digits, the share in % whose predicted class changes. `augmented`: trained with "
        "random motions."
    ]
    return Table(
        "invariance", notes, [Section([], pd.DataFrame(rows))], numbers.drop(columns="name")
    )


def angle_table(numbers: pd.DataFrame) -> Table:
    """Error on digits turned by an angle."""
    keys = ["group", "pool", "augmented", "source"]
    rows = []
    for values, group in numbers.groupby(keys, sort=False):
        by_angle = {
            f"{angle:g}°": str(spread(runs["error"])) for angle, runs in group.groupby("angle")
        }
        rows.append(dict(zip(keys, values, strict=True)) | by_angle)
    notes = [
        "Error, %, on test digits turned further by an angle: mean ± standard deviation over runs "
        "(their number). Turns by 90° move pixels onto pixels and are exact; others resample, "
        "which alone costs accuracy, so what a turn by 45° adds to one by 90° holds the error of "
        "interpolation."
    ]
    return Table("rotation_angle", notes, [Section([], pd.DataFrame(rows))], numbers)
