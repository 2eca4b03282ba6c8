"""Every group: exp and log against scipy, the group axioms, lifts, orbits, distances, and finite
gradients.
"""

import math

import pytest
import torch
from scipy.linalg import expm, logm

from gigp.errors import InputError
from gigp.groups import E3, SO2, SO3, Rx, RxSO2, T, Trivial
from gigp.groups.series import norm
from gigp.groups.translations import Translations
from gigp.testing import random_element
from tests.groups.common import GROUPS, connected_element, leaves_out_the_origin, rotations

MAGNITUDES = [10.0**e for e in range(-9, 1)] + [3.0, math.pi - 1e-3, math.pi - 1e-6]


@pytest.fixture(params=GROUPS, ids=str)
def group(request):
    torch.manual_seed(0)
    return request.param


def points(group, num=50) -> torch.Tensor:
    return torch.randn(num, group.dim, dtype=torch.float64)


def algebra(group, magnitude, num=20) -> torch.Tensor:
    """Random algebra elements whose rotation part has exactly this angle."""
    a = torch.randn(num, group.lie_dim, dtype=torch.float64)
    turn = rotations(group)
    if turn:
        a[:, turn] *= magnitude / a[:, turn].norm(dim=-1, keepdim=True)
    rest = [i for i in range(group.lie_dim) if i not in turn]
    a[:, rest] *= min(magnitude, 1.0)
    return a


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_exp_and_log_agree_with_scipy(group, magnitude):
    a = algebra(group, magnitude)
    basis = group.generators().double()
    g = group.exp(a)
    for x, y in zip(a, g, strict=True):
        matrix = torch.einsum("i,ijk->jk", x, basis)
        expected = torch.from_numpy(expm(matrix.numpy()))
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-13)
        if magnitude < 3.1:  # scipy's own logm loses digits towards pi
            log = torch.from_numpy(logm(y.numpy()).real)
            torch.testing.assert_close(
                torch.einsum("i,ijk->jk", group.log(y), basis), log, rtol=1e-9, atol=1e-13
            )
    # rounding of the matrix moves the logarithm by eps, and by eps / distance next to the jump at
    # pi
    torch.testing.assert_close(group.log(g), a, rtol=1e-8, atol=1e-15 + 1e-9 * magnitude)


def test_axioms(group):
    g, h = random_element(group, 10), random_element(group, 10, seed=1)
    x = points(group, 10)
    eye = torch.eye(group.rep_dim, dtype=torch.float64).expand_as(g)
    torch.testing.assert_close(group.inverse(g) @ g, eye)
    torch.testing.assert_close(group.act(g, group.act(h, x)), group.act(g @ h, x))
    torch.testing.assert_close(group.act(eye, x), x)
    connected = connected_element(group, 10)
    torch.testing.assert_close(group.exp(group.log(connected)), connected)
    torch.testing.assert_close(group.commutative, bool(torch.allclose(g @ h, h @ g)))


def test_relative(group):
    u, v = connected_element(group, 6)[:, None], connected_element(group, 5, seed=1)
    expected = group.log(group.inverse(v) @ u)
    torch.testing.assert_close(group.relative(u, v), expected)
    assert group.relative(u, v).shape == (6, 5, group.lie_dim)
    assert group.relative(u, u).abs().sum() < 1e-7


def test_relative_and_distance_are_invariant(group):
    g, x = random_element(group, 1)[0], points(group)
    u = group.lift(x)[:, 0]
    q = group.orbit(x)
    moved = g @ u
    a, b = group.relative(u[:, None], u), group.relative(moved[:, None], moved)
    torch.testing.assert_close(a, b)
    distance = group.distance(a, q[:, None], q[None])
    assert (distance >= 0).all()
    assert distance.diagonal().abs().max() < 1e-7
    off = distance + torch.eye(len(x)) * 9
    assert off.min() > 0
    torch.testing.assert_close(distance, distance.T)


def test_lifts_reach_the_point(group):
    x = points(group)
    x[0] = x[0] if leaves_out_the_origin(group) else 0
    # opposite of the axis that SO(3) lifts start from
    x[1] = torch.tensor([-1.0, 0, 0, 0][: group.dim])
    stabilizer = None if group.free else group.stabilizer(len(x), num_lifts=3, dtype=x.dtype)
    lifts = group.lift(x, stabilizer)
    base = group.representative(group.orbit(x)).unsqueeze(-2)
    torch.testing.assert_close(
        group.act(lifts, base), x.unsqueeze(-2).expand(-1, lifts.shape[1], -1)
    )


