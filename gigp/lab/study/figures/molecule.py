"""A molecule, its orbits, and what GIGP sums in them."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.patches import Wedge
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from gigp.groups import SO3
from gigp.lab.study.figures.style import plt, save
from gigp.pools import GIGP, Orbits

ELEMENTS = {
    1: ("H", "#ffffff", 60),
    6: ("C", "#555555", 160),
    7: ("N", "#4878cf", 150),
    8: ("O", "#d65f5f", 150),
    9: ("F", "#6acc65", 130),
}
BOND = 1.25  # two atoms are drawn as bonded within this many times the sum of their covalent radii
RADII = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57}  # Angstrom


def bonds(pos: np.ndarray, charges: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of atoms that are close enough for a bond."""
    radius = np.array([RADII[z] for z in charges])
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    near = distance < BOND * (radius[:, None] + radius[None])
    return [(i, j) for i, j in zip(*near.nonzero(), strict=True) if i < j]


def _memberships(orbits: Orbits, radius: np.ndarray) -> np.ndarray:
    """Memberships (N, K) of radii (N,)."""
    q = torch.from_numpy(radius).float()[None]
    return orbits(q, torch.ones_like(q, dtype=torch.bool))[0].numpy()


def draw_idea(pos: np.ndarray, charges: np.ndarray, path: Path, orbits: int = 6) -> None:
    """A molecule, the orbits of its atoms under rotation about the centroid, and what GIGP sums in
    each.
    """
    pos = pos.astype(np.float64).round(3)  # or the last digits would differ between machines
    radius = np.linalg.norm(pos, axis=1)
    model = GIGP(1, SO3(), orbits=orbits).orbits  # memberships as a user's pool has them
    model.fit(0.0, float(radius.max()))
    held = _memberships(model, radius)
    colors = plt.get_cmap("viridis")(np.linspace(0.05, 0.9, orbits))
    orbit = held.argmax(1)
    fig = plt.figure(figsize=(10, 3.6))

    left = fig.add_subplot(1, 3, 1, projection="3d")
    left.set_title("a molecule about its centroid", fontsize=10)
    left.add_collection3d(
        Line3DCollection(
            [pos[[i, j]] for i, j in bonds(pos, charges)], colors="0.4", linewidths=1.5
        )
    )
    for z in np.unique(charges):
        name, face, size = ELEMENTS[int(z)]
        at = pos[charges == z]
        left.scatter(
            *at.T, s=size / 2, c=face, edgecolors="k", linewidths=0.6, label=name, depthshade=False
        )
    left.scatter(0, 0, 0, marker="+", c="k", s=60)
    left.set_axis_off()
    left.set_box_aspect((1, 1, 1))
    left.legend(
        loc="lower left", fontsize=8, frameon=False, ncols=5, handletextpad=0, columnspacing=0.6
    )

    middle = fig.add_subplot(1, 3, 2)
    middle.set_title("its orbits under rotation: shells", fontsize=10)
    angle = np.arctan2(pos[:, 1], pos[:, 0])
    # same radius, drawn in the plane
    flat = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    fine = np.linspace(0, 1.1 * radius.max(), 400)
    for inside, color in zip(_memberships(model, fine).T > 0, colors, strict=True):
        low, high = fine[inside][[0, -1]]  # radii that belong to the orbit, at least in part
        middle.add_patch(Wedge((0, 0), high, 0, 360, width=high - low, color=color, alpha=0.15))
    turn = np.linspace(0, 2 * np.pi, 200)
    circles = [np.stack([c * np.cos(turn), c * np.sin(turn)], 1) for c in model.centers.tolist()]
    middle.add_collection(LineCollection(circles, colors=colors, linewidths=1.2))
    middle.scatter(
        flat[:, 0], flat[:, 1], s=45, c=colors[orbit], edgecolors="k", linewidths=0.6, zorder=3
    )
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
    save(fig, path)
