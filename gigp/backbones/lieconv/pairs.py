"""The pairs of a neighborhood as lists, which native.c works through."""

from itertools import accumulate

import torch
from torch import Tensor

from gigp.backbones.lieconv.native import call


class QueryPairs:
    """The (neighbor, query) pairs of a batch, query by query.

    Args:
        shapes: (g, n, m) for groups of g clouds with n points and m queries.
        pairs: number of pairs E.
        index: rows of the P neighbors that each query may have, (Q, P); None: the pairs are all
            points with all queries of their cloud, in tables (g, n, m).
        slots: places of the pairs in `index`, (E,); None: all places.

    Attributes:
        lists: where the pairs of each query start (Q + 1,), and for each pair the row of its
            neighbor and its own row among the kernel inputs, (E,) each.
        clouds: number of clouds, and where the points and the queries of each start, (clouds + 1,).
    """

    def __init__(
        self,
        shapes: list[tuple[int, int, int]],
        pairs: int,
        index: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> None:
        rows = starts([n for g, n, _ in shapes for _ in range(g)])
        queries = starts([m for g, _, m in shapes for _ in range(g)])
        self.clouds = len(rows) - 1, rows, queries
        self.num_queries = sum(g * m for g, _, m in shapes)
        sizes = self.num_queries + 1, pairs, pairs
        self.lists = tuple(torch.empty(size, dtype=torch.int32) for size in sizes)
        if index is None:
            call("list_all_pairs", *self.clouds, *self.lists)
        else:
            slots = torch.arange(pairs) if slots is None else slots.contiguous()
            call("list_chosen_pairs", *index.shape, index.contiguous(), pairs, slots, *self.lists)


def starts(sizes: list[int]) -> Tensor:
    """Where parts of these sizes start, and the end of the last one, (n + 1,)."""
    return torch.tensor(list(accumulate(sizes, initial=0)), dtype=torch.int32)
