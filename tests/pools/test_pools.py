"""GIGP and the plain pools: equations, symmetries, special cases, and the defects of the published
prototype.
"""

import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf
from torch_geometric.nn.aggr import MeanAggregation, Set2Set

from gigp.config.instantiate import instantiate
from gigp.errors import InputError
from gigp.groups import SE3, SO2, SO3, T, Trivial
from gigp.pointcloud import PointCloud
from gigp.pools.base import MaxPool, MeanPool, Pool, SumPool
from gigp.pools.controls import MeanMLP, RadialDeepSets
from gigp.pools.gigp import GIGP
from gigp.pools.readouts import Readout
from gigp.testing import assert_invariant
from tests.conftest import ROOT

CONFIGS = ROOT / "configs" / "pool"
MEMBERSHIPS = ["ball", "nearest", "hat", "smooth"]


def cloud(sizes=(5, 9, 1), channels=4, dim=3, seed=0) -> PointCloud:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(sizes), max(sizes))
    pos = 2 * torch.randn(*shape, dim, dtype=torch.float64, generator=generator)
    feat = torch.randn(*shape, channels, dtype=torch.float64, generator=generator)
    return PointCloud(pos, feat, torch.arange(max(sizes)) < torch.tensor(sizes)[:, None])


def gigp(channels=4, group=None, *, trained=True, clouds=None, **options) -> GIGP:
    """A fitted pool; `trained` moves the parameters away from their start, where it is mean
    pooling.
    """
    torch.manual_seed(0)
    pool = GIGP(
        channels, group or SO3(), **{"orbits": 12, "hidden_channels": 16, **options}
    ).double()
    pool.fit([clouds or cloud(channels=channels, dim=pool.group.dim)])
    if trained:
        for parameter in pool.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return pool


def trained(pool: Pool) -> Pool:
    """Move the parameters away from their start."""
    torch.manual_seed(0)
    for parameter in pool.double().parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return pool


def readout(name: str, channels: int = 4) -> Readout:
    """As its file in configs/pool says."""
    return instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), channels=channels)


READOUTS = [
    path.stem for path in sorted(CONFIGS.glob("*.yaml")) if "readouts.Readout" in path.read_text()
]

POOLS = {
    "mean": lambda: MeanPool(4),
    "sum": lambda: SumPool(4),
    "max": lambda: MaxPool(4),
    **{m: (lambda m=m: gigp(membership=m)) for m in MEMBERSHIPS},
    "random-mean": lambda: gigp(aggregation="mean", init="random"),
    "sum-no-center": lambda: gigp(aggregation="sum", init="sum", feed_center=False),
    "smooth silu": lambda: gigp(membership="smooth", activation="silu"),
    "raw balls": lambda: gigp(normalize=False),
    "mean_mlp": lambda: trained(MeanMLP(4)),
    "radial_deepsets": lambda: trained(RadialDeepSets(4, SO3())),
    **{name: (lambda name=name: trained(readout(name))) for name in READOUTS},
}


@pytest.fixture(params=POOLS, ids=str)
def pool(request):
    return POOLS[request.param]()


def test_equations_by_loops():
    """y = sum_k w_k s_k phi([sum_i m_ik f_i / s_k, c_k]) / n over occupied orbits, written out with
    Python loops.
    """
    pool, (pos, feat, mask, *_) = gigp(membership="hat"), cloud()
    out = pool(feat, pos, mask)
    for b in range(len(pos)):
        x = pos[b][mask[b]] - pos[b][mask[b]].mean(0)
        c, expected = pool.orbits.centers, torch.zeros(4, dtype=torch.float64)
        step = c[1] - c[0]
        for k in range(12):
            m = [
                max(0.0, 1 - abs(float(min(max(p.norm(), c[0]), c[-1]) - c[k])) / float(step))
                for p in x
            ]
            h = sum(m_i * f for m_i, f in zip(m, feat[b][mask[b]], strict=True))
            if sum(m) > 0:
                share = min(1.0, sum(m))
                expected += pool.weight[k] * share * pool.phi(torch.cat([h / share, c[k : k + 1]]))
        torch.testing.assert_close(out[b], expected / len(x))


