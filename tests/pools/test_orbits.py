"""Memberships: what sums to one, what is continuous, what is smooth, and that forces are finite
everywhere.
"""

import math

import pytest
import torch
from scipy.interpolate import BSpline

from gigp.errors import InputError
from gigp.groups import SO3
from gigp.pools.gigp import GIGP
from gigp.pools.orbits import Orbits, cubic_spline

PERIOD = 2 * math.pi
FINE = 1201


def fitted(num=12, membership="smooth", period=None, low=0.0, high=4.0) -> Orbits:
    orbits = Orbits(num, membership, period=period).double()
    orbits.fit(low, high)
    return orbits


def pool(membership, activation="silu", center="origin", **options) -> GIGP:
    """A pool whose parameters are far from their start."""
    torch.manual_seed(0)
    options = {"orbits": 8, "hidden_channels": 16, **options}
    gigp = GIGP(
        3, SO3(), membership=membership, center=center, activation=activation, **options
    ).double()
    gigp.orbits.fit(0.0, 4.0)
    for parameter in gigp.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return gigp


def steps(membership, order, path, **options):
    """Largest step of the `order`-th derivative of the output along a path of positions, on a grid
    and on one twice as
    fine: a jump stays, a continuous function halves it."""
    gigp = pool(membership, **options)
    s = torch.linspace(-1, 1, 2 * FINE - 1, dtype=torch.float64, requires_grad=True)
    pos = path(s)  # (S, N, 3)
    feat = torch.randn(pos.shape[1], 3, dtype=torch.float64).expand(len(s), -1, -1)
    y = gigp(feat, pos, torch.ones(pos.shape[:2], dtype=torch.bool))[:, 0]
    for _ in range(order):
        (y,) = torch.autograd.grad(y.sum(), s, create_graph=True)
    assert y.isfinite().all()
    return (y[2::2] - y[:-2:2]).abs().max().item(), (y[1:] - y[:-1]).abs().max().item()


