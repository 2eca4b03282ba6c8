"""The sum over neighbors, against plain loops."""

import pytest
import torch

from gigp.backbones.lieconv.neighborhood import all_neighbors, chosen_neighbors, positions
from gigp.backbones.lieconv.sampling import choose_neighbors


def loop_sum(kernels, feats) -> torch.Tensor:
    """sum_j k_ij (x) f_j for dense tables of kernel values (g, n, m, k), 0 where a pair does not
    count.
    """
    sums = (torch.einsum("gnmk,gnsc->gmskc", k, f) for k, f in zip(kernels, feats, strict=True))
    return torch.cat([x.flatten(3).flatten(0, 1) for x in sums])


@pytest.mark.parametrize("num", [None, 3, 5])
def test_sum_over_groups_of_clouds(num):
    """Whole clouds, and neighbors gathered: of clouds that all have as many as asked for, or
    not.
    """
    torch.manual_seed(0)
    shapes = [(2, 4, 3), (1, 7, 7)]
    tables = [torch.randn(*s, 5).double() for s in shapes]  # kernel inputs
    feats = [torch.randn(g, n, 2, 6).double() for g, n, _ in shapes]
    masks = [torch.ones(*s).double() for s in shapes]
    if num is None:
        neighborhood = all_neighbors(tables)
    else:
        chosen = [
            choose_neighbors(torch.rand(*s), torch.tensor(0.6), num, random=True) for s in shapes
        ]
        neighborhood = chosen_neighbors(
            tables, [(index, positions(inside)) for index, inside in chosen]
        )
        masks = [
            torch.zeros_like(m).scatter(1, index.mT, inside.mT.double())
            for m, (index, inside) in zip(masks, chosen, strict=True)
        ]
    out = neighborhood.sum(neighborhood.pairs[:, :2], torch.cat([f.flatten(0, 1) for f in feats]))
    kernels = [t[..., :2] * m.unsqueeze(-1) for t, m in zip(tables, masks, strict=True)]
    torch.testing.assert_close(out, loop_sum(kernels, feats))
    torch.testing.assert_close(
        neighborhood.count.flatten(),
        torch.cat([m.sum(1).flatten() for m in masks]).clamp(min=1),
        check_dtype=False,
    )
