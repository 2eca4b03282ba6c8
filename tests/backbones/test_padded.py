"""The padded layout gives the numbers of the packed one: training, evaluation, gradients."""

import copy

import pytest
import torch

from gigp.groups import SE3, SO2, T
from gigp.pointcloud import PointCloud, Sizes
from tests.backbones.test_lieconv_net import GROUPS, backbone, cloud

SIZES = (7, 12, 4, 0, 1, 12)
OPTIONS = {
    "ball": {"max_neighbors": 99},
    "full": {"max_neighbors": 99, "fill": 1.0},
    "kept": {"max_neighbors": 99, "keep_fraction": 0.3},
}
CASES = [(group, options, "exact") for group in GROUPS for options in OPTIONS]
CASES += [
    (group, options, known)
    for group in (T(3), SO2(), SE3())
    for options in OPTIONS
    for known in ("bounds", "nothing")
]


def host_knows(clouds: PointCloud, what: str) -> PointCloud:
    """The batch with its sizes known on the host, and with arbitrary values in the padding."""
    sizes = Sizes.of(clouds.mask)
    bounds = Sizes.at_most(sizes.points + 3, sizes.pairs + 20)
    known = {"exact": sizes, "bounds": bounds, "nothing": None}[what]
    pos, feat = (
        torch.where(clouds.mask.unsqueeze(-1), x, torch.nan) for x in (clouds.pos, clouds.feat)
    )
    return PointCloud(pos, feat, clouds.mask, known)


def outcome(net, clouds, lifts):
    """Features of the real points, gradients, and the running statistics after a pass."""
    pos, feat = (x.clone().requires_grad_() for x in clouds[:2])
    out = net(clouds._replace(pos=pos, feat=feat), lifts)
    weight = torch.linspace(0.1, 1, out.feat.shape[-1], dtype=torch.float64)
    out.feat[out.mask].mul(weight).square().sum().backward()
    learned = [p.grad for p in net.parameters() if p.requires_grad]
    inputs = [x.grad[clouds.mask] for x in (pos, feat)]
    return [out.feat[out.mask], out.pos[out.mask], *inputs, *learned, *net.buffers()]


@pytest.mark.parametrize(("group", "options", "known"), CASES, ids=str)
def test_same_as_packed(group, options, known):
    clouds = cloud(group.dim, SIZES)
    lifts = None
    if not group.one_lift:
        lifts = group.stabilizer(*clouds.mask.shape, num_lifts=2, dtype=torch.float64)
        lifts = group.lift(clouds.pos, lifts)
    packed = backbone(group, **OPTIONS[options])
    padded = copy.deepcopy(packed)
    padded.geometry.layout = "padded"
    for mode in (True, False):
        expected = outcome(packed.train(mode), clouds, lifts)
        found = outcome(padded.train(mode), host_knows(clouds, known), lifts)
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_same_neighbors_in_evaluation(group):
    """Balls that hold more than `max_neighbors` points are sampled at the same ranks."""
    clouds = cloud(group.dim, SIZES)
    packed = backbone(group, max_neighbors=3, fill=0.8)
    padded = copy.deepcopy(packed)
    padded.geometry.layout = "padded"
    expected, found = packed(clouds), padded(host_knows(clouds, "exact"))
    torch.testing.assert_close(found.feat, expected.feat, rtol=1e-10, atol=1e-10)


def test_random_neighbors_are_real_and_in_the_ball():
    """Negative control of the mask: padding at the origin would be the nearest point of all."""
    clouds = cloud(3, SIZES)
    far = clouds._replace(pos=torch.where(clouds.mask.unsqueeze(-1), clouds.pos + 5, 0.0))
    net = backbone(GROUPS[1], max_neighbors=2, fill=0.5, layout="padded").train()
    layout = net.geometry.layout_of(far)
    neighborhood = net.geometry.neighborhoods(net.geometry(layout, far.pos))[0]
    counts = neighborhood.in_ball.sum(1).flatten()
    assert counts.max() == 2
    assert counts.min() >= 1
    cloud_of = layout.places.cloud
    neighbors = cloud_of[neighborhood.rows][neighborhood.in_ball.squeeze(-1)]
    queries = cloud_of[:, None].expand_as(neighborhood.rows)[neighborhood.in_ball.squeeze(-1)]
    assert torch.equal(neighbors, queries)
