"""Properties of groups, pools, and the data boundary on whatever clouds Hypothesis thinks of: none
or many points, coincident ones, points at the origin, huge and tiny coordinates, any floating type,
any memory layout.
"""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gigp import GIGP, GIGPAggregation
from gigp.errors import InputError
from gigp.groups import SO3
from gigp.lab.data.sampler import check_finite
from gigp.pointcloud import PointCloud
from gigp.pools.base import MaxPool, MeanPool, SumPool
from gigp.pools.controls import MeanMLP, PointMLP
from tests.groups.common import GROUPS, leaves_out_the_origin

CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
anywhere = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
few = settings(max_examples=20, deadline=None, derandomize=True, database=None)
CHANNELS = 3
# powers of ten that coordinates may have: their squares have to fit
RANGES = {
    torch.float16: (-3, 1),
    torch.bfloat16: (-10, 10),
    torch.float32: (-10, 17),
    torch.float64: (-100, 150),
}
POOLS = {
    "mean": lambda: MeanPool(CHANNELS),
    "sum": lambda: SumPool(CHANNELS),
    "max": lambda: MaxPool(CHANNELS),
    "mean_mlp": lambda: MeanMLP(CHANNELS),
    "radial_deepsets": lambda: PointMLP(CHANNELS, SO3()),
    **{
        name: lambda options=options: GIGP(CHANNELS, SO3(), orbits=5, **options)
        for name, options in {
            "ball": {},
            "nearest": {"membership": "nearest"},
            "hat": {"membership": "hat"},
            "smooth": {"membership": "smooth", "activation": "silu"},
            "paper": {"normalize": False},
            "origin": {"center": "origin"},
            "mean of orbits": {"aggregation": "mean", "init": "random"},
        }.items()
    },
}


@dataclass
class Case:
    """Clouds (B, N, d) of one type, with what is special about them.

    Attributes:
        scale: scale of the coordinates.
        layout: memory layout of positions and features.
    """

    pos: Tensor
    feat: Tensor
    mask: Tensor
    scale: float
    layout: str

    def to(self, device: str) -> "Case":
        """On another device, where it is laid out again."""
        pos, feat = (laid(x.to(device), self.layout) for x in (self.pos, self.feat))
        return replace(self, pos=pos, feat=feat, mask=self.mask.to(device))

    def __repr__(self) -> str:
        shape, dtype = tuple(self.pos.shape), self.pos.dtype
        sizes = self.mask.sum(1).tolist()
        return f"Case({shape}, {dtype}, scale={self.scale}, {self.layout}, sizes={sizes})"


def laid(x: Tensor, layout: str) -> Tensor:
    """The same values, otherwise in memory."""
    if layout == "transposed":
        return x.transpose(0, 2).contiguous().transpose(0, 2)
    if layout == "strided":
        return x.repeat_interleave(2, 1)[:, ::2]
    if layout == "offset":
        return torch.cat([torch.full_like(x[..., :1], torch.nan), x], -1)[..., 1:]
    return x


