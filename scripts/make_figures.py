"""Draw the figures of README.md and results/ from real molecules and run records: `python scripts/make_figures.py`."""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from gigp.datasets import QM9
from gigp.orbits import Orbits
from gigp.pointcloud import center_points

ELEMENTS = {1: ("H", "#ffffff", 60), 6: ("C", "#555555", 160), 7: ("N", "#4878cf", 150), 8: ("O", "#d65f5f", 150),
            9: ("F", "#6acc65", 130)}  # fmt: skip
BOND = 1.25  # two atoms are drawn as bonded within this many times the sum of their covalent radii
RADII = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57}  # Angstrom


def bonds(pos: np.ndarray, charges: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of atoms that are close enough for a bond."""
    radius = np.array([RADII[z] for z in charges])
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    near = distance < BOND * (radius[:, None] + radius[None])
    return [(i, j) for i, j in zip(*near.nonzero(), strict=True) if i < j]


def draw_idea(pos: np.ndarray, charges: np.ndarray, path: Path, orbits: int = 6) -> None:
    """A molecule, the orbits of its atoms under rotation about the centroid, and what GIGP sums in each."""
    radius = np.linalg.norm(pos, axis=1)
    model = Orbits(orbits, "hat")
    model.fit(0.0, float(radius.max()))
    q = torch.from_numpy(radius).float()[None]
    held = model(q, torch.ones_like(q, dtype=torch.bool))[0].numpy()               # (N, K)
    colors = plt.get_cmap("viridis")(np.linspace(0.05, 0.9, orbits))
    orbit = held.argmax(1)
    fig = plt.figure(figsize=(10, 3.6))

    left = fig.add_subplot(1, 3, 1, projection="3d")
    left.set_title("a molecule about its centroid", fontsize=10)
    left.add_collection3d(Line3DCollection([pos[[i, j]] for i, j in bonds(pos, charges)], colors="0.4", linewidths=1.5))
    for z in np.unique(charges):
        name, face, size = ELEMENTS[int(z)]
        at = pos[charges == z]
        left.scatter(*at.T, s=size / 2, c=face, edgecolors="k", linewidths=0.6, label=name, depthshade=False)
    left.scatter(0, 0, 0, marker="+", c="k", s=60)
    left.set_axis_off()
    left.set_box_aspect((1, 1, 1))
    left.legend(loc="lower left", fontsize=8, frameon=False, ncols=5, handletextpad=0, columnspacing=0.6)

    middle = fig.add_subplot(1, 3, 2)
    middle.set_title("its orbits under rotation: shells", fontsize=10)
    angle = np.arctan2(pos[:, 1], pos[:, 0])
    flat = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)           # same radius, drawn in the plane
    turn = np.linspace(0, 2 * np.pi, 200)
    circles = [np.stack([c * np.cos(turn), c * np.sin(turn)], 1) for c in model.centers.tolist()]
    middle.add_collection(LineCollection(circles, colors=colors, linewidths=1.2))
    middle.scatter(*flat.T, s=45, c=colors[orbit], edgecolors="k", linewidths=0.6, zorder=3)
    middle.plot(0, 0, "k+", markersize=8)
    middle.set_aspect("equal")
    middle.set_axis_off()

    right = fig.add_subplot(1, 3, 3)
    right.set_title("GIGP: sum each orbit, one MLP, weigh", fontsize=10)
    right.bar(range(orbits), held.sum(0), color=colors, edgecolor="k", linewidth=0.6)
    right.set_xticks(range(orbits), [f"{c:.1f}" for c in model.centers.tolist()])
    right.set_xlabel("orbit: distance from the centroid (Å)", fontsize=9)
    right.set_ylabel("atoms in the orbit, $n_k$", fontsize=9)
    right.spines[["top", "right"]].set_visible(False)
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


STYLES = {  # of pools, readable in grey
    "gigp": ("k", "-"), "mean": ("0.45", "--"), "sum": ("0.7", ":"), "max": ("0.7", "-."),
    "one_orbit": ("#1f77b4", (0, (5, 1))), "mean_mlp": ("#d62728", (0, (3, 1, 1, 1))),
    "radial_deepsets": ("#2ca02c", (0, (1, 1))),
}  # fmt: skip


def read_runs(runs: Path) -> dict[str, dict[str, list[Path]]]:
    """Folders of finished runs that are no debug runs, by setting (the name without its pool) and pool."""
    found: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(runs.glob("*/seed*/summary.json")):
        record = json.loads(path.read_text())
        choices, name = record["choices"], record["name"]
        if choices["scale"] != "debug" and "_pool." not in name:
            found[name.replace(f"_{choices['pool']}_", "_", 1)][choices["pool"]].append(path.parent)
    return found


def draw_curves(runs: dict[str, dict[str, list[Path]]], path: Path) -> None:
    """Validation loss over the epochs, for every setting with several pools: mean over seeds, and every seed thin."""
    settings = {name: pools for name, pools in runs.items() if len(pools) > 1}
    columns = min(3, len(settings))
    rows = -(-len(settings) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat[len(settings):]:
        ax.set_axis_off()
    for ax, (name, pools) in zip(axes.flat, settings.items(), strict=False):
        for pool, folders in pools.items():
            color, line = STYLES[pool]
            curves = [pd.read_csv(folder / "metrics.csv").set_index("epoch")["val/loss"] for folder in folders]
            for curve in curves:
                ax.plot(curve.index + 1, curve, color=color, linestyle=line, linewidth=0.4, alpha=0.6)
            mean = pd.concat(curves, axis=1).mean(axis=1)
            ax.plot(mean.index + 1, mean, color=color, linestyle=line, label=f"{pool} ({len(folders)})")
        ax.set(title=name, xlabel="epoch", ylabel="validation loss", yscale="log")
        ax.title.set_fontsize(8)
        ax.legend(fontsize=7, frameon=False)
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


def draw_learned(runs: dict[str, dict[str, list[Path]]], path: Path) -> None:
    """What GIGP learned: weight of each orbit, and how strongly it responds to one more unit of a feature."""
    learned = {
        name: [json.loads((folder / "summary.json").read_text()).get("learned") for folder in pools.get("gigp", [])]
        for name, pools in runs.items()
    }
    learned = {name: [record for record in records if record] for name, records in learned.items()}
    learned = {name: records for name, records in learned.items() if records}
    if not learned:
        return
    fig, axes = plt.subplots(1, len(learned), figsize=(3.4 * len(learned), 2.8), squeeze=False, layout="constrained")
    for ax, (name, records) in zip(axes.flat, learned.items(), strict=True):
        for i, record in enumerate(records):
            ax.plot(record["center"], record["weight"], "k-", linewidth=0.8, label="" if i else "weight")
            label = "" if i else "response"
            ax.plot(record["center"], record["response"], "--", color="0.5", linewidth=0.8, label=label)
        ax.axhline(1, color="0.8", linewidth=0.5, zorder=0)
        ax.set(title=name, xlabel="orbit radius")
        ax.title.set_fontsize(7)
        ax.legend(fontsize=7, frameon=False)
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data", help="folder of the QM9 cache")
    parser.add_argument("--molecule", type=int, default=100_000, help="index of the molecule in QM9")
    parser.add_argument("--runs", type=Path, default=Path("results/runs"))
    parser.add_argument("--out", type=Path, default=Path("results/figures"))
    arguments = parser.parse_args()
    plt.rcParams.update({"svg.hashsalt": "gigp", "svg.fonttype": "none"})
    data = QM9(root=arguments.data, cache=arguments.data)
    data.setup()
    mask = data.mask[arguments.molecule]
    pos = center_points(data.positions[arguments.molecule][mask][None], mask[mask][None])[0].numpy()
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw_idea(pos, data.charges[arguments.molecule][mask].numpy(), arguments.out / "idea.svg")
    runs = read_runs(arguments.runs)
    draw_curves(runs, arguments.out / "learning_curves.svg")
    draw_learned(runs, arguments.out / "learned_orbits.svg")
    print(f"wrote {', '.join(sorted(path.name for path in arguments.out.glob('*.svg')))} in {arguments.out}")


if __name__ == "__main__":
    main()