def test_stabilizers_fix_and_are_uniform(group):
    if group.free:
        with pytest.raises(InputError, match="acts freely"):
            group.stabilizer(3)
        with pytest.raises(InputError, match="num_lifts=1"):
            group.lift(points(group), torch.eye(group.rep_dim).expand(50, 2, -1, -1))
        return
    s = group.stabilizer(4000, num_lifts=2, dtype=torch.float64)
    base = group.representative(group.orbit(points(group, 1))[0])
    torch.testing.assert_close(group.act(s, base), base.expand(4000, 2, -1))
    d = group.dim
    mean = s[..., :d, :d].mean(0)  # of each lift: the projection on what the stabilizer fixes
    fixed = torch.zeros(d, d, dtype=torch.float64)
    if isinstance(group, SO3):
        fixed[0, 0] = 1
    assert (mean - fixed).abs().max() < 0.06


def test_orbits(group):
    g, x = random_element(group, 50), points(group)
    q = group.orbit(x)
    assert q.shape == (50, group.q_embed_dim)
    torch.testing.assert_close(group.orbit(group.act(g, x)), q)
    if group.q_dim:
        assert torch.pdist(q).min() > 0
    if group.q_dim == 1:
        torch.testing.assert_close(
            group.orbit_coordinate(group.act(g, x)), group.orbit_coordinate(x)
        )
    else:
        with pytest.raises(InputError, match="apart, not one"):
            group.orbit_coordinate(x)


def test_gradients_are_finite_where_formulas_divide_by_zero(group):
    for magnitude in [0.0, 1e-160, 1e-30, 1e-8, 0.5, 2.0, math.pi - 1e-9, math.pi, 3 * math.pi / 2]:
        direction = algebra(group, 1.0, num=4)
        for dtype in (torch.float64, torch.float32):
            a = (magnitude * direction).to(dtype).requires_grad_()
            for value in (
                group.log(group.exp(a)),
                group.relative(group.exp(a), group.exp(a.detach())),
            ):
                assert value.isfinite().all()
                if group.lie_dim:
                    (grad,) = torch.autograd.grad(
                        value.square().sum() + value.sum(), a, retain_graph=True
                    )
                    assert grad.isfinite().all(), magnitude
    x = torch.zeros(3, group.dim, dtype=torch.float64)
    x[1, 0] = -1
    x.requires_grad_()
    u = group.lift(x)
    q = group.orbit(x)
    a = group.relative(u, u.squeeze(1))
    value = group.distance(a, q[:, None], q[None]).sum() + a.sum() + q.sum()
    (grad,) = torch.autograd.grad(value, x, allow_unused=True)
    assert value.isfinite()
    assert grad is None or grad.isfinite().all()


@pytest.mark.parametrize("magnitude", [1e-3, 0.3, 0.5, 1.0, 2.5])
def test_gradients_are_right(group, magnitude):
    a = algebra(group, magnitude, num=2).requires_grad_()
    b = connected_element(group, 2)
    if group.lie_dim:
        assert torch.autograd.gradcheck(lambda a: group.relative(group.exp(a), b), a)
        assert torch.autograd.gradcheck(lambda a: group.log(group.exp(a)), a)


def test_single_precision_agrees(group):
    a = algebra(group, 1.0)
    torch.testing.assert_close(group.log(group.exp(a.float())).double(), a, rtol=1e-4, atol=1e-5)


def test_names_and_bad_values(group):
    assert str(group) == group.name
    assert group.name in repr(group)
    with pytest.raises(InputError, match=f"{group.dim}-dimensional"):
        group.lift(torch.randn(4, group.dim + 1))
    with pytest.raises(InputError, match=r"alpha=1\.5"):
        type(group)(*([group.dim] if isinstance(group, Trivial | T) else []), alpha=1.5)


