"""What comparisons say in short: the headline, verdicts on every table, and how converged the runs
are.
"""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from gigp.study.experiments import Experiment
from gigp.study.formatting import Section, Table
from gigp.study.runs import MISSING, NO_EXPERIMENT, SETTING, pool_order, read_summaries, rows_of
from gigp.study.statistics import Paired, paired
from gigp.study.tables import BUDGET, METRIC, NOT_ASKED, number

PLAIN = ("gigp", "mean", "sum", "max")
OF_A_RUN = [column for column in SETTING if column not in METRIC]


def headline_table(
    records: pd.DataFrame, results: pd.DataFrame, experiments: dict[str, Experiment]
) -> Table:
    """The targets that experiments name for the README: GIGP, mean, sum, and the control that does
    best.
    """
    rows = []
    for experiment in (e for e in experiments.values() if e.headline):
        mine = results[
            (results["experiment"] == experiment.name) & results["target"].isin(experiment.headline)
        ]
        for setting, cells in mine.groupby(SETTING, sort=False):
            row = dict(zip(SETTING, setting, strict=True))
            text = cells.set_index("pool")["text"]
            controls = cells[
                ~cells["pool"].isin(PLAIN) & ~cells["pool"].str.contains(",") & (cells["seeds"] > 0)
            ]
            best = controls.loc[controls["mean"].idxmin(), "pool"] if len(controls) else None
            same = records[(records[SETTING] == list(setting)).all(axis=1)]
            rows.append(
                {
                    "data set": row["data set"],
                    "backbone": row["backbone"],
                    BUDGET: row["train"],
                    "target": row["target"],
                    "unit": row["unit"],
                    **{pool: text.get(pool, NOT_ASKED) for pool in PLAIN[:3]},
                    "best control": f"{best}: {text[best]}"
                    if best
                    else MISSING
                    if len(text) > 4
                    else NOT_ASKED,
                    "GIGP minus mean, %": percent(same, "mean"),
                    "minus best control, %": percent(same, best) if best else NOT_ASKED,
                }
            )
    shown = pd.DataFrame(rows)
    order = {target: i for e in experiments.values() for i, target in enumerate(e.headline)}
    if len(shown):
        shown = shown.sort_values("target", key=lambda s: s.map(order), kind="stable").sort_values(
            "data set",
            kind="stable",
            key=lambda s: s.map(list(dict.fromkeys(shown["data set"])).index),
        )
    return Table("headline", [], [Section([], shown)])


def percent(records: pd.DataFrame, other: str) -> str:
    """GIGP minus another pool with its 95% interval, in percent of the other."""
    by_pool = records.pivot(index="seed", columns="pool", values="test")
    if not {"gigp", other} <= set(by_pool):
        return NOT_ASKED
    test = paired(by_pool["gigp"].to_numpy(), by_pool[other].to_numpy())
    if test.num < 2:
        return MISSING if not test.num else f"{test.percent:+.1f} (one pair)"
    scale = test.percent / test.difference if test.difference else 0.0
    return f"{test.percent:+.1f} [{scale * test.low:+.1f}, {scale * test.high:+.1f}]"


def varying_within(numbers: pd.DataFrame) -> list[str]:
    """Experiment and budget, and what else differs within an experiment; the rest stands in its own
    table.
    """
    known = numbers[OF_A_RUN].mask(numbers[OF_A_RUN] == MISSING)
    most = known.groupby("experiment").nunique().max()
    return [c for c in OF_A_RUN if c in ("experiment", "train") or most.get(c, 0) > 1]


def alone(records: pd.DataFrame) -> pd.DataFrame:
    """With a column `alone`: the target of runs that have but one, else nothing."""
    single = records.groupby(["name", "seed"])["target"].transform("size") == 1
    return records.assign(alone=records["target"].where(single, ""))


