"""What a training step asks of a GPU, counted without one: few operations, and none that waits."""

import copy

import pytest
import torch
import torch.nn.functional as F

from gigp.backbones.lieconv import LieResNet
from gigp.groups import SE2, SE3, SO2, SO3, T
from gigp.lab.model import PointCloudModel
from gigp.pools.gigp import GIGP
from scripts.benchmark.operations import OperationCounter

LIFTED = {"fill": 0.5, "max_neighbors": 25, "num_lifts": 4}
PIXELS = {"fill": 0.1, "max_neighbors": 25, "keep_fraction": 0.1}
OPTIMIZER = 2  # fused Adam and its counters of steps
CASES = {  # group, options of the network, operations at most
    "T3": (T(3), {}, 600),
    "SO3": (SO3(), LIFTED, 900),
    "SE3": (SE3(), LIFTED, 900),
    "SO2": (SO2(), PIXELS, 500),
    "SE2": (SE2(), PIXELS | {"num_lifts": 2}, 500),
}


def build(data, group, options) -> PointCloudModel:
    """A calibrated network with six blocks and GIGP."""
    images = data.grid is not None
    layout = {} if images else {"layout": "padded"}
    net = LieResNet(data.in_channels, group, width=8, blocks=6, grid=data.grid, **layout, **options)
    out = 10 if images else 1
    pool = GIGP(out, SO2(), center="origin") if images else GIGP(out, SO3())
    model = PointCloudModel(net, pool, out)
    first = data.get_batch(data.indices["train"][:50])
    model.calibrate([data.prepare_batch(first, augment=False)[0]])
    return model.train()


def without_values(data):
    """The data module with its arrays on the meta device."""
    data = copy.copy(data)
    for name in data.arrays:
        if (array := getattr(data, name)) is not None:
            setattr(data, name, array.to("meta"))
    return data


def count_step(model, data, indices) -> OperationCounter:
    """Batch, augmentation, forward, loss and backward on tensors without values."""
    model.zero_grad()
    where = indices.to("meta")
    with OperationCounter() as counter:
        cloud, target = data.prepare_batch(data.get_batch(indices, where), augment=True)
        output = model(cloud)
        loss = (
            (output - target[:, :1]).abs().mean()
            if target.is_floating_point()
            else F.cross_entropy(output, target)
        )
        loss.backward()
    return counter


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.slow) if case in ("SO3", "SE2") else case
        for case in CASES
    ],
)
def test_operations_of_a_step(case, qm9, digits):
    """The same number at any batch size, whatever sizes the clouds have."""
    group, options, most = CASES[case]
    data = digits if "2" in case else qm9
    model = build(data, group, options).to("meta")
    train = data.indices["train"]
    batches = [train[:75], train[75:375]]
    if data is qm9:
        counts = data.mask[train[:20_000]].sum(1)
        batches.append(train[:20_000][counts == 18][:75])
    totals = []
    for indices in batches:
        counter = count_step(model, without_values(data), indices)
        assert counter.waiting == []
        totals.append(counter.total + OPTIMIZER)
    assert set(totals) == {totals[0]}
    assert totals[0] <= most


def test_the_packed_layout_would_take_more(qm9):
    """Negative control: the counter sees the loop over sizes."""
    model = build(qm9, T(3), {})
    model.backbone.geometry.layout = "packed"
    counter = count_step(model.to("meta"), without_values(qm9), qm9.indices["train"][:75])
    assert counter.total > 800


@pytest.mark.parametrize(
    "question",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: bool((x > 0).any()),
        lambda x: x.unique(),
    ],
)
def test_operations_that_wait_are_found(question):
    with OperationCounter() as counter:
        question(torch.randn(5))
    assert counter.waiting


def test_the_optimizer_takes_two_operations(qm9):
    model = build(qm9, T(3), {})
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with OperationCounter() as counter:
        optimizer.step()
    assert counter.total == OPTIMIZER
    assert all(p.isfinite().all() for p in model.parameters())
