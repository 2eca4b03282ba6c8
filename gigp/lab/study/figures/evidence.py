"""Figures of the records: differences of pools, learning curves, number of orbits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker

from gigp.lab.runs.record import Record
from gigp.lab.study.figures.style import find_style, grid, plt, save
from gigp.lab.study.tables.published import Published, published_figure
from gigp.lab.study.tables.results import TableRow

FOREST = {  # tables by the title of their rows
    "qm9_e3_outputs": "E(3), outputs (P)",
    "qm9_e3_features": "E(3), features (F)",
    "qm9_e3_scratch": "E(3), scratch (S)",
    "qm9_outputs": "T(3), outputs (P)",
    "qm9_features": "T(3), features (F)",
    "qm9_scratch": "T(3), scratch (S)",
}
AGAINST = ("mean", "one_orbit", "mean_mlp", "point_mlp", "radial_deepsets", "gigp_shuffled")
CURVES = ("gigp", "mean", "one_orbit", "mean_mlp", "point_mlp", "radial_deepsets")
PANELS = ("homo", "mu", "alpha", "U0", "r2")


def draw_forest(
    differences: Mapping[str, pd.DataFrame],
    path: Path,
    pool: str = "gigp",
    against: Sequence[str] | None = AGAINST,
) -> bool:
    """A pool against others in percent of their error, with 95% intervals where there are several
    seeds; one panel for each target, one group for each table.

    Args:
        differences: numbers of the paired differences by table.
        path: file of the figure.
        pool: its row.
        against: rows that it is compared with; None: all.

    Returns:
        Whether there was anything to draw.
    """
    rows = [
        numbers[
            (numbers["pool"] == pool)
            & (numbers["minus"].isin(numbers["minus"] if against is None else against))
        ].assign(table=title)
        for name, title in FOREST.items()
        if len(numbers := differences.get(name, pd.DataFrame()))
    ]
    drawn = pd.concat(rows) if rows else pd.DataFrame(columns=["target"])
    if not len(drawn):
        return False
    targets = [target for target in PANELS if target in set(drawn["target"])]
    keys = list(dict.fromkeys(zip(drawn["table"], drawn["minus"], strict=True)))
    titles = list(dict.fromkeys(title for title, _ in keys))
    # one line between the groups, for their titles
    places = {key: i + 1.2 * titles.index(key[0]) for i, key in enumerate(keys)}
    height = 1.1 + 0.18 * (len(keys) + len(titles))
    fig, axes = plt.subplots(
        1, len(targets), figsize=(1.7 + 1.5 * len(targets), height), sharey=True, squeeze=False
    )
    for ax, target in zip(axes[0], targets, strict=True):
        mine = drawn[drawn["target"] == target].set_index(["table", "minus"])
        for key, place in places.items():
            if key not in mine.index:
                continue
            cell, (color, _, marker) = mine.loc[key], find_style(key[1])
            scale = cell["percent"] / cell["difference"] if cell["difference"] else 0.0
            ax.plot([scale * cell["low"], scale * cell["high"]], [place, place], color=color)
            ax.plot(cell["percent"], place, marker, color=color, markersize=4)
        ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        ax.set_title(f"{target}{' (control)' if target == 'r2' else ''}")
        ax.set_xlabel(f"← {'GIGP' if pool == 'gigp' else pool} better\ndifference, %")
    _name_rows(axes[0][0], places)
    fig.set_layout_engine("constrained")
    save(fig, path)
    return True


def _name_rows(ax: plt.Axes, places: Mapping[tuple[str, str], float]) -> None:
    """Names of the other pools beside the rows of a forest plot, below the titles of their groups.

    Args:
        places: height of every row, by title and other pool.
    """
    ax.set_yticks(list(places.values()), [f"minus {other}" for _, other in places])
    ax.invert_yaxis()
    style: dict[str, Any] = {"fontsize": plt.rcParams["ytick.labelsize"], "fontweight": "bold"}
    style |= {"xytext": (-6, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
    for title in dict.fromkeys(title for title, _ in places):
        top = min(place for key, place in places.items() if key[0] == title)
        ax.annotate(title, (0, top - 0.9), xycoords=("axes fraction", "data"), **style)


def draw_errors(numbers: pd.DataFrame, path: Path, label: str) -> None:
    """Error of every row of a table of results, one of them in color; one panel for each target.

    Args:
        numbers: values of the table, baselines included.
        path: file of the figure.
        label: row in color.
    """
    targets = [t for t in PANELS if t in set(numbers["target"])] or list(numbers["target"].unique())
    rows = list(dict.fromkeys(numbers["pool"]))
    size = (2.6 + 1.5 * len(targets), 0.9 + 0.2 * len(rows))
    fig, axes = plt.subplots(1, len(targets), figsize=size, sharey=True, squeeze=False)
    for ax, target in zip(axes[0], targets, strict=True):
        for row in numbers[numbers["target"] == target].to_dict("records"):
            color = "#d62728" if row["pool"] == label else "k"
            spread = 0.0 if pd.isna(row.get("std")) else row["std"]
            ax.errorbar(
                row["mean"], rows.index(row["pool"]), xerr=spread, fmt="o", color=color, ms=3
            )
        unit = numbers.loc[numbers["target"] == target, "unit"].iloc[0]
        ax.set(title=target, xlabel=f"error, {unit}", xscale="log")
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=4))
        ax.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.tick_params(axis="x", labelrotation=60)
    axes[0][0].set_yticks(range(len(rows)), rows)
    axes[0][0].invert_yaxis()
    fig.set_layout_engine("constrained")
    save(fig, path)


def draw_backbone_curves(
    records: Sequence[Record], published: Published, path: Path, targets: Sequence[str] = PANELS
) -> bool:
    """Validation error of the backbones by epoch, a thin line a seed; dashed, the published figure.

    Returns:
        Whether there was anything to draw.
    """
    shown = [t for t in targets if records and f"val/{t}" in records[0].curve]
    if not shown:
        return False
    fig, axes = grid(len(shown) + 1, 2.6, 2.2)
    for ax, target in zip(axes, shown, strict=False):
        for i, record in enumerate(records):
            curve = record.curve[f"val/{target}"]
            look = {"color": "k", "linewidth": 0.8, "label": None if i else "one seed"}
            ax.plot(np.arange(1, len(curve) + 1), curve, **look)
        figure = published_figure(published, "qm9", records[0].backbone_group, target)
        if figure:
            look = {"linestyle": "--", "linewidth": 0.8, "label": "published: wider, longer"}
            ax.axhline(float(figure), color="0.5", **look)
        _scale_errors(ax, f"{target}, {records[0].metrics[target].unit}")
    _show_legend(axes[0], axes[-1])
    save(fig, path)
    return True


def _scale_errors(ax: plt.Axes, title: str) -> None:
    """Errors by epoch on a logarithmic scale whose ticks are plain numbers."""
    ax.set(title=title, xlabel="epoch", yscale="log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(
        ticker.LogLocator(subs=(1, 2, 5)) if high > 5 * low else ticker.MaxNLocator(5)
    )
    ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())


def _show_legend(of: plt.Axes, ax: plt.Axes) -> None:
    """Put the legend of a panel into an empty one."""
    ax.set_axis_off()
    handles, labels = of.get_legend_handles_labels()
    ax.legend(handles, labels, loc="center", handlelength=3, fontsize=8)


def draw_head_curves(
    entries: Sequence[TableRow],
    path: Path,
    targets: Sequence[str] = PANELS,
    pools: Sequence[str] = CURVES,
) -> bool:
    """Validation error of pools by epoch, mean over the seeds, one panel for each target: was a
    pool still learning when training ended?

    Args:
        entries: rows of a table.
        path: file of the figure.
        targets: panels, where the rows have them.
        pools: labels of the rows that are drawn; all would hide each other.

    Returns:
        Whether there was anything to draw.
    """
    drawn = [entry for entry in entries if entry.label in pools]
    curves: dict[str, dict[str, np.ndarray]] = {}  # by title and label
    for target in targets:
        for entry in drawn:
            records = list(entry.runs.get(target, {}).values())
            seeds = [record.curve.get(f"val/{target}", []) for record in records]
            if len({len(values) for values in seeds}) == 1 and len(seeds[0]) > 1:
                title = f"{target}, {records[0].metrics[target].unit}"
                curves.setdefault(title, {})[entry.label] = np.mean(seeds, axis=0)
    if not curves:
        return False
    fig, axes = grid(len(curves) + 1, 2.8, 2.4)
    for ax, (title, lines) in zip(axes, curves.items(), strict=False):
        for label, values in lines.items():
            color, style, marker = find_style(label)
            look = {"color": color, "linestyle": style, "marker": marker, "markersize": 3}
            ax.plot(np.arange(1, len(values) + 1), values, linewidth=1.1, label=label, **look)
        _scale_errors(ax, title)
    _show_legend(axes[0], axes[-1])
    save(fig, path)
    return True


def draw_orbits_number(numbers: pd.DataFrame, path: Path, target: str = "r2") -> bool:
    """Error by the number of orbits for each divisor, mean and spread over the seeds; one_orbit is
    GIGP with a single one. Dotted, the best fit by least squares.

    Args:
        numbers: values of the table of ablations, baselines included.
        path: file of the figure.
        target: whose error.

    Returns:
        Whether there was anything to draw.
    """
    mine = numbers[numbers["target"] == target]
    points: dict[str, list[tuple[int, float, float]]] = {}
    for row in mine[mine["seeds"] > 0].to_dict("records"):
        pool, *options = row["pool"].split(", ")
        settings = {"orbits": "1" if pool == "one_orbit" else "50", "divisor": "count"}
        settings |= dict(option.split("=", 1) for option in options)
        if pool in ("gigp", "one_orbit") and settings.keys() == {"orbits", "divisor"}:
            point = int(settings["orbits"]), row["mean"], row["std"]
            points.setdefault(settings["divisor"], []).append(point)
    if not any(len(line) > 2 for line in points.values()):
        return False
    fig, (ax,) = grid(1)
    looks = (("--", "s", "#d62728"), ("-", "o", "k"))
    for (divisor, line), (style, marker, color) in zip(sorted(points.items()), looks, strict=False):
        orbits, mean, std = zip(*sorted(line), strict=True)
        look = {"linestyle": style, "marker": marker, "markersize": 4, "color": color}
        ax.errorbar(orbits, mean, np.nan_to_num(std), label=f"GIGP, divisor={divisor}", **look)
    baseline = mine.loc[mine["experiment"] == "baseline", "mean"].min()
    if not np.isnan(baseline):
        ax.axhline(baseline, color="0.5", linestyle=":", label="least squares")
    ticks = sorted({point[0] for line in points.values() for point in line})
    unit = mine["unit"].dropna().iloc[0]
    ax.set(xlabel="number of orbits", ylabel=f"error on {target}, {unit}", xscale="log")
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.set_ylim(bottom=0)
    ax.minorticks_off()
    ax.legend(handlelength=3)
    save(fig, path)
    return True
