"""Farthest points and neighbors in balls, against plain loops."""

import pytest
import torch

from gigp.backbones.lieconv.sampling import choose_neighbors, farthest_points, smallest


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
