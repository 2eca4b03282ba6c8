"""Farthest points, balls, and the sum over neighbors, against plain loops."""

import pytest
import torch

from gigp.backbones.lieconv.neighborhood import (
    all_neighbors,
    choose_neighbors,
    chosen_neighbors,
    farthest_points,
    positions,
    smallest,
)


def distances(clouds=2, points=30, seed=0) -> torch.Tensor:
    pos = torch.randn(
        clouds, points, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return torch.cdist(pos, pos)


def test_farthest_points_by_loops():
    distance = distances()
    chosen = farthest_points(distance, 7)
    for d, indices in zip(distance, chosen.tolist(), strict=True):
        expected = [int(d.sum(1).argmin())]
        while len(expected) < 7:
            expected.append(int(d[expected].amin(0).argmax()))
        assert indices == expected


def test_farthest_points_do_not_depend_on_the_order():
    distance, p = distances(), torch.randperm(30)
    assert torch.equal(p[farthest_points(distance[:, p][:, :, p], 9)], farthest_points(distance, 9))


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("num", [5, 30, 99])
def test_neighbors_lie_in_the_ball(random, num):
    distance, radius = distances()[:, :, :11], torch.tensor(0.9)
    index, inside = choose_neighbors(distance, radius, num, random)
    assert index.shape == inside.shape == (2, 11, min(num, 30))
    held = (distance <= radius).sum(1)  # (g, m)
    assert torch.equal(inside.sum(2), held.clamp(max=num))
    assert (distance.mT.gather(2, index)[inside] <= radius).all()
    for g in range(2):
        for m in range(11):
            held_here = int(inside[g, m].sum())
            assert inside[g, m, :held_here].all()  # those in the ball come first
            ball = index[g, m][inside[g, m]].tolist()
            assert len(set(ball)) == len(ball)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smallest_keys_in_order_and_equal_ones_by_index(dtype):
    keys = torch.randint(9, (3, 7, 40)).to(dtype) / 4
    keys[0, 0, ::3] = torch.inf
    order = keys.argsort(stable=True)
    assert torch.equal(smallest(keys, 40), order)
    few = smallest(keys, 6)
    assert torch.equal(keys.gather(2, few), keys.gather(2, order[..., :6]))
    assert few.shape == (3, 7, 6)


def test_random_neighbors_cover_the_ball_evenly():
    torch.manual_seed(0)
    distance, radius = distances(1, 20)[:, :, :1], torch.tensor(10.0)
    draws = torch.cat(
        [choose_neighbors(distance, radius, 5, random=True)[0].flatten() for _ in range(400)]
    )
    frequency = draws.bincount(minlength=20) / 400  # expected 5 / 20
    assert (frequency - 0.25).abs().max() < 0.1


def test_evaluation_repeats_and_ignores_order_and_far_points():
    distance, radius = distances()[:, :, :11], torch.tensor(0.9)
    index, inside = choose_neighbors(distance, radius, 5, random=False)
    p = torch.randperm(30)
    permuted, _ = choose_neighbors(distance[:, p], radius, 5, random=False)
    assert torch.equal(torch.where(inside, p[permuted], -1), torch.where(inside, index, -1))
    padded = torch.cat([distance, torch.full_like(distance[:, :9], 50.0)], 1)
    longer, _ = choose_neighbors(padded, radius, 5, random=False)
    assert torch.equal(torch.where(inside, longer, -1), torch.where(inside, index, -1))


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
