"""On a CUDA device: the same numbers as on the CPU, and a whole run."""

import copy

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device

from gigp.backbones.lieconv import LieResNet
from gigp.groups import SE3, SO2, SO3, T
from gigp.lab.model import PointCloudModel
from gigp.lab.training.run import run
from gigp.pools.gigp import GIGP

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def to_cuda(cloud):
    return move_data_to_device(cloud, torch.device("cuda"))


@pytest.mark.parametrize("case", ["T3", "SE3", "SO2"])
def test_same_as_on_the_cpu(case, qm9, digits):
    torch.backends.cuda.matmul.allow_tf32 = False
    data = digits if case == "SO2" else qm9
    options = {
        "T3": {},
        "SE3": {"fill": 0.5, "max_neighbors": 25, "num_lifts": 2},
        "SO2": {"fill": 0.1, "max_neighbors": 25, "keep_fraction": 0.1, "grid": digits.grid},
    }[case]
    group = {"T3": T(3), "SE3": SE3(), "SO2": SO2()}[case]
    net = LieResNet(data.in_channels, group, width=16, blocks=2, **options)
    pool = GIGP(
        1, SO2() if case == "SO2" else SO3(), center="origin" if case == "SO2" else "centroid"
    )
    model = PointCloudModel(net, pool, 1)
    cloud, _ = data.prepare_batch(data.get_batch(torch.arange(20)), augment=False)
    model.calibrate([cloud])
    model.eval()
    expected = model(cloud)
    torch.testing.assert_close(model.cuda()(to_cuda(cloud)).cpu(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", ["T3", "SE3"])
def test_a_step_never_waits(case, qm9):
    """The second step, forward and backward, under CUDA's own check for waiting, which finds that
    reading the loss would wait.
    """
    options = {"T3": {}, "SE3": {"fill": 0.5, "max_neighbors": 25, "num_lifts": 2}}[case]
    net = LieResNet(15, T(3) if case == "T3" else SE3(), width=16, blocks=2, **options)
    model = PointCloudModel(net, GIGP(1, SO3()), 1)
    cloud, target = qm9.prepare_batch(qm9.get_batch(torch.arange(20)), augment=False)
    model.calibrate([cloud])
    model.cuda().train()
    cloud, target = to_cuda((cloud, target[:, :1]))
    for mode in ("default", "error"):
        torch.cuda.set_sync_debug_mode(mode)
        try:
            loss = (model(cloud) - target).abs().mean()
            loss.backward()
            if mode == "error":
                with pytest.raises(RuntimeError, match="synchronizing"):
                    loss.item()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_compiled_is_the_same(qm9):
    """Replayed as a CUDA graph, on batches of other sizes."""
    data = copy.copy(qm9)
    data.fixed_shapes = True
    torch.backends.cuda.matmul.allow_tf32 = False
    model = PointCloudModel(LieResNet(15, T(3), width=16, blocks=2), GIGP(1, SO3()), 1)
    batches = [
        data.prepare_batch(data.get_batch(i), augment=False)[0]
        for i in data.indices["train"][:80].split(20)
    ]
    model.calibrate(batches[:1])
    model.cuda().eval()
    compiled = torch.compile(model, fullgraph=True, dynamic=False, mode="reduce-overhead")
    with torch.no_grad():
        for batch in map(to_cuda, batches):
            torch.testing.assert_close(compiled(batch).clone(), model(batch), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_run(configure, precision):
    summary = run(
        configure("scale=debug", "trainer.accelerator=gpu", f"trainer.precision={precision}")
    )
    assert summary.metrics["homo"].test > 0
