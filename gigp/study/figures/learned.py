"""What GIGP learned: weight and response by orbit radius, alone and over a molecule and a digit."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from gigp.datasets import QM9, RotMNIST
from gigp.pointcloud import center_points
from gigp.study.experiments import Experiment
from gigp.study.figures.molecule import bonds, draw_atoms
from gigp.study.figures.style import PANELS, grid, plt, save
from gigp.study.runs import read_summaries, rows_of

# by data set, experiment, and what else sets runs apart
Learned = dict[tuple[str, str, str], list[dict[str, Any]]]


def read_learned(runs: Path, experiments: dict[str, Experiment]) -> Learned:
    """What plain GIGP learned in every run that says so."""
    found: Learned = {}
    for record in read_summaries(runs).values():
        row = next(iter(rows_of(record, experiments)))
        if record.get("learned") and row["pool"] == "gigp":
            target = row["target"] if len(record["metrics"]) == 1 else ""
            rest = ", ".join(filter(None, [row["backbone"], row["pooled"], row["variant"], target]))
            found.setdefault((row["data set"], row["experiment"], rest), []).append(
                record["learned"]
            )
    return found


def draw_learned(learned: Learned, path: Path) -> bool:
    """Weight and response of every orbit: mean over the seeds, and every seed thin.

    Returns:
        Whether there was anything to draw.
    """
    if not learned:
        return False
    fig, axes = grid(min(len(learned), PANELS), height=2.4)
    for ax, ((_, experiment, rest), records) in zip(axes, learned.items(), strict=False):
        for what, color, line in (("weight", "k", "-"), ("response", "0.5", "--")):
            for record in records:
                ax.plot(
                    record["center"],
                    record[what],
                    linestyle=line,
                    color=color,
                    linewidth=0.3,
                    alpha=0.6,
                )
            mean = np.mean([record[what] for record in records], 0)
            ax.plot(
                mean_centers(records),
                mean,
                linestyle=line,
                color=color,
                label=f"{what} ({len(records)})",
            )
        ax.axhline(1, color="0.85", linewidth=0.5, zorder=0)
        ax.set(title=f"{experiment}\n{rest}", xlabel="orbit radius")
        ax.legend()
    save(fig, path)
    return True


def mean_centers(records: list[dict[str, Any]]) -> np.ndarray:
    """Orbit centers, the mean over the seeds."""
    return np.mean([record["center"] for record in records], 0)


def draw_learned_on(learned: Learned, path: Path, data: str, molecule: int) -> bool:
    """The mean response to a point by its radius, over a molecule's atoms and a digit's pixels.

    Returns:
        Whether there was anything to draw: GIGP on molecules or on digits.
    """
    first = {
        dataset: records
        for (dataset, *_), records in reversed(learned.items())
        if dataset in ("qm9", "rotmnist")
    }
    if not first:
        return False
    fig, axes = plt.subplots(
        1, len(first), figsize=(4.2 * len(first), 3.4), squeeze=False, layout="constrained"
    )
    for ax, (dataset, records) in zip(axes[0], sorted(first.items()), strict=True):
        centers, response = (
            mean_centers(records),
            np.mean([record["response"] for record in records], 0),
        )
        shown = (draw_on_molecule if dataset == "qm9" else draw_on_digit)(
            ax, centers, response, data, molecule
        )
        fig.colorbar(shown, ax=ax, shrink=0.7, label="response to one more unit")
        ax.set_aspect("equal")
        ax.set_axis_off()
    save(fig, path)
    return True


def draw_on_molecule(
    ax: Axes, centers: np.ndarray, response: np.ndarray, data: str, molecule: int
) -> Any:
    """Atoms in the plane of the two widest directions, about the centroid, with circles at a few
    radii.
    """
    source = QM9(root=data, cache=data)
    source.setup()
    mask = source.mask[molecule]
    pos = center_points(source.positions[molecule][mask][None], mask[mask][None])[0]
    # (2, 3), widest first
    axes = torch.linalg.svd(pos, full_matrices=False)[2][:2]
    # whose signs nothing else decides
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    flat = (pos @ axes.T).numpy()
    charges, radius = source.charges[molecule][mask].numpy(), pos.norm(dim=1).numpy()
    lines = [flat[[i, j]] for i, j in bonds(pos.numpy(), charges)]
    ax.add_collection(LineCollection(lines, colors="0.6", linewidths=1.2, zorder=1))
    draw_atoms(ax, flat, charges)
    ax.set_title("molecule: atoms by the radius from the centroid")
    shade = np.interp(radius, centers, response)
    return ax.scatter(*flat.T, s=90, c=shade, cmap="Greys", edgecolors="k", linewidths=0.6)


def draw_on_digit(ax: Axes, centers: np.ndarray, response: np.ndarray, data: str, _: int) -> Any:
    """A digit's ink in the shade of the response to its pixels."""
    digits = RotMNIST(root=data, cache=data, source="embedded")
    digits.setup()
    image = digits.images[digits.indices["test"][0]].numpy() / 255  # (28, 28)
    line = np.linspace(-14, 14, 28)
    radius = np.hypot(*np.meshgrid(line, line))
    shade = np.ma.masked_where((image < 0.2) | (radius > 15), np.interp(radius, centers, response))
    ax.set_title("digit: pixels by the radius from the center")
    return ax.imshow(
        shade, cmap="Greys", vmin=min(0.0, float(response.min())), interpolation="nearest"
    )
