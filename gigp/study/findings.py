"""What the comparisons say in short: the headline, the verdicts of each experiment, and how converged its runs are."""

from pathlib import Path

import numpy as np
import pandas as pd

from gigp.study.experiments import Experiment
from gigp.study.formatting import Table
from gigp.study.runs import MISSING, SETTING, in_order, pool_order, read_summaries, rows_of
from gigp.study.statistics import paired
from gigp.study.tables import BUDGET, METRIC, NOT_ASKED, number

PLAIN = ("gigp", "mean", "sum", "max")
OF_A_RUN = [column for column in SETTING if column not in METRIC]


def headline_table(records: pd.DataFrame, results: pd.DataFrame, experiments: dict[str, Experiment]) -> Table:
    """The targets that experiments name for the README: GIGP, mean, sum, and the control that does best."""
    rows = []
    for experiment in (e for e in experiments.values() if e.headline):
        mine = results[(results["experiment"] == experiment.name) & results["target"].isin(experiment.headline)]
        for setting, cells in mine.groupby(SETTING, sort=False):
            row = dict(zip(SETTING, setting, strict=True))
            text = cells.set_index("pool")["text"]
            controls = cells[~cells["pool"].isin(PLAIN) & ~cells["pool"].str.contains(",") & (cells["seeds"] > 0)]
            best = controls.loc[controls["mean"].idxmin(), "pool"] if len(controls) else None
            same = records[(records[SETTING] == list(setting)).all(axis=1)]
            rows.append({
                "data set": row["data set"], "backbone": row["backbone"], "protocol": row["protocol"],
                BUDGET: row["train"], "target": row["target"], "unit": row["unit"],
                **{pool: text.get(pool, NOT_ASKED) for pool in PLAIN[:3]},
                "best control": f"{best}: {text[best]}" if best else MISSING if len(text) > 4 else NOT_ASKED,
                "GIGP minus mean, %": percent(same, "mean"),
                "minus best control, %": percent(same, best) if best else NOT_ASKED,
            })  # fmt: skip
    shown = pd.DataFrame(rows)
    order = {target: i for e in experiments.values() for i, target in enumerate(e.headline)}
    if len(shown):
        shown = shown.sort_values("target", key=lambda s: s.map(order), kind="stable").sort_values(
            "data set", kind="stable", key=lambda s: s.map(list(dict.fromkeys(shown["data set"])).index)
        )
    return Table("headline", [], shown)


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
    """Experiment and budget, and what else differs within an experiment; the rest stands in its own table."""
    known = numbers[OF_A_RUN].replace(MISSING, np.nan)
    most = known.groupby("experiment").nunique().max()
    return [c for c in OF_A_RUN if c in ("experiment", "train") or most[c] > 1]


def verdict_table(comparisons: pd.DataFrame) -> Table:
    """For every experiment and other pool, on how many targets GIGP is lower, the same, or higher."""
    plain = comparisons[comparisons["ours"] == "gigp"]
    others = pool_order(plain["minus"])
    varying = varying_within(plain)
    rows = []
    for setting, group in plain.groupby(varying, sort=False):
        row = dict(zip(varying, setting, strict=True))
        for other in others:
            verdicts = group.loc[group["minus"] == other, "verdict"].value_counts()
            parts = [f"{verdicts[v]} {v}" for v in ("lower", "same", "higher", "open", "missing") if v in verdicts]
            row[f"against {other}"] = ", ".join(parts) or NOT_ASKED
        rows.append(row)
    note = ("Number of targets on which the error of GIGP is lower or higher than that of another pool, by the 95% interval "
            "of the paired difference; `same`: the interval holds 0; `open`: one pair. One in twenty "
            "intervals misses the truth by chance, and targets of one model are not independent.")  # fmt: skip
    return Table("verdicts", [note], pd.DataFrame(rows).rename(columns={"train": BUDGET}))


def convergence_table(runs: Path, experiments: dict[str, Experiment]) -> Table:
    """How much the validation loss still fell at the end, and when it was lowest; mean over the seeds."""
    rows = []
    for folder, record in read_summaries(runs).items():
        row = next(iter(rows_of(record, experiments)))
        loss = pd.read_csv(folder / "metrics.csv", usecols=["val/loss"])["val/loss"].to_numpy()
        before = loss[-1 - max(1, len(loss) // 5)] if len(loss) > 1 else loss[-1]
        rows.append({key: row[key] for key in (*OF_A_RUN, "pool", "seed")} | {
            "best epoch": (record["best_epoch"] + 1) / record["epochs"], "change": 100 * (loss[-1] / before - 1),
        })  # fmt: skip
    numbers = pd.DataFrame(rows, columns=[*OF_A_RUN, "pool", "seed", "best epoch", "change"])
    varying = varying_within(numbers)
    shown = []
    for values, group in numbers.groupby([*varying, "pool"], sort=False):
        shown.append({**dict(zip([*varying, "pool"], values, strict=True)), "seeds": len(group),
                      "best epoch, % of all": number(100 * group["best epoch"].mean(), ".0f"),
                      "validation loss over the last fifth, %": number(group["change"].mean(), "+.1f")})  # fmt: skip
    frame = pd.DataFrame(shown)
    if len(frame):
        pools = pool_order(frame["pool"])
        frame = frame.sort_values(["experiment", "pool"], kind="stable",
                                  key=lambda s: s.map(pools.index) if s.name == "pool" else s)  # fmt: skip
    note = ("How converged the runs are: change of the validation loss over the last fifth of the epochs, and the epoch "
            "with the lowest one. The learning rate falls to 0, so a flat end alone does not prove that more epochs "
            "would not help; rows that differ in budget alone do.")  # fmt: skip
    return Table("convergence", [note], frame.rename(columns={"train": BUDGET}))
