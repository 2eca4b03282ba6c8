"""Readouts of PyTorch Geometric as pools."""

import pytest
import torch
from torch_geometric.nn.aggr import MeanAggregation, Set2Set

from gigp.errors import InputError
from gigp.pools import GIGP, MeanPool
from gigp.pools.readouts import Readout
from tests.pools.common import NAMES, cloud, config_of, make, trained

READOUTS = [name for name in NAMES if config_of(name).pool._target_.endswith("readouts.Readout")]


def test_out_channels():
    factors = {name: make(name, 6).out_channels / 6 for name in READOUTS}
    wide = {"set2set": 2, "quantiles": 3, "multi": 4}
    assert factors == {name: wide.get(name, 1) for name in READOUTS}
    assert len(READOUTS) == 8


def test_same_as_pyg_on_each_cloud():
    pos, feat, mask, *_ = cloud()
    aggregation = Set2Set(4, processing_steps=2).double()
    pool = Readout(4, lambda channels: Set2Set(channels, processing_steps=2)).double()
    pool.aggregation.load_state_dict(aggregation.state_dict())
    rows = [f[m] for f, m in zip(feat, mask, strict=True)]
    expected = [aggregation(x, torch.zeros(len(x), dtype=torch.long)) for x in rows]
    torch.testing.assert_close(pool(feat, pos, mask), torch.cat(expected))
    mean = Readout(4, MeanAggregation())
    torch.testing.assert_close(mean(feat, pos, mask), MeanPool(4)(feat, pos, mask))
    assert (pool(feat, pos, torch.zeros_like(mask)) == 0).all()
    with pytest.raises(InputError, match="cannot pool 5 channels"):
        Readout(5, Set2Set(4, processing_steps=2))


@pytest.mark.parametrize("name", ["attentional", "deepsets"])
def test_both_starts_have_two_mlps_of_the_size_of_gigp(name):
    pos, feat, mask, *_ = cloud()
    one = sum(p.numel() for p in make("gigp", feed_center=False).phi.parameters())
    outputs = []
    for init in ("mean", "random"):
        pool = make(name, aggregation={"init": init})
        assert sum(p.numel() for p in pool.parameters()) == 2 * one
        outputs.append(pool(feat, pos, mask))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-2
    with pytest.raises(InputError, match=r"init='median' is unknown; choose one of mean, random"):
        make(name, aggregation={"init": "median"})


def test_attention_learns_from_its_start_as_the_mean():
    """A gate that returns 0 has a gradient, so training can leave the start."""
    pos, feat, mask, *_ = cloud()
    pool = make("attentional")
    pool(feat, pos, mask).square().sum().backward()
    assert pool.aggregation.gate_nn[-1].weight.grad.abs().max() > 1e-6
    assert isinstance(make("gigp"), GIGP)


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("sizes", [(5, 9, 1), (5, 0, 9, 0), (0, 0, 3), (0, 1)])
def test_both_ways_to_pool_agree(name, sizes):
    """Rows of real points, as on a CPU, and all rows in static shapes, as on a GPU."""
    _, feat, mask, *_ = cloud(sizes)
    mask = mask[:, torch.randperm(mask.shape[1])]  # real points anywhere
    pool = trained(make(name))
    everything = torch.where(mask.any(1, keepdim=True), pool._pool_all(feat, mask), 0)
    torch.testing.assert_close(everything, pool._pool_rows(feat, mask))
