"""GIGP: its equations, special cases, and the defects of the published prototype."""

import pytest
import torch

from gigp.errors import InputError
from gigp.groups import SE3, SO2, SO3, T, Trivial
from gigp.pools import GIGP, MeanPool, SumPool
from gigp.pools.controls import PointMLP
from gigp.testing import assert_invariant
from tests.pools.common import cloud, gigp

MEMBERSHIPS = ["ball", "nearest", "hat", "smooth"]


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
    pool = gigp(membership=membership, aggregation=aggregation, moved=False)
    torch.testing.assert_close(
        pool(feat, pos, mask), MeanPool(4)(feat, pos, mask), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("hidden_layers", [0, 1, 2, 4])
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_starts_as_mean_pooling_with_any_mlp(activation, hidden_layers):
    pos, feat, mask, *_ = cloud()
    pool = gigp(activation=activation, hidden_layers=hidden_layers, moved=False)
    torch.testing.assert_close(
        pool(feat, pos, mask), MeanPool(4)(feat, pos, mask), rtol=1e-12, atol=1e-12
    )
    pool = gigp(activation=activation, hidden_layers=hidden_layers)
    pool.reset_parameters()
    torch.testing.assert_close(
        pool(feat, pos, mask), MeanPool(4)(feat, pos, mask), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("point_layers", [1, 2])
def test_point_layers(point_layers):
    """An MLP on every point before the sums: starts as the mean; contains PointMLP, where phi and
    the orbits do nothing, and GIGP, where psi does nothing; padding makes no difference.
    """
    clouds = pos, feat, mask, *_ = cloud()
    feat = feat.masked_fill(~mask.unsqueeze(-1), torch.nan)
    pool = gigp(point_layers=point_layers, moved=False)
    torch.testing.assert_close(pool(feat, pos, mask), MeanPool(4)(clouds.feat, pos, mask))
    moved = gigp(point_layers=point_layers)
    point_mlp = PointMLP(4, hidden_layers=point_layers, hidden_channels=16).double()
    point_mlp.phi.load_state_dict(moved.psi.state_dict())
    pool.psi.load_state_dict(moved.psi.state_dict())
    torch.testing.assert_close(pool(feat, pos, mask), point_mlp(clouds.feat, pos, mask))
    plain = gigp()
    pool = gigp(point_layers=point_layers, moved=False)
    pool.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(pool(feat, pos, mask), plain(clouds.feat, pos, mask))
    everywhere = torch.func.functional_call(
        moved, dict(moved.named_parameters()), (feat, pos, mask)
    )
    torch.testing.assert_close(moved(feat, pos, mask), everywhere)
    assert (moved(feat, pos, mask) - plain(clouds.feat, pos, mask)).abs().max() > 1e-2


def test_starts_as_sum_pooling():
    pos, feat, mask, *_ = cloud()
    torch.testing.assert_close(
        gigp(init="sum", moved=False)(feat, pos, mask),
        SumPool(4)(feat, pos, mask),
        rtol=1e-12,
        atol=1e-12,
    )


def test_random_start_is_not_mean_pooling():
    pos, feat, mask, *_ = cloud()
    difference = gigp(init="random", moved=False)(feat, pos, mask) - MeanPool(4)(feat, pos, mask)
    assert difference.abs().max() > 1e-2


def test_overlapping_balls_without_normalization_are_not_mean_pooling():
    """The prototype's defect: a point in six or seven balls counts that often, fewer at the ends of
    the range.
    """
    pos, feat, mask, *_ = cloud((29, 20))
    pool = gigp(orbits=50, normalize=False, moved=False)
    assert (pool(feat, pos, mask) - MeanPool(4)(feat, pos, mask)).abs().max() > 1e-3


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


def test_hat_is_continuous_and_ball_jumps():
    pos, feat, mask, *_ = cloud((6,))
    steps = torch.linspace(0.9, 1.1, 2001, dtype=pos.dtype)

    def largest_step(membership):
        pool = gigp(membership=membership)
        clouds = steps[:, None, None] * pos  # (2001, 6, 3)
        y = pool(feat.expand(2001, -1, -1), clouds, mask.expand(2001, -1))
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
        ({"center": "median"}, "centroid, origin, mass"),
        ({"init": "zero"}, "mean, sum, random"),
        ({"activation": "gelu"}, "relu, silu"),
        ({"aggregation": "mean"}, "init=random"),
        ({"init": "sum", "divisor": "constant"}, "init=mean divisor=constant"),
        ({"divisor": "points"}, "count, constant"),
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


def test_response_is_flat_at_the_start_and_follows_the_weights():
    start = gigp(moved=False).orbit_response()
    assert start["weight"] == [1.0] * 12
    assert start["response"] == pytest.approx([1.0] * 12, rel=1e-3)
    pool = gigp(moved=False)
    with torch.no_grad():
        pool.weight[3] = 2.0
    assert pool.orbit_response()["response"][3] == pytest.approx(2.0, rel=1e-3)
    assert MeanPool(4).orbit_response() == {}


@pytest.mark.parametrize(
    ("clouds", "message"),
    [
        (cloud(), r"fit takes several batches of clouds; pass \[cloud\]"),
        ([tuple(cloud())], r"fit takes gigp\.PointCloud, not tuple; pass PointCloud\(pos, feat"),
        ([torch.ones(3)], "not Tensor"),
        ([], "hold no points"),
        ([cloud()._replace(mask=torch.zeros(3, 9) > 0)], "hold no points"),
    ],
)
def test_fit_on_something_else(clouds, message):
    with pytest.raises(InputError, match=message):
        GIGP(4, SO3()).fit(clouds)


def test_loaded_pool_compiles_and_exports_before_any_call():
    pos, feat, mask, *_ = cloud()
    options = {"orbits": 12, "hidden_channels": 16, "divisor": "constant"}
    pool = gigp(**options)

    def loaded() -> GIGP:
        fresh = GIGP(4, SO3(), **options).double()
        fresh.load_state_dict(pool.state_dict())
        return fresh

    expected = pool(feat, pos, mask)
    compiled = torch.compile(loaded(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(feat, pos, mask), expected)
    program = torch.export.export(loaded(), (feat, pos, mask)).module()
    torch.testing.assert_close(program(feat, pos, mask), expected)


def test_state_dict_of_a_pool_that_was_never_fitted():
    fresh = GIGP(4, SO3())
    fresh.load_state_dict(GIGP(4, SO3()).state_dict())
    pos, feat, mask, *_ = cloud()
    with pytest.raises(InputError, match=r"orbit centers are not set: call pool\.fit\(training_cl"):
        fresh(feat.float(), pos.float(), mask)


def test_same_without_and_with_empty_orbits(monkeypatch):
    """The CPU skips empty orbits; every other path evaluates them."""
    pos, feat, mask, *_ = cloud((5, 9, 0, 29))
    for membership in MEMBERSHIPS:
        pool = gigp(orbits=50, membership=membership)
        results = []
        for skip in (True, False):
            with monkeypatch.context() as patch:
                patch.setattr("gigp.nn.mlp.use_cpu_kernels", lambda x, skip=skip: skip)
                leaves = [feat.clone().requires_grad_(), pos.clone().requires_grad_()]
                out = pool(*leaves, mask)
                wanted = [leaves[0], *pool.parameters()]
                wanted += [leaves[1]] if membership in ("hat", "smooth") else []
                results.append([out, *torch.autograd.grad(out.square().sum(), wanted)])
        torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_per_sample_gradients_by_functorch():
    pos, feat, mask, *_ = cloud((5, 9, 3))
    pool = gigp()

    def loss(feat: torch.Tensor, pos: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return pool(feat[None], pos[None], mask[None]).square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss))(feat, pos, mask)
    for i in range(3):
        torch.testing.assert_close(gradients[i], torch.func.grad(loss)(feat[i], pos[i], mask[i]))


@pytest.mark.parametrize(
    "options",
    [
        *({"membership": membership} for membership in MEMBERSHIPS),
        {"aggregation": "sum", "init": "sum", "feed_center": False},
        {"aggregation": "mean", "init": "random", "membership": "hat"},
        {"normalize": False, "membership": "ball", "point_layers": 1},
    ],
)
def test_terms_of_the_orbits_add_up(options):
    pool, (pos, feat, mask, *_) = gigp(**options), cloud()
    terms, counts = pool.terms(feat, pos, mask)
    assert terms.shape == (len(feat), 12, 4)
    assert (terms[counts == 0] == 0).all()
    torch.testing.assert_close(terms.sum(1), pool(feat, pos, mask), rtol=1e-9, atol=1e-12)
