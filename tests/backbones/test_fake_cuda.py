"""Everything that a training step runs, on CUDA tensors without values and without a GPU.

Tensors that are left on the wrong device, and operations whose result the host would have to wait
for, raise an error. Backward passes need a GPU; `test_operations.py` counts them on meta tensors.
"""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gigp.backbones.identity import Identity
from gigp.backbones.lieconv import LieResNet
from gigp.groups import SO2, SO3
from gigp.lab.model import PointCloudModel
from gigp.lab.training.module import Classification, Regression
from gigp.pointcloud import PointCloud
from gigp.pools.base import MeanPool
from scripts.benchmark.operations import OperationCounter
from tests.backbones.test_lieconv_net import GROUPS


def to_fake_cuda(x, mode: FakeTensorMode):
    """The module, cloud or tensor with its tensors as fake CUDA tensors."""
    if isinstance(x, torch.Tensor):
        with mode:
            return mode.from_tensor(x).to("cuda")
    if isinstance(x, PointCloud):
        return PointCloud(*(to_fake_cuda(y, mode) if torch.is_tensor(y) else y for y in x))
    for module in x.modules():
        for name, p in module._parameters.items():
            if p is not None:
                fake = to_fake_cuda(p.detach(), mode)
                module._parameters[name] = nn.Parameter(fake, requires_grad=p.requires_grad)
        for name, b in module._buffers.items():
            if b is not None:
                module._buffers[name] = to_fake_cuda(b, mode)
    return x


def cloud_of(dim: int, channels: int = 5) -> PointCloud:
    mask = torch.arange(9) < torch.tensor([7, 9, 4])[:, None]
    return PointCloud(torch.randn(3, 9, dim), torch.randn(3, 9, channels), mask)


@pytest.mark.parametrize(
    ("keep_fraction", "train"),
    [
        (0.5, True),
        (1.0, False),
        pytest.param(1.0, True, marks=pytest.mark.slow),
        pytest.param(0.5, False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_every_group(group, keep_fraction, train):
    lifts = 1 if group.one_lift else 2
    net = LieResNet(
        5,
        group,
        width=8,
        blocks=2,
        fill=0.5,
        max_neighbors=4,
        keep_fraction=keep_fraction,
        num_lifts=lifts,
    )
    cloud = cloud_of(group.dim)
    net.calibrate(cloud)
    mode = FakeTensorMode()
    net, cloud = to_fake_cuda(net.train(train), mode), to_fake_cuda(cloud, mode)
    with mode, OperationCounter() as counter:
        out = net(cloud)
    assert all(x.device.type == "cuda" for x in out[:3])
    assert counter.waiting == []


@pytest.mark.parametrize("group", [g for g in GROUPS if g.dim == 2], ids=str)
def test_every_group_on_a_grid(group, digits):
    lifts = 1 if group.one_lift else 2
    options = {"fill": 0.1, "max_neighbors": 25, "keep_fraction": 0.1, "num_lifts": lifts}
    net = LieResNet(1, group, width=8, blocks=2, grid=digits.grid, **options)
    mode = FakeTensorMode()
    data, where = copy.copy(digits), torch.arange(4)
    for name in data.arrays:
        if (array := getattr(data, name)) is not None:
            setattr(data, name, to_fake_cuda(array, mode))
    net, fake = to_fake_cuda(net, mode), to_fake_cuda(where, mode)
    with mode, OperationCounter() as counter:
        cloud, _ = data.prepare_batch(data.get_batch(where, fake), augment=True)
        assert net(cloud).feat.device.type == "cuda"
    assert counter.waiting == []


@pytest.mark.slow
def test_batches_of_molecules(qm9):
    mode = FakeTensorMode()
    data, where = copy.copy(qm9), torch.arange(6)
    for name in data.arrays:
        if (array := getattr(data, name)) is not None:
            setattr(data, name, to_fake_cuda(array, mode))
    fake = to_fake_cuda(where, mode)
    batch = data.get_batch(where, fake)  # the host looks up the sizes
    with mode, OperationCounter() as counter:
        cloud, target = data.prepare_batch(batch, augment=True)
    assert counter.waiting == []
    assert all(x.device.type == "cuda" for x in (*cloud[:3], cloud.mass, target))
    assert cloud.sizes.points == int(qm9.counts[:6].sum())


def identity_model(out: int) -> PointCloudModel:
    return PointCloudModel(Identity(5, SO3()), MeanPool(out), out)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_losses_metrics_and_the_optimizer(kind):
    if kind == "regression":
        mean, std = torch.zeros(2), torch.ones(2)
        module = Regression(identity_model(2), {"a": "eV", "b": "D"}, mean, std, [1.0, 2.0])
        target = torch.randn(3, 2)
    else:
        module, target = Classification(identity_model(10), {"error": "%"}), torch.tensor([1, 0, 9])
    module.setup("fit")
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # torchmetrics starts from values on the host
    module, cloud = to_fake_cuda(module, mode), to_fake_cuda(cloud_of(3), mode)
    target = to_fake_cuda(target, mode)
    optimizer = torch.optim.Adam(module.parameters(), fused=True)
    with mode:
        output = module.model(cloud)
        assert module.loss(output, target).device.type == "cuda"
        module.metrics["val"].to("cuda")
        module.losses["val"].to("cuda")
        module.metrics["val"].update(module.denormalize(output), target)
        module.losses["val"].update(module.loss(output, target), 3)
        for p in module.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()


def test_a_tensor_on_the_wrong_device_is_found():
    """Negative control: positions on the host beside a network on the GPU."""
    mode = FakeTensorMode()
    net = LieResNet(5, SO2(), width=8, blocks=1)
    cloud = cloud_of(2)
    net, fake = to_fake_cuda(net, mode), to_fake_cuda(cloud, mode)
    with mode, pytest.raises(RuntimeError, match="device"):
        net(fake._replace(pos=mode.from_tensor(cloud.pos)))


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x[:, [0, 1]],
        lambda x: x.new_tensor([1.0, 0.0]) + x[0, :2],
        lambda x: x.to("cpu"),
    ],
)
def test_copies_between_host_and_device_are_found(work):
    """Negative control: lists, as index or as values, are copied, which waits."""
    with FakeTensorMode():
        x = torch.zeros(4, 3, device="cuda")
        with OperationCounter() as counter:
            work(x)
    assert counter.waiting
