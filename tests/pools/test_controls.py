"""Controls: what each knows of the radii, and that shuffled orbits are wrong ones."""

import pytest
import torch

from gigp.errors import InputError
from gigp.groups import SO3, T
from gigp.pools import Moments
from gigp.pools.controls import PointMLP, shuffle
from tests.pools.common import cloud, gigp, make, trained


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_mlps_have_the_parameters_of_gigp():
    with_center, without = make("gigp"), make("gigp", feed_center=False)
    assert parameters(make("mean_mlp")) == parameters(without.phi)
    assert parameters(make("point_mlp")) == parameters(without.phi)
    assert parameters(make("radial_deepsets")) == parameters(with_center.phi)
    assert parameters(make("radial_deepsets_rho")) == sum(
        parameters(pool.phi) for pool in (with_center, without)
    )
    assert parameters(make("gigp_shuffled")) == parameters(with_center)
    assert parameters(make("moments")) == 3 * 4 * 4 + 4


@pytest.mark.parametrize(
    ("name", "knows_radii"),
    [
        ("mean_mlp", False),
        ("point_mlp", False),
        ("one_orbit", False),
        ("radial_deepsets", True),
        ("radial_deepsets_rho", True),
        ("moments", True),
        ("gigp_shuffled", True),
        ("gigp", True),
    ],
)
def test_radii(name, knows_radii):
    pos, feat, mask, *_ = cloud()
    pool = trained(make(name))
    change = (pool(feat, 1.5 * pos, mask) - pool(feat, pos, mask)).abs().max()
    assert change > 1e-3 if knows_radii else change < 1e-12


@pytest.mark.parametrize("rho", [False, True])
def test_deepsets_by_loops(rho):
    pool, (pos, feat, mask, *_) = trained(make("radial_deepsets", rho=rho)), cloud()
    out = pool(feat, pos, mask)
    for b in range(len(pos)):
        x = pos[b][mask[b]] - pos[b][mask[b]].mean(0)
        rows = zip(feat[b][mask[b]], x.norm(dim=-1, keepdim=True), strict=True)
        y = sum(pool.phi(torch.cat([f, r])) for f, r in rows) / len(x)
        torch.testing.assert_close(out[b], pool.rho(y) if rho else y)


def test_moments_by_loops():
    pool, (pos, feat, mask, *_) = trained(make("moments")), cloud()
    out = pool(feat, pos, mask)
    for b in range(len(pos)):
        x = pos[b][mask[b]] - pos[b][mask[b]].mean(0)
        rows = list(zip(feat[b][mask[b]], x.norm(dim=-1) / pool.scale, strict=True))
        sums = torch.cat([sum(r**p * f for f, r in rows) for p in range(3)]) / len(x)
        torch.testing.assert_close(out[b], pool.linear(sums))


def test_moments_express_the_sum_of_squared_radii():
    """What r2 of a molecule is about; a constant divisor keeps it."""
    pool, (pos, feat, mask, *_, mass) = make("moments", center="mass", divisor="constant"), cloud()
    with torch.no_grad():
        pool.linear.weight.zero_()
        pool.linear.weight[0, 8] = pool.scale**2 * pool.divisor.points  # of r^2 times feature 0
    feat[..., 0] = 1
    weight = (mass * mask).unsqueeze(-1)
    x = pos - (weight * pos).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    expected = (x.square().sum(-1) * mask).sum(1)
    torch.testing.assert_close(pool(feat, pos, mask, mass=mass)[:, 0], expected)
    with pytest.raises(InputError, match="scale of the radii is not set"):
        Moments(4, SO3())(feat, pos, mask)


def test_groups_with_one_orbit_have_no_radius():
    with pytest.raises(InputError, match="all of space is one orbit"):
        PointMLP(4, T(3))


def test_shuffling_permutes_the_radii_of_each_cloud():
    _, _, mask, *_ = cloud((5, 29, 1, 12))
    mask = mask[:, torch.randperm(29)]  # real points anywhere
    q = torch.rand(4, 29, dtype=torch.float64)
    for random in (False, True):
        out = shuffle(q, mask, random=random)
        for b in range(4):
            assert torch.equal(out[b][mask[b]].sort().values, q[b][mask[b]].sort().values)
        moved = (out != q)[mask].double().mean()
        assert moved > 0.7, "most points get the radius of another one"
    assert torch.equal(shuffle(q, mask, random=False), shuffle(q, mask, random=False))
    assert not torch.equal(shuffle(q, mask, random=True), shuffle(q, mask, random=True))
    q[1, mask[1].nonzero()[0]] = torch.nan
    assert shuffle(q, mask, random=False)[1][mask[1]].isnan().any()


def test_shuffled_is_gigp_on_wrong_orbits():
    pos, feat, mask, *_ = cloud((29, 20))
    right, wrong = make("gigp"), make("gigp_shuffled")
    wrong.load_state_dict(trained(right).state_dict())
    torch.testing.assert_close(wrong.orbits.centers, right.orbits.centers)
    assert (wrong(feat, pos, mask) - right(feat, pos, mask)).abs().max() > 1e-2
    assert torch.equal(wrong(feat, pos, mask), wrong(feat, pos, mask))
    wrong.train()
    assert not torch.equal(wrong(feat, pos, mask), wrong(feat, pos, mask))


def test_shuffling_is_no_function_of_the_rank_alone():
    """Otherwise a net could undo it: points of one rank get different ranks in other clouds."""
    sizes = torch.arange(5, 29)
    mask = torch.arange(29) < sizes[:, None]
    ranks = torch.arange(29.0).expand(len(sizes), -1)
    given = shuffle(ranks, mask, random=False)[:, :5]  # ranks that the first five ranks get
    assert all(len(column.unique()) > 8 for column in given.T)
    assert (given.mean(0) / sizes.double().mean() - 0.5).abs().max() < 0.2


def test_divisor_of_whole_clouds_only():
    pool = gigp(divisor="constant")
    with pytest.raises(InputError, match="0 is not a number of points"):
        pool.divisor.fit(0)
