"""Modules travel: copies, files and other processes; and buffers that are restored in place."""

import copy
import io
import pickle

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.autograd import forward_ad

from gigp import GIGP, GIGPAggregation, LieResNet, PointCloud
from gigp.errors import InputError
from gigp.groups import SE3, SO2, SO3, T
from tests.pools.common import NAMES, cloud, make


def through_pickle(module: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(module))


def through_a_file(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = (through_pickle, through_a_file, copy.deepcopy)


def nets() -> dict[str, tuple[LieResNet, PointCloud]]:
    """Networks with radii to set, one of them on a grid, and clouds for them."""
    torch.manual_seed(0)
    points, pixels = cloud(channels=3), cloud((9, 9), channels=3, dim=2)
    grid = pixels.pos[0].float()
    options = {"width": 8, "blocks": 2, "fill": 0.5}
    return {
        "T(3)": (LieResNet(3, T(3), **options).double(), points),
        "SE(3)": (LieResNet(3, SE3(), num_lifts=2, **options).double(), points),
        "grid": (
            LieResNet(3, SO2(), grid=grid, **options),
            PointCloud(grid[None], pixels.feat.float(), pixels.mask[:1]),
        ),
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["T(3)", "SE(3)", "grid"])
def test_copies_of_networks(name, way):
    net, points = nets()[name]
    net.calibrate(points)
    assert torch.equal(way(net.eval())(points).feat, net(points).feat)


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_pools(name):
    pool, (pos, feat, mask, *_) = make(name), cloud()
    for way in WAYS:
        assert torch.equal(way(pool)(feat, pos, mask), pool(feat, pos, mask))


def aggregation() -> GIGPAggregation:
    aggr = GIGPAggregation(4, SO3(), orbits=5)
    aggr.pool.orbits.fit(0.0, 3.0)
    return aggr


def test_copies_of_the_aggregation():
    aggr, (x, pos) = aggregation(), (torch.randn(9, 4), torch.randn(9, 3))
    for way in WAYS:
        assert torch.equal(way(aggr)(x, pos=pos), aggr(x, pos=pos))


def compute(net: nn.Module, points: PointCloud, out: Tensor) -> None:
    """What another process does."""
    with torch.no_grad():
        out.copy_(net(points).feat)


@pytest.mark.slow
def test_another_process():
    net, points = nets()["SE(3)"]
    net.calibrate(points)
    expected = net.eval()(points).feat.detach()
    out = torch.zeros_like(expected).share_memory_()
    process = mp.get_context("spawn").Process(target=compute, args=(net, points, out))
    process.start()
    process.join()
    torch.testing.assert_close(out, expected)


def test_buffers_restored_in_place_count_as_set():
    """As distributed checkpoints restore them: without `load_state_dict`."""
    net, points = nets()["T(3)"]
    pool = GIGP(8, SO3(), orbits=4, divisor="constant").double()
    both = nn.ModuleList([net, pool]).eval()
    with pytest.raises(InputError, match="radii"):
        net(points)
    trained = copy.deepcopy(both)
    trained[0].calibrate(points)
    trained[1].fit([cloud(channels=8)])
    state = both.state_dict()
    for name, value in trained.state_dict().items():
        state[name].copy_(value)
    feat = net(points).feat
    out = pool(feat, points.pos, points.mask)
    torch.testing.assert_close(out, trained[1](feat, points.pos, points.mask))


@pytest.mark.parametrize("rows", [2, 40])
def test_derivatives_in_forward_mode(rows):
    """At sizes below and above those of the paths for CPUs; against gradients."""
    torch.manual_seed(0)
    net = LieResNet(3, T(3), width=16, blocks=2).eval()
    pool = GIGP(16, SO3(), orbits=9, membership="smooth", activation="silu")
    pool.orbits.fit(0.0, 4.0)
    pos, feat = torch.randn(rows, 30, 3), torch.randn(rows, 30, 3)
    mask = torch.ones(rows, 30) > 0

    def model(pos: Tensor) -> Tensor:
        points = net(PointCloud(pos, feat, mask))
        return pool(points.feat, points.pos, points.mask).square().sum()

    direction = torch.randn_like(pos)
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(model(forward_ad.make_dual(pos, direction)))
    (grad,) = torch.autograd.grad(model(pos.requires_grad_()), pos)
    torch.testing.assert_close(out.tangent, (grad * direction).sum(), rtol=1e-3, atol=1e-4)
