"""Style of the figures."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from gigp.lab.config.compose import CONFIGS
from gigp.lab.files import write_atomically
from gigp.lab.study.tolerance import TAG

HASHED = re.compile(r"\b([mph]|C[0-9a-f]+_[0-9a-f]+_)([0-9a-f]{10})\b")  # names by matplotlib
DECIMALS = 3  # of coordinates, in points of 1/72 inch
LONG = re.compile(rf"-?\d+\.\d{{{DECIMALS + 1},}}")
PANELS = 6  # of a figure at most
STYLES = {  # of pools: grey or color, line, marker
    "gigp": ("k", "-", "o"),
    "mean": ("0.45", "--", "s"),
    "sum": ("0.7", ":", "v"),
    "max": ("0.7", "-.", "^"),
    "one_orbit": ("#1f77b4", (0, (5, 1)), "D"),
    "mean_mlp": ("#d62728", (0, (3, 1, 1, 1)), "P"),
    "point_mlp": ("#9467bd", (0, (5, 2, 1, 2)), "h"),
    "radial_deepsets": ("#2ca02c", (0, (1, 1)), "X"),
    "gigp_shuffled": ("#8c564b", (0, (2, 2)), "d"),
}
plt.rcParams.update(
    {
        "svg.hashsalt": "gigp",
        "svg.fonttype": "none",
        "legend.frameon": False,
        "legend.fontsize": 7,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


OTHERS = sorted({path.stem for path in (CONFIGS / "pool").glob("*.yaml")} - STYLES.keys())


def find_style(label: str) -> tuple[str, Any, str]:
    """Color, line and marker of a pool, the same for all its variants. Rows that are not a pool of
    the project, as a backbone, look like mean pooling.
    """
    pool = label.partition(",")[0]
    if pool in STYLES or pool not in OTHERS:
        return STYLES.get(pool, STYLES["mean"])
    place = OTHERS.index(pool)
    return f"C{place % 10}", (0, (1 + place, 1)), "<>phH*d8"[place % 8]


def grid(panels: int, width: float = 3.6, height: float = 2.8) -> tuple[Figure, list]:
    """A figure with so many panels, at most three in a row."""
    columns = min(3, panels)
    rows = -(-panels // columns)
    size = (width * columns, height * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat[panels:]:
        ax.set_axis_off()
    return fig, list(axes.flat[:panels])


def save(fig: Figure, path: Path) -> None:
    """Write a figure with rounded coordinates and numbered names, which are the same on every
    processor but for a last digit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = StringIO()
    fig.savefig(text, metadata={"Date": None})
    plt.close(fig)
    write_atomically(path, plain(text.getvalue()))


def plain(svg: str) -> str:
    """A drawing with numbers in place of the hashes of unrounded coordinates that name clip paths
    and markers, and with its coordinates rounded.
    """
    numbers: dict[str, str] = {}

    def number(name: re.Match[str]) -> str:
        return name[1] + numbers.setdefault(name[2], str(len(numbers) + 1))

    svg = HASHED.sub(number, svg)
    return TAG.sub(lambda tag: LONG.sub(lambda x: f"{float(x[0]):.{DECIMALS}f}", tag[0]), svg)