@pytest.mark.parametrize("membership", MEMBERSHIPS)
@pytest.mark.parametrize("aggregation", ["weighted", "sum"])
@pytest.mark.parametrize("sizes", [(5, 9, 1), (29,), (3, 29, 2, 7)])
def test_starts_as_mean_pooling(membership, aggregation, sizes):
    pos, feat, mask, *_ = cloud(sizes)
    pool = gigp(membership=membership, aggregation=aggregation, trained=False)
    torch.testing.assert_close(
        pool(feat, pos, mask), MeanPool(4)(feat, pos, mask), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("hidden_layers", [0, 1, 2, 4])
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_starts_as_mean_pooling_with_any_mlp(activation, hidden_layers):
    pos, feat, mask, *_ = cloud()
    pool = gigp(activation=activation, hidden_layers=hidden_layers, trained=False)
    torch.testing.assert_close(
        pool(feat, pos, mask), MeanPool(4)(feat, pos, mask), rtol=1e-12, atol=1e-12
    )
    pool = gigp(activation=activation, hidden_layers=hidden_layers)
    pool.reset_parameters()
    torch.testing.assert_close(
        pool(feat, pos, mask), MeanPool(4)(feat, pos, mask), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    "control", [MeanMLP(4), RadialDeepSets(4, SO3())], ids=["mean_mlp", "radial_deepsets"]
)
def test_controls_start_as_mean_pooling_with_the_parameters_of_gigp(control):
    pos, feat, mask, *_ = cloud()
    torch.testing.assert_close(control.double()(feat, pos, mask), MeanPool(4)(feat, pos, mask))
    count = lambda pool: sum(p.numel() for p in pool.phi.parameters())  # noqa: E731
    assert count(control) in (
        count(gigp(hidden_channels=64)),
        count(gigp(hidden_channels=64, feed_center=False)),
    )


def test_radial_deepsets_is_told_the_radius():
    pos, feat, mask, *_ = cloud()
    pool = trained(RadialDeepSets(4, SO3()))
    assert not torch.allclose(pool(feat, pos, mask), pool(feat, 2 * pos, mask))
    with pytest.raises(InputError, match="all of space is one orbit"):
        RadialDeepSets(4, T(3))


def test_starts_as_sum_pooling():
    pos, feat, mask, *_ = cloud()
    torch.testing.assert_close(
        gigp(init="sum", trained=False)(feat, pos, mask),
        SumPool(4)(feat, pos, mask),
        rtol=1e-12,
        atol=1e-12,
    )


def test_random_start_is_not_mean_pooling():
    pos, feat, mask, *_ = cloud()
    difference = gigp(init="random", trained=False)(feat, pos, mask) - MeanPool(4)(feat, pos, mask)
    assert difference.abs().max() > 1e-2


def test_overlapping_balls_without_normalization_are_not_mean_pooling():
    """The prototype's defect: a point in six or seven balls counts that often, fewer at the ends of
    the range.
    """
    pos, feat, mask, *_ = cloud((29, 20))
    pool = gigp(orbits=50, normalize=False, trained=False)
    assert (pool(feat, pos, mask) - MeanPool(4)(feat, pos, mask)).abs().max() > 1e-3


def test_starts_as_mean_pooling_in_a_fresh_process():
    code = """
import torch
from gigp.groups import SO3
from gigp.pools.gigp import GIGP
from gigp.pools.base import MeanPool
pool = GIGP(3, SO3()).double(); pool.orbits.fit(0.0, 6.0)
pos, feat = torch.randn(4, 9, 3).double(), torch.randn(4, 9, 3).double()
mask = torch.arange(9) < torch.tensor([9, 4, 1, 6])[:, None]
print(float((pool(feat, pos, mask) - MeanPool(3)(feat, pos, mask)).abs().max()))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert float(out) < 1e-12


def test_invariant_under_the_group(pool):
    _, feat, mask, *_ = cloud()
    assert_invariant(lambda pos: pool(feat, pos, mask), SE3(), cloud().pos)


@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_planar_rotations_about_the_origin_only(membership):
    pool, (pos, feat, mask, *_) = (
        gigp(group=SO2(), center="origin", membership=membership),
        cloud(dim=2),
    )
    assert_invariant(lambda pos: pool(feat, pos, mask), SO2(), pos)
    with pytest.raises(AssertionError):
        assert_invariant(lambda pos: pool(feat, pos, mask), T(2), pos)


def test_tells_radii_apart():
    """Negative control: GIGP must see what mean pooling cannot."""
    pool, (pos, feat, mask, *_) = gigp(), cloud()
    stretched = pos * torch.linspace(0.3, 1.7, pos.shape[1], dtype=pos.dtype)[:, None]
    assert (pool(feat, stretched, mask) - pool(feat, pos, mask)).abs().max() > 1e-3


def test_order_of_points(pool):
    pos, feat, mask, *_ = cloud((9, 9))
    p = torch.randperm(9)
    torch.testing.assert_close(pool(feat[:, p], pos[:, p], mask), pool(feat, pos, mask))


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


def test_reload_equals_stored():
    pos, feat, mask, *_ = cloud()
    pool, fresh = gigp(), GIGP(4, SO3(), orbits=12, hidden_channels=16).double()
    with pytest.raises(InputError, match="not set"):
        fresh(feat, pos, mask)
    fresh.load_state_dict(pool.state_dict())
    assert torch.equal(fresh(feat, pos, mask), pool(feat, pos, mask))


def test_centers_do_not_depend_on_the_batch():
    pool, (pos, feat, mask, *_) = gigp(), cloud()
    before = pool.orbits.centers.clone()
    far = pool(torch.cat([feat, feat]), torch.cat([pos, 100 * pos]), torch.cat([mask, mask]))
    assert torch.equal(pool.orbits.centers, before)
    torch.testing.assert_close(far[:3], pool(feat, pos, mask))


def test_occupied_orbit_whose_features_cancel():
    """The prototype takes "the features sum to exactly 0" for "empty"; here a cancelled orbit is
    still occupied.
    """
    pool = gigp(channels=1, membership="nearest", clouds=cloud(channels=1))
    pos = torch.tensor([[[1.0, 0, 0], [-1, 0, 0]]], dtype=torch.float64)
    mask, zero = torch.tensor([[True, True]]), torch.tensor([[[3.0], [-3.0]]], dtype=torch.float64)
    k = (pool.orbits.centers - 1).abs().argmin()
    expected = (
        pool.weight[k]
        * pool.phi(torch.tensor([0.0, pool.orbits.centers[k]], dtype=torch.float64))
        / 2
    )
    torch.testing.assert_close(pool(zero, pos, mask)[0], expected)


def test_center_value_is_fed_once():
    """The prototype adds the center value once per point, so phi sees count x center; here twice
    the points that share a feature sum give the same z."""
    pool = gigp(
        channels=1, membership="nearest", aggregation="sum", init="sum", clouds=cloud(channels=1)
    )
    one = torch.tensor([[[1.0, 0, 0], [-1.0, 0, 0]]], dtype=torch.float64)
    two = torch.cat([one, one.flip(1)], 1)
    f = torch.tensor([[[1.0], [1.0]]], dtype=torch.float64)
    a = pool(f, one, torch.ones(1, 2, dtype=torch.bool))
    b = pool(torch.cat([f, f], 1) / 2, two, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(a, b)


def test_one_orbit_is_deepsets():
    pool, (pos, feat, mask, *_) = gigp(orbits=1), cloud()
    torch.testing.assert_close(pool(feat, 3 * pos, mask), pool(feat, pos, mask))


def test_gradients_are_finite(pool):
    pos, feat, mask, *_ = cloud((5, 9, 1, 9))
    mask[3] = False
    pos[2, 0] = 0  # a single point lies on its centroid, where the radius has no gradient
    leaves = [x.requires_grad_() for x in (pos, feat)]
    pool(feat, pos, mask).square().sum().backward()
    assert feat.grad.isfinite().all()
    assert feat.grad.abs().sum() > 0
    assert all(x.grad is None or x.grad.isfinite().all() for x in [*leaves, *pool.parameters()])


def test_hat_is_continuous_and_ball_jumps():
    pos, feat, mask, *_ = cloud((6,))
    steps = torch.linspace(0.9, 1.1, 2001, dtype=pos.dtype)

    def largest_step(membership):
        pool = gigp(membership=membership)
        y = torch.cat([pool(feat, s * pos, mask) for s in steps])
        return (y[1:] - y[:-1]).abs().max()

    assert largest_step("hat") < 1e-2 < largest_step("ball")


def test_memory_is_not_points_times_orbits_times_channels():
    """Largest tensor that forward and backward make, by number of elements."""
    pos, feat, mask, *_ = cloud((128,) * 4, channels=64)
    pool = gigp(64, orbits=50, hidden_channels=128, clouds=cloud((128,) * 4, channels=64))
    largest = 0

    def watch(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(watch, lambda t: t):
        pool(feat.requires_grad_(), pos, mask).sum().backward()
    assert 0 < largest < 4 * 128 * 50 * 64 / 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": SE3()}, "DeepSets"),
        ({"group": T(3)}, "DeepSets"),
        ({"group": Trivial(3)}, "3-dimensional"),
        ({"membership": "soft"}, "ball, nearest, hat, smooth"),
        ({"aggregation": "max"}, "weighted, sum, mean"),
        ({"center": "mass"}, "centroid, origin"),
        ({"init": "zero"}, "mean, sum, random"),
        ({"activation": "gelu"}, "relu, silu"),
        ({"aggregation": "mean"}, "init=random"),
        ({"orbits": 0}, "at least 1"),
        ({"delta": 0.0}, "positive"),
        ({"hidden_channels": 3}, "at least 8"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        GIGP(4, **{"group": SO3(), **options})


def test_positions_of_another_dimension():
    pos, feat, mask, *_ = cloud(dim=2)
    with pytest.raises(InputError, match="3-dimensional"):
        gigp()(feat, pos, mask)


def test_whole_numbers_are_no_features():
    """A membership is a share of a point, which they would round to nothing."""
    with pytest.raises(InputError, match=r"pass feat\.float"):
        GIGP(1, SO3())(
            torch.ones(1, 2, 1, dtype=torch.long),
            torch.randn(1, 2, 3),
            torch.ones(1, 2, dtype=torch.bool),
        )


def test_learned_is_flat_at_the_start_and_follows_the_weights():
    start = gigp(trained=False).learned()
    assert start["weight"] == [1.0] * 12
    assert start["response"] == pytest.approx([1.0] * 12, rel=1e-3)
    pool = gigp(trained=False)
    with torch.no_grad():
        pool.weight[3] = 2.0
    assert pool.learned()["response"][3] == pytest.approx(2.0, rel=1e-3)
    assert MeanPool(4).learned() == {}


def test_readouts_state_how_many_channels_they_return():
    factors = {name: readout(name, 6).out_channels / 6 for name in READOUTS}
    assert factors == {
        name: {"set2set": 2, "quantiles": 3, "multi": 4}.get(name, 1) for name in READOUTS
    }
    assert len(READOUTS) == 8


def test_readouts_are_what_pyg_computes_on_each_cloud():
    pos, feat, mask, *_ = cloud()
    aggregation = Set2Set(4, processing_steps=2).double()
    pool = Readout(4, lambda channels: Set2Set(channels, processing_steps=2)).double()
    pool.aggregation.load_state_dict(aggregation.state_dict())
    expected = torch.cat(
        [
            aggregation(f[m], torch.zeros_like(m[m], dtype=torch.long))
            for f, m in zip(feat, mask, strict=False)
        ]
    )
    torch.testing.assert_close(pool(feat, pos, mask), expected)
    torch.testing.assert_close(
        Readout(4, MeanAggregation())(feat, pos, mask), MeanPool(4)(feat, pos, mask)
    )
    assert (pool(feat, pos, torch.zeros_like(mask)) == 0).all()
    with pytest.raises(InputError, match="cannot pool 5 channels"):
        Readout(5, Set2Set(4, processing_steps=2))
