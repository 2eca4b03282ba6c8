"""On a CUDA device: the same numbers as on the CPU, and a whole run."""

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device

from gigp.backbones.lieconv import LieResNet
from gigp.groups import SE3, SO2, SO3, T
from gigp.model import PointCloudModel
from gigp.pools.gigp import GIGP
from gigp.training.run import run

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
        "SE3": {"fill": 0.5, "nbhd": 25, "liftsamples": 2},
        "SO2": {"fill": 0.1, "nbhd": 25, "total_ds": 0.1, "grid": digits.grid},
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


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_run(configure, precision):
    summary = run(
        configure("scale=debug", "trainer.accelerator=gpu", f"trainer.precision={precision}")
    )
    assert summary.metrics["homo"].test > 0
