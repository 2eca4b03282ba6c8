"""For every table two: results by pool, and GIGP against every other pool, paired over seeds.

With few pools they are the columns, and a row is a target; with many (ablations) they are the rows, and the targets the
columns. What is the same in all rows is said once, above.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from gigp.study.formatting import Table
from gigp.study.published import published_figure, published_note
from gigp.study.runs import MISSING, SETTING, in_order, pool_order
from gigp.study.statistics import paired, spread

WIDE = 8           # so many pools fit beside each other
NOT_ASKED = "—"    # no experiment asks for it
METRIC = ["target", "unit", "kind"]
BUDGET = "train size x epochs"
LOWER = "Test results, lower is better: mean ± standard deviation (number of seeds)."
MINUTES = "Minutes are of CPU time for one run; by the clock where a record has no CPU time."
INTERVAL = ("GIGP minus another pool over the seeds that both have: mean difference [95% t interval], and p of the exact "
            "sign-flip permutation test, which with n pairs is at least 2/2^n. Negative: GIGP has the lower error. "
            "Nothing is corrected for the number of comparisons.")  # fmt: skip


def results(records: pd.DataFrame, published: dict[str, Any]) -> pd.DataFrame:
    """Every cell in numbers: mean and standard deviation over the seeds, what a run cost, and what is known beside."""
    rows = []
    for setting, group in records.groupby(SETTING, sort=False):
        row = dict(zip(SETTING, setting, strict=True))
        row["published"] = published_figure(published, row["data set"], row["backbone"], row["target"])
        for pool in pool_order(group["pool"]):
            runs = group[group["pool"] == pool]
            cell = spread(runs["test"])
            rows.append({**row, "pool": pool, "text": str(cell), "mean": cell.mean, "std": cell.std, "seeds": cell.num,
                         "expected": cell.expected, "minutes": runs["cpu minutes"].fillna(runs["minutes"]).mean(),
                         "limit": group["limit"].max()})  # fmt: skip
    return pd.DataFrame(rows, columns=[*SETTING, "pool", "text", "mean", "std", "seeds", "expected", "minutes", "limit",
                                       "published"])  # fmt: skip


def comparisons(records: pd.DataFrame) -> pd.DataFrame:
    """GIGP, and each of its variants, against every other pool over the seeds that both have, in numbers."""
    rows = []
    for setting, group in records.groupby(SETTING, sort=False):
        by_pool = group.pivot(index="seed", columns="pool", values="test")
        order = pool_order(by_pool.columns)
        ours = [pool for pool in order if is_gigp(pool)]
        others = [pool for pool in order if not is_gigp(pool) or pool == "gigp"]
        for one, other in ((one, other) for one in ours for other in others if one != other):
            test = paired(by_pool[one].to_numpy(), by_pool[other].to_numpy())
            rows.append({**dict(zip(SETTING, setting, strict=True)), "ours": one, "minus": other, "text": str(test),
                         "difference": test.difference, "percent": test.percent, "low": test.low, "high": test.high,
                         "p": test.p, "pairs": test.num, "verdict": test.verdict})  # fmt: skip
    return pd.DataFrame(rows, columns=[*SETTING, "ours", "minus", "text", "difference", "percent", "low", "high", "p",
                                       "pairs", "verdict"])  # fmt: skip


def is_gigp(pool: str) -> bool:
    """Whether a pool is GIGP or a variant of it."""
    return pool.partition(",")[0] == "gigp"


def results_table(name: str, title: str, numbers: pd.DataFrame, published: dict[str, Any]) -> Table:
    """Results by pool, with what they cost, what is known of their limit, and what was published."""
    beside: dict[str, Callable[[pd.DataFrame], str]] = {}
    if numbers["limit"].notna().any():
        beside["limit of mean and sum"] = lambda cells: number(cells["limit"].max(), ".4g")
    if numbers["published"].any():
        beside["published mean"] = lambda cells: cells["published"].iloc[0] or NOT_ASKED
    shown, same = lay_out(numbers, "pool", beside | {"minutes": lambda cells: number(cells["minutes"].mean(), ".2g")})
    notes = [title, f"{LOWER} {MINUTES}", same]
    if "published mean" in shown:
        notes.append(published_note(published, set(numbers["data set"])))
    return Table(name, [note for note in notes if note], shown, numbers)


def paired_table(name: str, numbers: pd.DataFrame) -> Table:
    """GIGP against every other pool."""
    labels = numbers["minus"] if (numbers["ours"] == "gigp").all() else numbers["ours"] + " minus " + numbers["minus"]
    shown, same = lay_out(numbers.assign(against=labels), "against", {}, prefix="minus ")
    return Table(f"{name}_paired", [INTERVAL, same] if same else [INTERVAL], shown, numbers)


def lay_out(
    numbers: pd.DataFrame, label: str, beside: dict[str, Callable[[pd.DataFrame], str]], prefix: str = ""
) -> tuple[pd.DataFrame, str]:
    """Cells as a table to read, and what is the same in all its rows.

    Args:
        numbers: a row for each cell with its setting and `text`.
        label: column that tells cells of a setting apart.
        beside: further columns, from the cells of a row.
        prefix: of the columns that are made of labels.
    """
    setting = [c for c in SETTING if c not in METRIC]
    varying = [c for c in setting if len(set(numbers[c]) - {MISSING}) > 1]
    labels = list(dict.fromkeys(numbers[label]))
    if label == "pool":
        labels = pool_order(labels)
    wide = len(labels) > WIDE
    if wide:  # targets beside each other
        numbers = numbers.assign(metric=numbers["target"] + ", " + numbers["unit"])
        metrics = sorted(dict.fromkeys(numbers["metric"]), key=lambda m: in_order(m.split(",")[0]))
        columns, across, index = metrics, "metric", [label]
        beside = {key: make for key, make in beside.items() if key == "minutes"}
    else:
        columns, across, index = labels, label, METRIC
    rows = []
    for values, cells in numbers.groupby([*varying, *index], sort=False):
        texts = dict(zip(cells[across], cells["text"], strict=True))
        row = dict(zip([*varying, *index], values, strict=True))
        row |= {(column if wide else prefix + column): texts.get(column, NOT_ASKED) for column in columns}
        rows.append(row | {key: make(cells) for key, make in beside.items()})
    shown = pd.DataFrame(rows).rename(columns={"train": BUDGET})
    if wide:  # cells come target by target
        shown = shown.sort_values(label, key=lambda s: s.map(labels.index), kind="stable") if not varying else shown
    constant = {BUDGET if c == "train" else c: set(numbers[c]) - {MISSING, ""} for c in setting if c not in varying}
    constant = {c: values.pop() for c, values in constant.items() if values}
    return shown, "; ".join(f"{c}: {value}" for c, value in constant.items()) + "." if len(numbers) else ""


def number(value: float, form: str) -> str:
    """A number as text, or that there is none."""
    return NOT_ASKED if np.isnan(value) else format(value, form)