def swelling(s):
    """Five points whose radii grow from inside the fitted range to beyond its end."""
    base = torch.linspace(0.2, 3.0, 5, dtype=s.dtype)[:, None] * torch.nn.functional.normalize(
        torch.randn(5, 3, dtype=s.dtype, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    return (1.3 + 0.9 * s)[:, None, None] * base


def crossing(s):
    """A point that passes through the center, beside two that rest."""
    moving = torch.stack([s, 0 * s, 0 * s], -1)
    return torch.stack([moving, 0 * moving + 1.0, 0 * moving - 0.7], 1)


@pytest.mark.parametrize("path", [swelling, crossing])
@pytest.mark.parametrize(
    ("membership", "order", "jumps"),
    [
        ("ball", 0, True),
        ("nearest", 0, True),
        ("hat", 0, False),
        ("hat", 1, True),
        ("smooth", 0, False),
        ("smooth", 1, False),
        ("smooth", 2, False),
    ],
)
def test_what_jumps(membership, order, jumps, path):
    coarse, fine = steps(membership, order, path)
    assert fine / coarse > 0.9 if jumps else fine / coarse < 0.6


def test_relu_has_kinks_that_silu_has_not():
    """Smooth memberships are not enough: the MLP must be smooth, too."""
    coarse, fine = steps("smooth", 1, swelling, activation="relu")
    assert fine / coarse > 0.9


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_other_aggregations_are_smooth(aggregation):
    coarse, fine = steps("smooth", 2, swelling, aggregation=aggregation, init="random")
    assert fine / coarse < 0.6


def test_spline_is_the_cubic_b_spline():
    t = torch.linspace(-3, 3, 601, dtype=torch.float64)
    scipys = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    expected = torch.nan_to_num(torch.from_numpy(scipys(t.numpy())))
    torch.testing.assert_close(cubic_spline(t), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("membership", ["hat", "smooth"])
@pytest.mark.parametrize("num", [1, 2, 3, 4, 50])
@pytest.mark.parametrize("period", [None, PERIOD])
def test_every_point_counts_once(membership, num, period):
    if membership == "smooth" and period is not None and num in (2, 3):
        with pytest.raises(InputError, match=">= 4"):
            fitted(num, membership, period)
        return
    orbits = fitted(num, membership, period)
    orbits.normalize = False
    q = torch.linspace(-9, 9, 1000, dtype=torch.float64)
    m = orbits(q[None], torch.ones(1, 1000, dtype=torch.bool))[0]
    assert (m >= 0).all()
    torch.testing.assert_close(m.sum(-1), torch.ones(1000, dtype=torch.float64))


def test_smooth_orbits_are_flat_outside_the_fitted_range():
    orbits = fitted()
    mask = torch.ones(1, 2, dtype=torch.bool)
    ends, beyond = (
        orbits(torch.tensor([q], dtype=torch.float64), mask) for q in ([0.0, 4.0], [-7.0, 9.0])
    )
    torch.testing.assert_close(ends, beyond)
    torch.testing.assert_close(beyond[0, 0, 0], torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("center", ["origin", "centroid"])
def test_gradients_of_first_and_second_order(center):
    """Against finite differences, with an atom exactly at the center."""
    gigp = pool("smooth", center=center)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 3, dtype=torch.float64, generator=generator)
    pos = torch.cat([x, -x, torch.zeros(1, 1, 3, dtype=torch.float64)], 1).requires_grad_()
    feat = torch.randn(1, 9, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    mask = torch.ones(1, 9, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda p, f: gigp(f, p, mask), (pos, feat))
    assert torch.autograd.gradgradcheck(lambda p, f: gigp(f, p, mask), (pos, feat), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("membership", ["hat", "smooth"])
def test_forces_are_finite_everywhere(membership, dtype):
    """Coincident points, points at the center, far out, and one ulp inside the reach of an
    orbit.
    """
    gigp = pool(membership, center="centroid").to(dtype)
    edge = gigp.orbits.centers[3] + 2 * gigp.orbits.spacing
    radii = torch.stack(
        [edge, torch.nextafter(edge, 0 * edge), 0 * edge, 1e-30 + 0 * edge, 1e4 + 0 * edge]
    )
    pos = torch.zeros(3, 5, 3, dtype=dtype)
    pos[1, :, 0], pos[2, :2, 0] = radii, torch.stack([radii[1], -radii[1]])
    pos.requires_grad_()
    out = gigp(torch.randn(3, 5, 3, dtype=dtype), pos, torch.ones(3, 5, dtype=torch.bool))
    (force,) = torch.autograd.grad(out.square().sum(), pos, create_graph=True)
    assert force.isfinite().all()
    if membership == "smooth":
        (curvature,) = torch.autograd.grad(force.square().sum(), pos)
        assert curvature.isfinite().all()
        assert force[2].abs().sum() > 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("normalize", [True, False])
def test_automatic_balls_suit_any_unit(scale, normalize):
    """Memberships do not change with the unit, no point is lost, few are in two balls."""
    q = torch.linspace(0, 4, FINE).double()[None]
    orbits = Orbits(9, normalize=normalize).double()
    orbits.fit(0.0, 4.0 * scale)
    m = orbits(q * scale, q >= 0)
    if not normalize:
        assert (m.sum(-1) >= 1).all()
        assert (m.sum(-1) == 1).double().mean() > 0.95
    one = Orbits(9, normalize=normalize).double()
    one.fit(0.0, 4.0)
    assert (m - one(q, q >= 0)).abs().max(-1).values.gt(1e-9).double().mean() < 0.01


@pytest.mark.parametrize(
    ("options", "high", "warns"),
    [
        ({"delta": 0.5}, 6.0, False),  # molecules in Angstrom
        ({"delta": 0.5}, 1.0, True),  # in a unit ball
        ({"delta": 0.5}, 0.6, True),  # in nm
        ({"delta": "auto"}, 1.0, False),
        ({"delta": 0.5, "membership": "hat"}, 1.0, False),
        ({"delta": 0.5, "num": 4}, 3.0, False),  # balls that touch
        ({"delta": 0.5, "num": 1}, 3.0, False),
    ],
)
def test_balls_over_many_centers_are_named(options, high, warns, recwarn):
    Orbits(**options).fit(0.0, high)
    assert [str(w.message)[:26] for w in recwarn] == (["a ball of radius delta=0.5"] * warns)


@pytest.mark.parametrize("delta", [0, -1.0, "automatic", math.nan])
def test_wrong_radii(delta):
    with pytest.raises(InputError, match=r"must be positive, or auto\."):
        Orbits(delta=delta)