def test_nan_stays_nan(group):
    """A point without a place must not become one at the origin, in value or gradient."""
    x = points(group, 3)
    x[1, 0] = torch.nan
    x.requires_grad_()
    u, q = group.lift(x)[:, 0], group.orbit(x)
    a = group.relative(u[:, None], u)
    distance = group.distance(a, q[:, None], q[None])
    if group.lie_dim or group.q_dim:
        assert distance[1].isnan().all()
        assert distance[0, 2].isfinite()
        (gradient,) = torch.autograd.grad(distance[1].sum(), x)
        assert gradient[1].isnan().any()
    if group.q_dim == 1 and not isinstance(group, Translations):
        assert group.orbit_coordinate(x)[1].isnan()


def test_pair_inputs(group):
    """As many as the group says, the same for pairs that move together, and those of other pairs
    differ.
    """
    g, x = random_element(group, 1)[0], points(group, 6)

    def inputs(u: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q = group.orbit(x)
        return group.pair_inputs(u[:, None], u, q[:, None], q)

    u = group.lift(x)[:, 0]
    a, distance = inputs(u, x)
    assert a.shape == (6, 6, group.pair_channels)
    assert distance.shape == (6, 6)
    for found, expected in zip(inputs(g @ u, group.act(g, x)), (a, distance), strict=True):
        torch.testing.assert_close(found, expected)
    sheared = x + 0.5 * x.roll(1, -1)
    other, _ = inputs(group.lift(sheared)[:, 0], sheared)
    assert not torch.allclose(other, a)


def test_distances_and_gaussians():
    """exp(-(d / s - k)^2 / 2) for the spacing s of the Gaussians; finite gradients where two points
    meet.
    """
    x = torch.tensor([[0.0, 0, 0], [0, 0, 3], [0, 0, 0]]).requires_grad_()
    u = E3().section(x)
    inputs, distance = E3(gaussians=3, cutoff=6.0).pair_inputs(u[:, None], u, x, x)
    assert distance[:, 0].tolist() == [0, 3, 0]
    half, two = math.exp(-0.5), math.exp(-2)
    expected = torch.tensor([[0, 1, half, two], [3, half, 1, half], [0, 1, half, two]])
    torch.testing.assert_close(inputs[:, 0], expected)
    (gradient,) = torch.autograd.grad(inputs.sum(), x)
    assert gradient.isfinite().all()
    assert E3(gaussians=0).pair_channels == 1


def test_reflections_have_no_logarithm():
    group, g = E3(), random_element(E3(), 40)
    reflects = torch.linalg.det(g[:, :3, :3]) < 0
    assert 5 < int(reflects.sum()) < 35
    assert torch.equal(group.log(g).isnan().any(-1), reflects)


@pytest.mark.parametrize(
    "options", [{"gaussians": 1}, {"gaussians": -1}, {"cutoff": 0.0}, {"cutoff": math.inf}]
)
def test_bad_gaussians(options):
    with pytest.raises(InputError, match="use no Gaussians or at least 2, and a positive length"):
        E3(**options)


def test_norm_of_nan():
    x = torch.tensor([[torch.nan, 0.0], [0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    value = norm(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value[0].isnan()
    assert value[1:].tolist() == [0, 5]
    assert gradient[0].isnan().any()
    assert gradient[1:].tolist() == [[0, 0], [pytest.approx(0.6), pytest.approx(0.8)]]


def test_so2_distance_is_relative_in_the_radius():
    group, a = SO2(alpha=0.2), torch.tensor([[0.5]])
    near = group.distance(a, torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    far = group.distance(a, torch.tensor([[10.0]]), torch.tensor([[20.0]]))
    torch.testing.assert_close(near, far, rtol=1e-3, atol=0)
    torch.testing.assert_close(near, torch.tensor([0.2 * 0.5 + 0.8 / 3.001]))


def test_scaling_distance_is_the_same_relative_radius():
    group = RxSO2(alpha=0.3)
    ratio = math.log(3.0)
    d = group.distance(torch.tensor([[ratio, 0.5]]), torch.zeros(1, 0), torch.zeros(1, 0))
    torch.testing.assert_close(d, torch.tensor([0.3 * 0.5 + 0.7 * (3 - 1) / (3 + 1)]))


def test_ray_angle_has_no_jump():
    above, below = torch.tensor([-1.0, 1e-9]).double(), torch.tensor([-1.0, -1e-9]).double()
    group = Rx()
    assert (group.orbit_coordinate(above) - group.orbit_coordinate(below)).abs() > 6
    assert (group.orbit(above) - group.orbit(below)).norm() < 1e-8
    assert group.period == 2 * math.pi