def verdict_table(name: str, comparisons: pd.DataFrame, records: pd.DataFrame) -> Table:
    """For every other pool: the difference over all targets, and on how many of them GIGP is lower
    or higher.
    """
    varying = [*varying_within(comparisons), "ours"]
    others = pool_order(comparisons["minus"])
    mean = relative_differences(comparisons, records)
    rows = []
    for values, group in comparisons.groupby(varying, sort=False):
        row = dict(zip(varying, values, strict=True))
        keys, minus, verdict = (
            group[[*OF_A_RUN, "ours", "minus"]].to_numpy(),
            group["minus"],
            group["verdict"],
        )
        for other in others:
            own = (minus == other).to_numpy()
            verdicts = Counter(verdict[own])
            parts = [
                f"{verdicts[v]} {v}"
                for v in ("lower", "same", "higher", "open", "missing")
                if v in verdicts
            ]
            found = mean.get(tuple(keys[own][0])) if own.any() else None
            percent = [interval_text(found)] if found else []
            row[f"against {other}"] = "; ".join([*percent, ", ".join(parts)]) or NOT_ASKED
        rows.append(row)
    note = (
        "GIGP against another pool: difference in percent of the other's error, the mean over all "
        "targets, with its 95% interval over seeds; and the number of targets with a lower or "
        "higher error, by the 95% interval of the paired difference (`same`: the interval holds 0; "
        "`open`: one pair). Of twenty such intervals one misses the truth by chance, and targets "
        "of one model are not independent."
    )
    return Table(
        f"{name}_verdicts",
        [note],
        [Section([], pd.DataFrame(rows).rename(columns={"train": BUDGET}))],
    )


def interval_text(test: Paired) -> str:
    """A difference in percent with its interval, where there is one."""
    return f"{test.difference:+.1f}%" + (
        f" [{test.low:+.1f}, {test.high:+.1f}]" if test.num > 1 else ""
    )


def relative_differences(comparisons: pd.DataFrame, records: pd.DataFrame) -> dict[tuple, Paired]:
    """Difference of every two pools in percent of the second, the mean over the targets, paired
    over seeds.

    Keys are the columns of `OF_A_RUN` with the two pools; pools without a common seed are left out.
    """
    wide = {
        key: group.pivot_table(index="seed", columns=["pool", "target"], values="test")
        for key, group in records.dropna(subset="test").groupby(OF_A_RUN, sort=False)
    }
    found = {}
    keys = comparisons[[*OF_A_RUN, "ours", "minus"]].drop_duplicates()
    for *run, ours, minus in keys.itertuples(index=False):
        tests = wide.get(tuple(run))
        if tests is None or not {ours, minus} <= set(tests.columns.get_level_values("pool")):
            continue
        relative = 100 * (
            tests[ours] / tests[minus].mean() - tests[minus] / tests[minus].mean()
        ).dropna().mean(axis=1)
        if len(relative):
            found[(*run, ours, minus)] = paired(relative.to_numpy(), np.zeros(len(relative)))
    return found


def convergence_table(runs: Path, experiments: dict[str, Experiment]) -> Table:
    """How much the validation loss still fell at the end, and when it was lowest; mean over the
    seeds.
    """
    rows = []
    for folder, record in read_summaries(runs).items():
        row = next(iter(rows_of(record, experiments)))
        if row["experiment"] == NO_EXPERIMENT:
            continue
        with (folder / "metrics.csv").open() as file:
            loss = [float(line["val/loss"]) for line in csv.DictReader(file)]
        before = loss[-1 - max(1, len(loss) // 5)] if len(loss) > 1 else loss[-1]
        alone = row["target"] if len(record["metrics"]) == 1 else ""
        rows.append(
            {key: row[key] for key in (*OF_A_RUN, "pool", "seed")}
            | {
                "target": alone,
                "best epoch": (record["best_epoch"] + 1) / record["epochs"],
                "change": 100 * (loss[-1] / before - 1),
            }
        )
    numbers = pd.DataFrame(
        rows, columns=[*OF_A_RUN, "target", "pool", "seed", "best epoch", "change"]
    )
    varying = [*varying_within(numbers), "target"]
    shown = []
    for values, group in numbers.groupby([*varying, "pool"], sort=False):
        shown.append(
            {
                **dict(zip([*varying, "pool"], values, strict=True)),
                "seeds": len(group),
                "best epoch, % of all": number(100 * group["best epoch"].mean(), ".0f"),
                "validation loss over the last fifth, %": number(group["change"].mean(), "+.1f"),
            }
        )
    frame = pd.DataFrame(shown)
    if len(frame):
        pools = pool_order(frame["pool"])
        frame = frame.sort_values(
            ["experiment", "pool"],
            kind="stable",
            key=lambda s: s.map(pools.index) if s.name == "pool" else s,
        )
    note = (
        "How converged runs are: change of the validation loss over the last fifth of the epochs, "
        "and the epoch with the lowest one. The learning rate falls to 0, so a flat end alone does "
        "not prove that more epochs would not help; rows that differ in budget alone do."
    )
    return Table("convergence", [note], [Section([], frame.rename(columns={"train": BUDGET}))])
