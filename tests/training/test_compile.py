"""Compiled, a network is one graph, and batches of other clouds need no other."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from gigp.backbones.lieconv import LieResNet
from gigp.datasets import QM9
from gigp.groups import SE3, SO2, SO3, T
from gigp.model import PointCloudModel
from gigp.pools.gigp import GIGP
from tests.conftest import DATA

BALL = {"fill": 0.5, "nbhd": 25, "liftsamples": 2}
CASES = {
    "T3": (T(3), {}),
    "SO3": (SO3(), BALL),
    "SE3": (SE3(), BALL),
    "SO2": (SO2(), {"fill": 0.1, "nbhd": 25, "total_ds": 0.1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_one_graph_for_all_batches(case, digits):
    """One for training and one for evaluation; the numbers are those of the plain network."""

    group, options = CASES[case]
    data = digits
    if case != "SO2":
        data = QM9(root=DATA, cache=DATA, batch_size=20)
        data.setup()
        data.fixed_shapes = True
    torch._dynamo.reset()
    net = LieResNet(data.in_channels, group, width=8, blocks=2, grid=data.grid, **options)
    pool = GIGP(1, SO2(), center="origin") if case == "SO2" else GIGP(1, SO3())
    model = PointCloudModel(net, pool, 1)
    batches = data.indices["train"].split(20)[:5]
    model.calibrate([data.prepare_batch(data.get_batch(batches[0]), augment=False)[0]])
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend=counter)
    for indices in batches:
        cloud, _ = data.prepare_batch(data.get_batch(indices), augment=True)
        compiled(cloud).square().mean().backward()
    assert counter.frame_count == 1
    model.eval()
    with torch.no_grad():
        for indices in batches:
            cloud, _ = data.prepare_batch(data.get_batch(indices), augment=False)
            torch.testing.assert_close(compiled(cloud), model(cloud), rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 2
