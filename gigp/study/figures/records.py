"""Figures of what records hold: learning curves, effects, cost, and error by angle."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator

from gigp.study.figures.style import PANELS, grid, plt, save, style_of
from gigp.study.findings import OF_A_RUN, alone, relative_differences, varying_within
from gigp.study.runs import pool_order
from gigp.study.statistics import spread
from gigp.study.tables import comparisons


def title_of(keys: list[str], values: tuple) -> str:
    """What sets a panel apart."""
    return ", ".join(str(value) for key, value in zip(keys, values, strict=True) if value)


def plain_runs(records: pd.DataFrame) -> pd.DataFrame:
    """Runs of pools without variants; `alone` is the target of those that have but one."""
    return alone(records.dropna(subset="test")).loc[lambda runs: ~runs["pool"].str.contains(",")]


def draw_curves(records: pd.DataFrame, runs: Path, path: Path) -> bool:
    """Validation loss over the epochs by pool: mean over the seeds, and the band that they span.

    Returns:
        Whether there was anything to draw: a setting with several pools.
    """
    found = plain_runs(records).drop_duplicates(["name", "seed"])
    keys = [*varying_within(found), "alone"] if len(found) else []
    panels = (
        [(v, g) for v, g in found.groupby(keys, sort=False) if g["pool"].nunique() > 1]
        if keys
        else []
    )
    if not panels:
        return False
    fig, axes = grid(min(len(panels), PANELS))
    for ax, (values, group) in zip(axes, panels, strict=False):
        for pool in pool_order(group["pool"]):
            color, line, _ = style_of(pool)
            mine = group[group["pool"] == pool]
            files = [
                runs / name / f"seed{seed}" / "metrics.csv"
                for name, seed in mine[["name", "seed"]].to_numpy()
            ]
            curves = [pd.read_csv(file).set_index("epoch")["val/loss"] for file in files]
            every = pd.concat(curves, axis=1)
            mean = every.mean(axis=1)
            ax.fill_between(
                mean.index + 1,
                every.min(axis=1),
                every.max(axis=1),
                color=color,
                alpha=0.15,
                linewidth=0,
            )
            ax.plot(
                mean.index + 1, mean, color=color, linestyle=line, label=f"{pool} ({len(curves)})"
            )
        ax.set(title=title_of(keys, values), xlabel="epoch", ylabel="validation loss", yscale="log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.minorticks_off()
        ax.legend()
    save(fig, path)
    return True


def draw_effects(records: pd.DataFrame, path: Path) -> bool:
    """GIGP and its variants against other pools: mean difference over all targets in percent, with
    95% intervals.

    Returns:
        Whether there was anything to draw: two pools with a common seed.
    """
    pairs = comparisons(records)
    found = relative_differences(pairs, records)
    if not found:
        return False
    rows = pd.DataFrame(
        [
            dict(zip([*OF_A_RUN, "ours", "minus"], key, strict=True)) | {"test": test}
            for key, test in found.items()
        ]
    )
    labels, y, place = [], [], 0.0
    height = 1.2 + 0.19 * (len(rows) + 1.5 * rows["experiment"].nunique())
    fig, ax = plt.subplots(figsize=(7, max(2.0, height)), layout="constrained")
    fig.get_layout_engine().set(w_pad=0.15)  # inches, for viewers whose letters are wider
    for experiment, group in rows.groupby("experiment", sort=False):
        ax.text(
            0.0,
            place,
            str(experiment),
            transform=ax.get_yaxis_transform(),
            fontsize=7,
            weight="bold",
            va="center",
        )
        place += 1
        keys = [key for key in OF_A_RUN if group[key].nunique() > 1]
        for row in group.to_dict("records"):
            test, color = row["test"], style_of(row["minus"])[0]
            if test.num > 1:
                ax.plot([test.low, test.high], [place, place], color=color, linewidth=1)
            ax.plot(test.difference, place, style_of(row["minus"])[2], color=color, markersize=4)
            ours = row["ours"].removeprefix("gigp, ")
            setting = title_of(keys, tuple(row[key] for key in keys))
            labels.append(f"{ours} minus {row['minus']}" + (f" ({setting})" if setting else ""))
            y.append(place)
            place += 1
        place += 0.5
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_yticks(y, labels, fontsize=6)
    ax.invert_yaxis()
    ax.set_xlabel("difference of the error, % (below 0: the first is better)")
    save(fig, path)
    return True


def draw_cost(records: pd.DataFrame, path: Path) -> bool:
    """Error against cost: every pool's error over that of mean pooling, mean over the targets, and
    minutes of a run.

    Returns:
        Whether there was anything to draw: a setting with several pools, mean pooling among them.
    """
    found = plain_runs(records).assign(
        cost=lambda runs: runs["cpu minutes"].fillna(runs["minutes"])
    )
    keys = [*varying_within(found), "alone"] if len(found) else []
    panels = (
        [
            (v, g)
            for v, g in found.groupby(keys, sort=False)
            if g["pool"].nunique() > 1 and "mean" in set(g["pool"])
        ]
        if keys
        else []
    )
    if not panels:
        return False
    fig, axes = grid(min(len(panels), PANELS))
    for ax, (values, group) in zip(axes, panels, strict=False):
        base = group[group["pool"] == "mean"].groupby("target")["test"].mean()
        for pool in pool_order(group["pool"]):
            color, _, marker = style_of(pool)
            mine = group[group["pool"] == pool]
            ratio = mine["test"] / mine["target"].map(base)
            by_seed = spread(ratio.groupby(mine["seed"]).mean())
            error = 0 if np.isnan(by_seed.std) else by_seed.std
            ax.errorbar(
                mine["cost"].mean(),
                by_seed.mean,
                error,
                color=color,
                marker=marker,
                markersize=5,
                linestyle="",
                linewidth=0.8,
                label=f"{pool} ({by_seed.num})",
            )
        ax.axhline(1, color="0.8", linewidth=0.6, zorder=0)
        ax.set(
            title=title_of(keys, values),
            xlabel="minutes of a run",
            ylabel="error / error of mean pooling",
        )
        ax.legend()
    save(fig, path)
    return True


def draw_angles(numbers: pd.DataFrame, path: Path) -> None:
    """Error by the angle that test digits are turned by: mean over runs, and their standard
    deviation.
    """
    settings = list(numbers.groupby(["group", "augmented"], sort=False))
    fig, axes = grid(min(len(settings), PANELS))
    for ax, ((group, augmented), mine) in zip(axes, settings, strict=False):
        for pool in pool_order(mine["pool"]):
            color, line, marker = style_of(pool)
            by_angle = mine[mine["pool"] == pool].groupby("angle")["error"]
            label = f"{pool} ({mine.loc[mine['pool'] == pool, 'run'].nunique()})"
            ax.errorbar(
                by_angle.mean().index,
                by_angle.mean(),
                by_angle.std().fillna(0),
                color=color,
                linestyle=line,
                marker=marker,
                markersize=3,
                linewidth=0.9,
                label=label,
            )
        ax.set(
            title=f"{group}, {'' if augmented else 'not '}augmented",
            xlabel="angle (degrees)",
            ylabel="error (%)",
        )
        ax.set_xticks(range(0, 361, 90))
        ax.legend()
    save(fig, path)
