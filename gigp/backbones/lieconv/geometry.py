"""From positions to the neighborhoods of every block: lift, all pairs, subsample, balls."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gigp.backbones.lieconv.neighborhood import (
    Neighborhood,
    choose_neighbors,
    farthest_points,
    sampled,
    whole,
)
from gigp.errors import InputError
from gigp.groups import Group

# a radius lies just outside the distance it was set by, so that rounding cannot move points across
# it
MARGIN = 1e-5


class Pairs(NamedTuple):
    """All pairs (neighbor j, query i) of g lifted clouds of equal size.

    Attributes:
        inputs: kernel inputs [log(v_j^-1 u_i), q_i, q_j], (g, n, m, a).
        distance: (g, n, m).
    """

    inputs: Tensor
    distance: Tensor

    def at(self, queries: Tensor) -> "Pairs":
        """Keep the pairs whose query is among `queries`, (g, m)."""
        clouds = torch.arange(len(queries), device=queries.device)[:, None, None]
        neighbors = torch.arange(self.distance.shape[1], device=queries.device)[:, None]
        return Pairs(*(x[clouds, neighbors, queries[:, None]] for x in self))

    def among(self, points: Tensor) -> "Pairs":
        """Keep the pairs whose neighbor is among `points`, (g, m)."""
        clouds = torch.arange(len(points), device=points.device)[:, None]
        return Pairs(*(x[clouds, points] for x in self))


class Level(NamedTuple):
    """What one block works on, for every group of clouds.

    Attributes:
        queries: points that the block keeps, (g, m); None for all.
        pairs: of points and queries.
        held: which of the sampled neighbors lie in their ball, where that is known, as positions in
            (g * m * P,). How many do is the same for every sample, and they come first.
        neighbors: those of evaluation, where they are known, (g, m, P).
    """

    queries: list[Tensor | None]
    pairs: list[Pairs]
    held: list[Tensor] | None = None
    neighbors: list[Tensor] | None = None

    def query_rows(self) -> Tensor | None:
        """Rows of the kept points among the rows of all points, (Q,); None for all."""
        if self.queries[0] is None:
            return None
        rows, start = [], 0
        for queries, pairs in zip(self.queries, self.pairs, strict=True):
            g, n, _ = pairs.distance.shape
            offset = start + n * torch.arange(g, device=queries.device)[:, None]
            rows.append((offset + queries).flatten())
            start += g * n
        return torch.cat(rows)


def positions(mask: Tensor) -> Tensor:
    """Where a mask is True in its flattened form."""
    return mask.flatten().nonzero().squeeze(1)


def all_pairs(group: Group, elements: Tensor, orbit: Tensor) -> Pairs:
    """Kernel inputs and distances between all lifted points of g clouds of equal size.

    Args:
        elements: group elements, (g, n, r, r).
        orbit: orbit coordinates, (g, n, q).
    """
    u, v = elements.unsqueeze(1), elements.unsqueeze(2)
    # (g, n, n, lie_dim)
    a = group.relative(u, v)
    shape = (*a.shape[:-1], orbit.shape[-1])
    qu, qv = orbit.unsqueeze(1).expand(shape), orbit.unsqueeze(2).expand(shape)  # (g, n, n, q)
    return Pairs(torch.cat([a, qu, qv], -1), group.distance(a, qu, qv))


class Geometry(nn.Module):
    """The neighborhoods of every block: balls that hold a fraction of the points, `nbhd` of them at
    most.

    Args:
        fill: fraction of the points that a ball holds on average, for each block.
        nbhd: largest number of neighbors; a ball that holds more is sampled.
        keep: fraction of the points that each block keeps, by farthest-point subsampling.
    """

    radius: Tensor

    def __init__(self, fill: Sequence[float], nbhd: int, keep: float = 1.0) -> None:
        super().__init__()
        if not (all(f > 0 for f in fill) and nbhd >= 1 and 0 < keep <= 1):
            raise InputError(
                f"fill={list(fill)}, nbhd={nbhd}, keep={keep}: fill must be positive, nbhd at "
                "least 1, keep in (0, 1]."
            )
        self.fill, self.nbhd, self.keep = [min(f, 1.0) for f in fill], nbhd, keep
        self.register_buffer(
            "radius", torch.tensor([math.inf if f == 1 else math.nan for f in self.fill])
        )
        self._fitted = False

    def levels(self, pairs: list[Pairs]) -> list[Level]:
        """Subsample block by block; without subsampling every block sees the same pairs."""
        if self.keep == 1:
            return [Level([None] * len(pairs), pairs)] * len(self.fill)
        levels = []
        for _ in self.fill:
            kept = [max(1, round(self.keep * p.distance.shape[1])) for p in pairs]
            queries = [farthest_points(p.distance, m) for p, m in zip(pairs, kept, strict=True)]
            at = [p.at(q) for p, q in zip(pairs, queries, strict=True)]
            levels.append(Level(queries, at))
            pairs = [p.among(q) for p, q in zip(at, queries, strict=True)]
        return levels

    @torch.no_grad()
    def fit(self, levels: list[Level]) -> None:
        """Set each block's radius so that its balls hold the fraction `fill` of the given points on
        average.
        """
        for i, (fill, level) in enumerate(zip(self.fill, levels, strict=True)):
            if fill < 1:
                distance = torch.cat([p.distance.flatten() for p in level.pairs])
                held = distance.kthvalue(max(1, round(fill * len(distance)))).values
                self.radius[i] = held * (1 + MARGIN)

    def neighborhoods(self, levels: list[Level]) -> list[Neighborhood]:
        """Choose the neighbors of every block; at random in training, the same every time in
        evaluation.
        """
        self._check_fitted()
        chosen: list[Neighborhood] = []
        for i, level in enumerate(levels):
            all_count = self.fill[i] == 1 and all(
                p.distance.shape[1] <= self.nbhd for p in level.pairs
            )
            repeat = i > 0 and level is levels[i - 1] and self.fill[i] == self.fill[i - 1]
            if repeat:
                chosen.append(chosen[-1])
                continue
            tables = [p.inputs for p in level.pairs]
            choices = (
                [] if all_count else [self._choose(i, level, group) for group in range(len(tables))]
            )
            chosen.append(whole(tables) if all_count else sampled(tables, choices))
        return chosen

    def _choose(self, block: int, level: Level, group: int) -> tuple[Tensor, Tensor]:
        """Neighbors of one group of clouds, (g, m, P), and which of them lie in their ball."""
        if level.neighbors is not None and not self.training:
            return level.neighbors[group], level.held[group]
        distance = level.pairs[group].distance
        index, inside = choose_neighbors(distance, self.radius[block], self.nbhd, self.training)
        return index, positions(inside) if level.held is None else level.held[group]

    def find_held(self, levels: list[Level]) -> list[Level]:
        """Find once, for levels that are used again and again, the neighbors of evaluation and how
        many of the sampled ones lie in their ball."""
        found = []
        for level, radius in zip(levels, self.radius, strict=True):
            chosen = [
                choose_neighbors(p.distance, radius, self.nbhd, random=False) for p in level.pairs
            ]
            held, neighbors = (
                [positions(inside) for _, inside in chosen],
                [index for index, _ in chosen],
            )
            found.append(level._replace(held=held, neighbors=neighbors))
        return found

    def _check_fitted(self) -> None:
        """Read the radii once, at the first call; later calls cost nothing on any device."""
        if not self._fitted:
            if bool(self.radius.isnan().any()):
                raise InputError(
                    "the radii of the balls are not set; call model.calibrate(training_clouds), or "
                    "load a trained state dict, before the first forward pass."
                )
            self._fitted = True
