"""Readouts of PyTorch Geometric as pools."""

import pytest
import torch
from torch_geometric.nn.aggr import MeanAggregation, Set2Set

from gigp.errors import InputError
from gigp.pools import MeanPool
from gigp.pools.pyg import PyGPool
from tests.pools.common import NAMES, cloud, config_of, make, trained

PYG_POOLS = [name for name in NAMES if config_of(name).pool._target_.endswith("pyg.PyGPool")]


def test_out_channels():
    factors = {name: make(name, 6).out_channels / 6 for name in PYG_POOLS}
    wide = {"set2set": 2, "quantiles": 3, "multi": 4}
    assert factors == {name: wide.get(name, 1) for name in PYG_POOLS}
    assert len(PYG_POOLS) == 8


def test_same_as_pyg_on_each_cloud():
    pos, feat, mask, *_ = cloud()
    aggregation = Set2Set(4, processing_steps=2).double()
    pool = PyGPool(4, lambda channels: Set2Set(channels, processing_steps=2)).double()
    pool.aggregation.load_state_dict(aggregation.state_dict())
    rows = [f[m] for f, m in zip(feat, mask, strict=True)]
    expected = [aggregation(x, torch.zeros(len(x), dtype=torch.long)) for x in rows]
    torch.testing.assert_close(pool(feat, pos, mask), torch.cat(expected))
    mean = PyGPool(4, MeanAggregation())
    torch.testing.assert_close(mean(feat, pos, mask), MeanPool(4)(feat, pos, mask))
    assert (pool(feat, pos, torch.zeros_like(mask)) == 0).all()
    with pytest.raises(InputError, match="cannot pool 5 channels"):
        PyGPool(5, Set2Set(4, processing_steps=2))


def size(pool) -> int:
    return sum(p.numel() for p in pool.parameters())


@pytest.mark.parametrize("name", ["attentional", "deepsets", "softmax"])
def test_both_starts_have_as_many_parameters_as_gigp(name):
    assert size(make(name, 64)) == pytest.approx(size(make("gigp", 64)), rel=0.01)
    pos, feat, mask, *_ = cloud()
    outputs = [make(name, aggregation={"init": i})(feat, pos, mask) for i in ("mean", "random")]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-2
    with pytest.raises(InputError, match=r"init='median' is unknown; choose one of mean, random"):
        make(name, aggregation={"init": "median"})


@pytest.mark.parametrize("name", ["attentional", "softmax"])
def test_weights_of_points_leave_their_start_as_the_mean(name):
    """A few steps towards the largest feature: at the start all points weigh the same."""
    clouds = cloud((7,) * 40)
    pos, feat, mask, *_ = clouds
    pool, target = make(name), feat.amax(1)
    torch.testing.assert_close(pool(feat, pos, mask), MeanPool(4)(feat, pos, mask))
    weights = {"attentional": "aggregation.gate_nn", "softmax": "aggregation.softmax"}[name]
    learned = list(pool.get_submodule(weights).parameters())  # the other MLP stays the identity
    optimizer = torch.optim.Adam(learned, lr=0.02)
    losses = []
    for _ in range(60):
        loss = (pool(feat, pos, mask) - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("name", PYG_POOLS)
@pytest.mark.parametrize("sizes", [(5, 9, 1), (5, 0, 9, 0), (0, 0, 3), (0, 1)])
def test_both_ways_to_pool_agree(name, sizes):
    """Rows of real points, as on a CPU, and all rows in static shapes, as on a GPU."""
    _, feat, mask, *_ = cloud(sizes)
    mask = mask[:, torch.randperm(mask.shape[1])]  # real points anywhere
    pool = trained(make(name))
    everything = torch.where(mask.any(1, keepdim=True), pool._pool_all(feat, mask), 0)
    torch.testing.assert_close(everything, pool._pool_rows(feat, mask))
