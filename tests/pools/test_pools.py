"""What every pool of configs/pool promises: invariance, its start, padding, batches, gradients.

A new pool is found by its config.
"""

import numpy as np
import pytest
import torch

from gigp import GIGP, GIGPAggregation
from gigp.errors import InputError
from gigp.groups import SE3, SO3
from gigp.pointcloud import PointCloud
from gigp.pools import MeanPool, Moments, Pool, SumPool
from gigp.pools.controls import PointMLP, ShuffledGIGP
from gigp.testing import assert_invariant
from tests.pools.common import NAMES, cloud, config_of, gigp, make, trained

MEMBERSHIPS = ["ball", "nearest", "hat", "smooth"]
# neither invariant under rotations nor under the order of the points: tests/pools/test_released.py
NOT_INVARIANT = {"gigp_released"}
# do not start as the mean; the head that follows, or a start at random, decides
OTHER_START = {
    "gigp_released",
    "max",
    "median",
    "multi",
    "quantiles",
    "set2set",
    "set_transformer",
    "sum",
}
SCALED_SUM = {"deepsets", "scaled_sum"}
HAS_DIVISOR = [name for name in NAMES if config_of(name).pool.get("divisor") == "count"]
VARIANTS = {
    **{m: (lambda m=m: gigp(membership=m)) for m in MEMBERSHIPS},
    "mean of orbits": lambda: gigp(aggregation="mean", init="random"),
    "sum, no center": lambda: gigp(aggregation="sum", init="sum", feed_center=False),
    "smooth silu": lambda: gigp(membership="smooth", activation="silu"),
    "raw balls": lambda: gigp(normalize=False),
}
POOLS = {name: (lambda name=name: trained(make(name))) for name in NAMES} | VARIANTS
INVARIANT = [name for name in POOLS if name not in NOT_INVARIANT]


@pytest.fixture(params=POOLS, ids=str)
def pool(request) -> Pool:
    """Every pool, its parameters moved away from their start."""
    return POOLS[request.param]()


@pytest.fixture(params=INVARIANT, ids=str)
def invariant(request) -> Pool:
    return POOLS[request.param]()


def mean_points(*clouds) -> float:
    return sum(float(c.mask.sum()) for c in clouds) / sum(len(c.mask) for c in clouds)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OTHER_START])
