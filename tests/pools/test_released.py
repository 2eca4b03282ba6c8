"""What the released code computes on QM9: its equations, and what it is not invariant to."""

import pytest
import torch

from gigp.errors import InputError
from gigp.groups import SE3, T
from gigp.pools import MeanPool
from gigp.testing import assert_invariant
from tests.pools.common import cloud, make, trained


def test_equations_by_loops():
    pool, (pos, feat, mask, *_) = trained(make("gigp_released", orbits=12)), cloud((9, 5, 2))
    out = pool(feat, pos, mask)
    for b in range(len(pos)):
        x, f = pos[b][mask[b]], feat[b][mask[b]]
        total, counted = torch.zeros(4, dtype=torch.float64), 0
        for k, c in enumerate(pool.orbits.centers):
            inside = [i for i in range(len(x)) if abs(x[i, 1] - x[1, 1] - c) <= 0.5]
            h = sum((f[i] for i in inside), torch.zeros(4, dtype=torch.float64))
            total += pool.weight[k] * pool.phi(torch.cat([h, len(x) * c[None]]))
            counted += len(inside)
        torch.testing.assert_close(out[b], total / max(counted, 1))


def test_starts_near_mean_pooling_but_not_as_it():
    pos, feat, mask, *_ = cloud((29, 20))
    difference = make("gigp_released")(feat, pos, mask) - MeanPool(4)(feat, pos, mask)
    assert 1e-3 < difference.abs().max() < 0.5


def test_not_invariant_under_rotation():
    """A finding about the released code: turning a molecule changes the prediction."""
    pool, (pos, feat, mask, *_) = trained(make("gigp_released")), cloud((9, 9))
    assert_invariant(lambda pos: pool(feat, pos, mask), T(3), pos)
    with pytest.raises(AssertionError, match="not equivariant under SE"):
        assert_invariant(lambda pos: pool(feat, pos, mask), SE3(), pos)


def test_not_invariant_under_exchange_of_atoms():
    """All orders that leave atom 1 where it is give the same, others do not."""
    pool, (pos, feat, mask, *_) = trained(make("gigp_released")), cloud((9, 9))
    out = pool(feat, pos, mask)
    order = torch.tensor([4, 1, 0, 8, 2, 3, 7, 6, 5])
    torch.testing.assert_close(pool(feat[:, order], pos[:, order], mask), out)
    order = torch.tensor([1, 0, 2, 3, 4, 5, 6, 7, 8])
    assert (pool(feat[:, order], pos[:, order], mask) - out).abs().max() > 1e-2


def test_positions_without_y():
    with pytest.raises(InputError, match="y is the second one"):
        make("gigp_released")(torch.ones(1, 3, 4), torch.ones(1, 3, 1), torch.ones(1, 3) > 0)
