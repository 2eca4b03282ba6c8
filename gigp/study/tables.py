"""For every table two: results by pool, and GIGP against every other pool, paired over seeds.

Every experiment is a section. With few pools they are the columns, and a row is a target; with many
they are the rows, and the targets the columns. What is the same in all rows of a section is said
once, above.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from gigp.study.experiments import Experiment
from gigp.study.formatting import Section, Table
from gigp.study.published import published_figure, published_note
from gigp.study.runs import MISSING, SETTING, pool_order, target_rank
from gigp.study.statistics import paired, spread

WIDE = 8  # so many pools fit beside each other
NOT_ASKED = "—"  # no experiment asks for it
METRIC = ["target", "unit", "kind"]
BUDGET = "train size x epochs"
LOWER = "Test results, lower is better: mean ± standard deviation (number of seeds)."
MINUTES = "Minutes are of CPU time for one run; by the clock where a record has no CPU time."
INTERVAL = (
    "GIGP minus another pool over the seeds that both have: mean difference [95% t interval], and "
    "p of the exact sign-flip permutation test, at least 2/2^n for n pairs. Negative: GIGP has the "
    "lower error. Nothing is corrected for the number of comparisons."
)


def results(records: pd.DataFrame, published: dict[str, Any]) -> pd.DataFrame:
    """Every cell in numbers: mean and standard deviation over the seeds, what a run cost, and what
    is known beside.
    """
    rows, records = [], records.assign(cost=records["cpu minutes"].fillna(records["minutes"]))
    for setting, group in records.groupby(SETTING, sort=False):
        row = dict(zip(SETTING, setting, strict=True))
        pools, tests, costs = (group[column].to_numpy() for column in ("pool", "test", "cost"))
        limit = group["limit"].max()
        lieconv = "backbone=" not in row["variant"]
        figure = published_figure(published, row["data set"], row["backbone"], row["target"])
        row["published"] = figure if lieconv else ""
        for pool in pool_order(pools):
            own = pools == pool
            cell = spread(tests[own])
            known = costs[own][~np.isnan(costs[own])]
            rows.append(
                {
                    **row,
                    "pool": pool,
                    "text": str(cell),
                    "mean": cell.mean,
                    "std": cell.std,
                    "seeds": cell.num,
                    "expected": cell.expected,
                    "minutes": known.mean() if len(known) else np.nan,
                    "limit": limit,
                }
            )
    return pd.DataFrame(
        rows,
        columns=[
            *SETTING,
            "pool",
            "text",
            "mean",
            "std",
            "seeds",
            "expected",
            "minutes",
            "limit",
            "published",
        ],
    )


def comparisons(records: pd.DataFrame) -> pd.DataFrame:
    """GIGP, and each of its variants, against every other pool over the seeds that both have, in
    numbers.
    """
    rows = []
    for setting, group in records.groupby(SETTING, sort=False):
        by_pool = group.pivot(index="seed", columns="pool", values="test")
        order = pool_order(by_pool.columns)
        ours = [pool for pool in order if is_gigp(pool)]
        # gigp, or its first variant
        others = [pool for pool in order if not is_gigp(pool) or pool == ours[0]]
        for one, other in ((one, other) for one in ours for other in others if one != other):
            test = paired(by_pool[one].to_numpy(), by_pool[other].to_numpy())
            rows.append(
                {
                    **dict(zip(SETTING, setting, strict=True)),
                    "ours": one,
                    "minus": other,
                    "text": str(test),
                    "difference": test.difference,
                    "percent": test.percent,
                    "low": test.low,
                    "high": test.high,
                    "p": test.p,
                    "pairs": test.num,
                    "verdict": test.verdict,
                }
            )
    return pd.DataFrame(
        rows,
        columns=[
            *SETTING,
            "ours",
            "minus",
            "text",
            "difference",
            "percent",
            "low",
            "high",
            "p",
            "pairs",
            "verdict",
        ],
    )


def is_gigp(pool: str) -> bool:
    """Whether a pool is GIGP or a variant of it."""
    return pool.partition(",")[0] == "gigp"


def results_table(
    name: str, numbers: pd.DataFrame, experiments: dict[str, Experiment], published: dict[str, Any]
) -> Table:
    """Results by pool, with what they cost, what is known of their limit, and what was
    published.
    """
    notes, sections = [f"{LOWER} {MINUTES}"], []
    if numbers["published"].any():
        notes.append(published_note(published, set(numbers["data set"])))
    for experiment, cells in numbers.groupby("experiment", sort=False):
        beside: dict[str, Callable[[pd.DataFrame], str]] = {}
        if cells["limit"].notna().any():
            beside["limit of mean and sum"] = lambda cells: number(cells["limit"].max(), ".4g")
        if cells["published"].any():
            beside["published mean"] = lambda cells: cells["published"].iloc[0] or NOT_ASKED
        beside["minutes"] = lambda cells: number(cells["minutes"].mean(), ".2g")
        sections.append(section(experiment, experiments, *lay_out(cells, "pool", beside)))
    return Table(name, notes, sections, numbers)


def paired_table(name: str, numbers: pd.DataFrame, experiments: dict[str, Experiment]) -> Table:
    """GIGP against every other pool."""
    sections = []
    for experiment, pairs in numbers.groupby("experiment", sort=False):
        plain = (pairs["ours"] == "gigp").all()
        labels = "minus " + pairs["minus"] if plain else pairs["ours"] + " minus " + pairs["minus"]
        laid = lay_out(pairs.assign(pair=labels), "pair", {})
        sections.append(section(experiment, experiments, *laid))
    return Table(f"{name}_paired", [INTERVAL], sections, numbers)


def section(
    name: str, experiments: dict[str, Experiment], shown: pd.DataFrame, same: str
) -> Section:
    """The part of a table that one experiment makes."""
    title = experiments[name].title if name in experiments else ""
    return Section([f"**{name}**: {title}" if title else f"**{name}**", same], shown)


def lay_out(
    numbers: pd.DataFrame, label: str, beside: dict[str, Callable[[pd.DataFrame], str]]
) -> tuple[pd.DataFrame, str]:
    """Cells as a table to read, and what is the same in all its rows.

    Args:
        numbers: a row for each cell with its setting and `text`.
        label: column that tells cells of a setting apart.
        beside: further columns, from the cells of a row.
    """
    setting = [c for c in SETTING if c not in ("experiment", *METRIC)]
    varying = [c for c in setting if len(set(numbers[c]) - {MISSING}) > 1]
    labels = pool_order(numbers[label]) if label == "pool" else list(dict.fromkeys(numbers[label]))
    wide = len(labels) > WIDE
    if wide:  # targets beside each other
        numbers = numbers.assign(metric=numbers["target"] + ", " + numbers["unit"])
        columns = sorted(
            dict.fromkeys(numbers["metric"]), key=lambda m: target_rank(m.split(",")[0])
        )
        across, index = "metric", [label]
        numbers = numbers.sort_values(label, key=lambda s: s.map(labels.index), kind="stable")
        beside = {key: make for key, make in beside.items() if key == "minutes"}
    else:
        columns, across, index = labels, label, METRIC
    rows = []
    for values, cells in numbers.groupby([*varying, *index], sort=False):
        texts = dict(zip(cells[across], cells["text"], strict=True))
        row = dict(zip([*varying, *index], values, strict=True)) | {
            c: texts.get(c, NOT_ASKED) for c in columns
        }
        rows.append(row | {key: make(cells) for key, make in beside.items()})
    constant = {
        BUDGET if c == "train" else c: set(numbers[c]) - {MISSING, ""}
        for c in setting
        if c not in varying
    }
    same = "; ".join(f"{c}: {values.pop()}" for c, values in constant.items() if values)
    return pd.DataFrame(rows).rename(columns={"train": BUDGET}), f"{same}." if same else ""


def number(value: float, form: str) -> str:
    """A number as text, or that there is none."""
    return NOT_ASKED if np.isnan(value) else format(value, form)
