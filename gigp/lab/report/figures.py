"""Drawings of a report: learning curves, predicted against true, what the pool has learned.

Each is the text of an SVG whose colors are those of the page, light or dark.
"""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

# what stands for a color of the page while Matplotlib draws, and that color without a page
COLORS = {
    "ink": ("#010203", "#1d2329"),
    "soft": ("#010204", "#5f6b76"),
    "line": ("#010205", "#dde2e6"),
    "accent": ("#010206", "#0b7a75"),
    "bar": ("#010207", "#b4bec7"),
}
INK, SOFT, LINE, ACCENT, BAR = (drawn for drawn, _ in COLORS.values())
DOTS = (34, 158, 150)  # of densities, on light and dark pages alike
LEFT = 0.62  # inches beside an axis, for its numbers and its name
MINUS = " \N{MINUS SIGN} "
BINS = 90  # of a density along each side
STYLE: Any = {
    "text.parse_math": False,  # a name may have dollar signs
    "svg.fonttype": "none",
    "svg.hashsalt": "gigp",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "legend.labelcolor": SOFT,
}
LINES = ((ACCENT, "-"), (INK, "--"), (SOFT, ":"), (BAR, "-"), (INK, "-."))  # of several runs
Curve = Mapping[str, Sequence[float]]


def draw_curves(curves: Mapping[str, Curve], column: str, unit: str, baseline: float | None) -> str:
    """A column of metrics.csv by epoch, one line for each run; the loss of training with that of
    validation.

    Args:
        curves: columns by run.
        column: `val/loss`, or the metric of a target.
        unit: of the column.
        baseline: error of a fit by least squares, where there is one.
    """
    with rc_context(STYLE):
        fig, (ax,) = _panels(1, 3.3, 2.1)
        for (name, curve), (color, style) in zip(curves.items(), _styles(len(curves)), strict=True):
            dot = "." if len(curve[column]) == 1 else ""
            ax.plot(
                curve["epoch"], curve[column], style, marker=dot, color=color, lw=1.4, label=name
            )
            if column == "val/loss" and len(curves) == 1 and "train/loss" in curve:
                ax.lines[0].set_label("validation")
                ax.plot(curve["epoch"], curve["train/loss"], color=BAR, lw=1.4, label="training")
        values = [x for curve in curves.values() for x in curve[column]]
        if baseline is not None and baseline < 2 * max(values):
            ax.axhline(baseline, color=SOFT, lw=0.8, ls=(0, (4, 3)), label="least squares")
        elif baseline is not None:  # the axis would show little else
            said, at = f"least squares: {baseline:.4g} ↑", (0.99, 0.93)
            ax.annotate(said, at, xycoords="axes fraction", ha="right", fontsize=7, color=SOFT)
        if min(values) > 0:
            ax.set_yscale("log")
        ax.set_title(f"{column.removeprefix('val/')}{f', {unit}' if unit else ''}", loc="left")
        ax.set_xlabel("epoch")
        ax.minorticks_off()
        _round_ticks(ax)
        if len(ax.lines) > 1:
            ax.legend()
        return _text(fig)


def draw_parity(
    name: str, unit: str, truth: np.ndarray, predicted: Mapping[str, np.ndarray]
) -> str:
    """Predicted against true, one panel for each way to predict, all with the same axes.

    Args:
        name, unit: of the target.
        truth: (n,).
        predicted: predictions, (n,), by what made them.
    """
    low, high = np.quantile(truth, [0.001, 0.999])
    margin = 0.06 * (high - low) or 1.0
    bounds = (low - margin, high + margin)
    with rc_context(STYLE):
        fig, axes = _panels(len(predicted), 1.9, 2.15)
        for ax, (by, values) in zip(axes, predicted.items(), strict=True):
            _density(ax, truth, values, bounds)
            error = np.abs(values - truth).mean()
            ax.set_title(f"{by}: {error:.4g}", loc="left")
            ax.set_xlabel(f"true {name}{f', {unit}' if unit else ''}".replace(" - ", MINUS))
        axes[0].set_ylabel("predicted")
        for ax in axes[1:]:
            ax.set_yticklabels([])
        return _text(fig)


def _density(ax: Axes, x: np.ndarray, y: np.ndarray, bounds: tuple[float, float]) -> None:
    """How many points lie where, darker for more; those outside at the border."""
    x, y = x.clip(*bounds), y.clip(*bounds)
    counts, _, _ = np.histogram2d(x, y, bins=BINS, range=[bounds, bounds])
    strength = np.log1p(counts) / max(np.log1p(counts).max(), 1)
    image = np.zeros((BINS, BINS, 4), np.uint8)
    image[..., :3] = DOTS
    image[..., 3] = np.where(counts > 0, 70 + 185 * strength, 0)
    ax.plot(bounds, bounds, color=SOFT, lw=0.7)
    extent = (*bounds, *bounds)
    ax.imshow(
        image.transpose(1, 0, 2), origin="lower", extent=extent, interpolation="none", zorder=2
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(lambda value, _: short(value))


def draw_orbits(learned: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Weight and response of every orbit by its center, one line for each run."""
    with rc_context(STYLE):
        columns = ("weight", "response")
        fig, axes = _panels(2, 3.3, 2.1)
        for ax, column in zip(axes, columns, strict=True):
            for (name, pool), (color, style) in zip(
                learned.items(), _styles(len(learned)), strict=True
            ):
                marker = "" if len(learned) > 1 else "."
                ax.plot(
                    pool["center"],
                    pool[column],
                    style,
                    marker=marker,
                    color=color,
                    lw=1.2,
                    label=name,
                )
            ax.axhline(1, color=LINE, lw=0.8, zorder=0)
            ax.set_title(f"{column} of an orbit", loc="left")
            ax.set_xlabel("center of the orbit")
        if len(learned) > 1:
            axes[0].legend()
        return _text(fig)


def short(value: float) -> str:
    """A number of an axis: 0.5, 250, 40k."""
    text = f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
    return text.replace("-", MINUS.strip())


def standalone(svg: str) -> str:
    """A drawing as a file of its own, with the colors of a light page."""
    for name, (_, color) in COLORS.items():
        svg = svg.replace(f"var(--{name})", color)
    return svg


def _styles(num: int) -> list[tuple[str, Any]]:
    """Color and line of so many runs; they repeat."""
    return [LINES[i % len(LINES)] for i in range(num)]


def _panels(num: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, each so many inches wide and high. Margins are fixed:
    finding them takes as long as drawing.
    """
    fig = Figure(figsize=(width * num + LEFT, height))
    left, right = LEFT / fig.get_figwidth(), 1 - 0.12 / fig.get_figwidth()
    fig.subplots_adjust(left=left, right=right, bottom=0.42 / height, top=1 - 0.26 / height)
    fig.subplots_adjust(wspace=0.14 if num > 1 else 0)
    return fig, list(fig.subplots(1, num, squeeze=False)[0])


def _round_ticks(ax: Axes) -> None:
    """A few round numbers on an axis, also on a logarithmic one that spans less than a decade."""
    log = ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    if log and high / low > 30:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 3) if high / low < 1000 else (1,)))
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(lambda value, _: short(value))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _text(fig: Figure) -> str:
    """The SVG of a figure, without its header and its size, so that it fills what holds it."""
    text = StringIO()
    fig.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    for name, (drawn, _) in COLORS.items():
        svg = svg.replace(drawn, f"var(--{name})")
    return svg