@pytest.mark.parametrize("sizes", [(5, 9, 1), (29,), (3, 29, 2, 7)])
def test_starts_as_mean_or_scaled_sum(name, sizes):
    pos, feat, mask, *_ = cloud(sizes)
    expected = MeanPool(4)(feat, pos, mask)
    if name in SCALED_SUM:
        expected = SumPool(4)(feat, pos, mask) / mean_points(cloud(), cloud((4, 8)))
    torch.testing.assert_close(make(name)(feat, pos, mask), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", HAS_DIVISOR)
def test_constant_divisor_starts_as_the_scaled_sum(name):
    pos, feat, mask, *_ = cloud((3, 29, 2, 7))
    pool = make(name, divisor="constant")
    expected = SumPool(4)(feat, pos, mask) / mean_points(cloud(), cloud((4, 8)))
    torch.testing.assert_close(pool(feat, pos, mask), expected, rtol=1e-12, atol=1e-12)
    fresh = make(name, divisor="constant")
    fresh.fit([cloud((2,))])
    fresh.load_state_dict(pool.state_dict())
    assert torch.equal(fresh(feat, pos, mask), pool(feat, pos, mask))
    assert HAS_DIVISOR


@pytest.mark.parametrize("name", [name for name in NAMES if "center" in config_of(name).pool])
def test_center_of_mass(name):
    """Invariant about the center of mass, which is not the centroid; and refused without masses."""
    pos, feat, mask, *_, mass = cloud()
    pool = trained(make(name, center="mass"))
    assert pool.needs_mass
    out = pool(feat, pos, mask, mass=mass)
    assert_invariant(lambda pos: pool(feat, pos, mask, mass=mass), SE3(), pos)
    torch.testing.assert_close(pool(feat, pos, mask, mass=5 * mass), out)
    if name != "one_orbit":
        about_centroid = pool(feat, pos, mask, mass=torch.ones_like(mass))
        assert (about_centroid - out)[:2].abs().max() > 1e-4
    with pytest.raises(InputError, match=r"center=mass needs the masses .* pass mass=\(B, N\)"):
        pool(feat, pos, mask)


def test_invariant_under_the_group(invariant):
    _, feat, mask, *_ = cloud()
    assert_invariant(lambda pos: invariant(feat, pos, mask), SE3(), cloud().pos)


def test_order_of_points(invariant):
    pos, feat, mask, *_ = cloud((9, 9))
    p = torch.randperm(9)
    torch.testing.assert_close(invariant(feat[:, p], pos[:, p], mask), invariant(feat, pos, mask))


def test_padding_and_its_content(pool):
    pos, feat, mask, *_ = cloud()
    garbage = [torch.cat([x, torch.full_like(x[:, :3], 7)], 1) for x in (feat, pos)]
    longer = torch.cat([mask, torch.zeros_like(mask[:, :3])], 1)
    holes = feat.masked_fill(~mask.unsqueeze(-1), torch.nan)
    torch.testing.assert_close(pool(holes, pos, mask), pool(*garbage, longer))


def test_batch_equals_single(pool):
    pos, feat, mask, *_ = cloud()
    batched = pool(feat, pos, mask)
    for b, n in enumerate(mask.sum(1)):
        single = pool(feat[b : b + 1, :n], pos[b : b + 1, :n], mask[b : b + 1, :n])
        torch.testing.assert_close(single[0], batched[b])


def test_shared_positions(pool):
    pos, feat, mask, *_ = cloud((9, 9, 9))
    shared = pool(feat, pos[:1], mask[:1])
    torch.testing.assert_close(shared, pool(feat, pos[:1].expand_as(pos), mask))


def test_empty_cloud_gives_zero(pool):
    pos, feat, mask, *_ = cloud()
    mask = mask & torch.tensor([[True], [True], [False]])
    out = pool(feat, pos, mask)
    assert out.isfinite().all()
    assert (out[2] == 0).all()


def test_gradients_are_finite(pool):
    pos, feat, mask, *_ = cloud((5, 9, 1, 9))
    mask[3] = False
    pos[2, 0] = 0  # a single point lies on its centroid, where the radius has no gradient
    leaves = [x.requires_grad_() for x in (pos, feat)]
    pool(feat, pos, mask).square().sum().backward()
    assert feat.grad.isfinite().all()
    assert feat.grad.abs().sum() > 0
    assert all(x.grad is None or x.grad.isfinite().all() for x in [*leaves, *pool.parameters()])


def test_nan_position_gives_nan(pool):
    """Never a number for a point without a place; the other clouds are as before."""
    pos, feat, mask, *_ = cloud((5, 9, 4))
    expected = pool(feat, pos, mask)
    knows_positions = (pool(feat, 2 * pos.flip(-1), mask) - expected).abs().max() > 1e-9
    for value in (torch.nan, torch.inf):
        spoiled = pos.clone()
        spoiled[1, 3, 1] = value
        spoiled.requires_grad_()
        out = pool(feat, spoiled, mask)
        torch.testing.assert_close(out[[0, 2]], expected[[0, 2]])
        if knows_positions:
            assert out[1].isnan().all()
            if type(pool).fit is not Pool.fit:
                with pytest.raises(InputError, match="not finite"):
                    pool.fit([PointCloud(spoiled.detach(), feat, mask)])


def test_nan_gradients_where_positions_are_nan():
    """A loss of a NaN cloud has no finite gradient that an optimizer would take."""
    pos, feat, mask, *_ = cloud((5, 9))
    pool = gigp(membership="smooth", activation="silu")
    pos[1, 3, 1] = torch.nan
    pos.requires_grad_()
    pool(feat, pos, mask).sum().backward()
    assert pos.grad[1].isnan().any()
    assert pos.grad[0].isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.ones(2, 5)}, r"mask is of torch\.float32; .* pass mask\.bool\(\)"),
        ({"mask": torch.ones(2, 5).long()}, r"mask is of torch\.int64"),
        ({"mask": [[True] * 5] * 2}, r"mask is a list; pass a tensor, as torch\.as_tensor\(mask\)"),
        ({"feat": np.ones((2, 5, 4))}, r"feat is a ndarray; pass a tensor"),
        ({"mask": torch.ones(3, 5) > 0}, r"mask \(3, 5\) does not fit feat \(2, 5, 4\)"),
        ({"mask": torch.ones(5) > 0}, r"mask \(5,\) does not fit .* or \(1, 5\) where"),
        ({"feat": torch.ones(2, 5, 3)}, r"feat has shape \(2, 5, 3\); this pool takes \(B, N, 4\)"),
        ({"feat": torch.ones(5, 4)}, r"feat has shape \(5, 4\)"),
        ({"feat": torch.ones(2, 5, 4).long()}, r"cannot hold fractions .* pass feat\.float\(\)"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_wrong_tensors(name, change, message):
    given = {"feat": torch.ones(2, 5, 4), "pos": torch.ones(2, 5, 3), "mask": torch.ones(2, 5) > 0}
    with pytest.raises(InputError, match=message):
        make(name)(**(given | change))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_without_a_mask_all_points_are_real(name, shared):
    pool = make(name)
    feat, pos = torch.randn(2, 5, 4).double(), torch.randn(1 if shared else 2, 5, 3).double()
    torch.testing.assert_close(pool(feat, pos), pool(feat, pos, torch.ones(pos.shape[:2]) > 0))


@pytest.mark.parametrize("name", [name for name in NAMES if "group" in config_of(name).pool])
def test_wrong_positions(name):
    feat, mask = torch.ones(2, 5, 4), torch.ones(2, 5) > 0
    with pytest.raises(InputError, match=r"pos \(2, 6, 3\) does not fit .* expected \(2, 5, 3\)"):
        make(name)(feat, torch.ones(2, 6, 3), mask)
    with pytest.raises(InputError, match="3-dimensional positions, not 2"):
        make(name)(feat, torch.ones(2, 5, 2), mask)
    with pytest.raises(InputError, match=r"pos is a ndarray; pass a tensor"):
        make(name)(feat, np.ones((2, 5, 3)), mask)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, SO3), r"group is the class SO3; pass an object of it, as SO3\(\)"),
        ((4, "SO3"), r"group='SO3' is not a group; pass an object of gigp\.groups, as SO3\(\)"),
        ((0, SO3()), "channels=0: it must be a whole number, 1 or larger"),
        ((4.0, SO3()), r"channels=4\.0: it must be a whole number"),
    ],
)
@pytest.mark.parametrize("pool", [GIGP, GIGPAggregation, Moments, PointMLP, ShuffledGIGP])
def test_wrong_arguments(pool, arguments, message):
    with pytest.raises(InputError, match=message):
        pool(*arguments)


@pytest.mark.parametrize("key", ["hidden_layers", "hidden_channels"])
def test_wrong_sizes_of_the_mlp(key):
    with pytest.raises(InputError, match=f"{key}=-1: it must be a whole number, [01] or larger"):
        gigp(**{key: -1})


def test_reload_equals_stored(pool):
    pos, feat, mask, *_ = cloud()
    expected = pool(feat, pos, mask)
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    pool.fit([cloud((3, 3), seed=5)])
    pool.load_state_dict(before)
    assert torch.equal(pool(feat, pos, mask), expected)