@st.composite
def cases(draw, dim: int = 3, dtypes=tuple(RANGES)) -> Case:
    dtype, layout = (
        draw(st.sampled_from(dtypes)),
        draw(st.sampled_from(["plain", "transposed", "strided", "offset"])),
    )
    clouds, points = draw(st.integers(0, 3)), draw(st.integers(0, 9))
    sizes = torch.tensor([draw(st.integers(0, points)) for _ in range(clouds)], dtype=torch.long)
    kind = draw(
        st.sampled_from(["random", "random", "coincident", "origin", "one at the origin", "pairs"])
    )
    scale = 10.0 ** draw(st.integers(*RANGES[dtype]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    pos = torch.randn(clouds, points, dim, generator=generator, dtype=torch.float64).clamp(-3, 3)
    if kind == "coincident":
        pos = pos[:, :1].expand_as(pos)
    if kind == "origin":
        pos = torch.zeros_like(pos)
    if kind == "one at the origin":
        pos[:, :1] = 0
    if kind == "pairs":
        pos[:, 1::2] = pos[:, : points - 1 : 2] if points > 1 else pos[:, 1::2]
    feat = torch.randn(clouds, points, CHANNELS, generator=generator, dtype=torch.float64)
    mask = torch.arange(points) < sizes[:, None]
    pos, feat = (laid((x * s).to(dtype), layout) for x, s in ((pos, scale), (feat, 1.0)))
    return Case(pos, feat, mask, scale, layout)


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    eps = torch.finfo(dtype).eps
    return {"rtol": 60 * eps, "atol": 60 * eps}


def trained(name: str, case: Case) -> torch.nn.Module:
    """A pool whose orbits are spaced over the case's own radii, in its floating type."""
    torch.manual_seed(0)
    pool = POOLS[name]().to(case.pos.device, case.pos.dtype)
    if isinstance(pool, GIGP):
        pool.orbits.delta = 0.2 * case.scale
        pool.orbits.fit(0.0, 3 * case.scale)
    return pool


@pytest.mark.parametrize("name", POOLS)
@anywhere
@few
@given(case=cases())
def test_pools(name, case, device):
    """Finite, of the right shape and type; order, padding, memory layout and other clouds are of no
    consequence.
    """
    case = case.to(device)
    pool = trained(name, case)
    pos, feat, mask = case.pos, case.feat, case.mask
    out = pool(feat, pos, mask)
    assert (out.shape, out.dtype) == ((len(pos), CHANNELS), feat.dtype)
    assert out.isfinite().all()
    assert (out[~mask.any(1)] == 0).all()
    close = tolerance(feat.dtype)
    torch.testing.assert_close(pool(feat.contiguous(), pos.contiguous(), mask), out, **close)
    one = (0, 0, 0, 1)  # more point
    padded = pool(
        F.pad(feat, one, value=torch.inf), F.pad(pos, one, value=torch.nan), F.pad(mask, (0, 1))
    )
    torch.testing.assert_close(padded, out, **close)
    for i in range(len(pos)):
        alone = slice(i, i + 1)
        torch.testing.assert_close(pool(feat[alone], pos[alone], mask[alone]), out[alone], **close)


@pytest.mark.parametrize("membership", ["ball", "hat", "smooth"])
@anywhere
@few
@given(case=cases(dtypes=(torch.float32, torch.float64)))
def test_aggregation_is_the_pool(membership, case, device):
    """On any list of points, sorted or not, with graphs without points and lists without graphs."""
    case = case.to(device)
    torch.manual_seed(0)
    aggr = GIGPAggregation(CHANNELS, SO3(), orbits=5, membership=membership, delta=0.2 * case.scale)
    aggr.to(device, case.pos.dtype).pool.orbits.fit(0.0, 3 * case.scale)
    num, order = len(case.pos), torch.randperm(int(case.mask.sum())).to(device)
    index = torch.arange(num, device=device)[:, None].expand(case.mask.shape)
    x, pos, index = (t[case.mask][order] for t in (case.feat, case.pos, index))
    out = aggr(x, index, dim_size=num, pos=pos)
    assert (out.shape, out.dtype) == ((num, CHANNELS), x.dtype)
    torch.testing.assert_close(out, aggr.pool(case.feat, case.pos, case.mask), **tolerance(x.dtype))


@pytest.mark.parametrize("group", GROUPS, ids=str)
@anywhere
@few
@given(data=st.data())
def test_groups(group, data, device):
    """Lifts reach their points; nothing is NaN, in values or gradients, at any scale and wherever
    points coincide.
    """
    case = data.draw(cases(group.dim, (torch.float32, torch.float64))).to(device)
    x = case.pos.clone().requires_grad_()
    u, q = group.lift(x)[..., 0, :, :], group.orbit(x)
    assert u.shape == (*x.shape[:-1], group.rep_dim, group.rep_dim)
    assert q.shape == (*x.shape[:-1], group.q_embed_dim)
    back = group.act(u, group.representative(q))
    # scalings leave out the origin
    left_out = (x.norm(dim=-1) < 1e-8) & (leaves_out_the_origin(group))
    assert (left_out | ((back - x).norm(dim=-1) <= 1e-4 * case.scale)).all()
    a = group.relative(u.unsqueeze(-3), u.unsqueeze(-4))
    assert a.shape == (*x.shape[:-1], x.shape[-2], group.lie_dim)
    distance = group.distance(a, q.unsqueeze(-2), q.unsqueeze(-3))
    assert distance.isfinite().all()
    assert (distance >= 0).all()
    (gradient,) = torch.autograd.grad(distance.sum() / case.scale + 0 * x.sum(), x)
    assert gradient.isfinite().all()


@few
@given(case=cases(dtypes=(torch.float32, torch.float64)), data=st.data())
def test_numbers_that_are_not_finite_are_refused_with_their_place(case, data):
    """Where data enter: every batch of every data set passes `check_finite`."""
    assume(case.mask.any())
    cloud, samples = PointCloud(case.pos, case.feat, case.mask), torch.arange(len(case.pos)) + 700
    check_finite(cloud, samples)
    bad = data.draw(st.sampled_from([torch.nan, torch.inf, -torch.inf]))
    real = case.mask.nonzero().tolist()
    i, point = data.draw(st.sampled_from(real))
    what, values = data.draw(
        st.sampled_from([("position", case.pos.clone()), ("feature", case.feat.clone())])
    )
    channel = data.draw(st.integers(0, 2))
    values[i, point, channel] = bad
    spoiled = cloud._replace(**{"pos" if what == "position" else "feat": values})
    with pytest.raises(
        InputError, match=f"^{what} {channel} of point {point} in sample {700 + i} is {bad}; every"
    ):
        check_finite(spoiled, samples)
    huge = case.pos.clone()
    huge[i, point, 0] = torch.finfo(huge.dtype).max / 9  # finite, but its square is not
    with pytest.raises(
        InputError, match=f"^position 0 of point {point} in sample {700 + i} is .*; every"
    ):
        check_finite(cloud._replace(pos=huge), samples)
    if free := (~case.mask).nonzero().tolist():  # padding may hold anything
        i, point = data.draw(st.sampled_from(free))
        anything = case.pos.clone()
        anything[i, point] = bad
        check_finite(cloud._replace(pos=anything), samples)
