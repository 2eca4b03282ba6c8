"""Pools on a GPU that is not there: fake tensors find what waits for the device or lies on another.

Forward passes alone: autograd needs a real device.
"""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from scripts.benchmark.operations import OperationCounter
from tests.pools.common import NAMES, make

# PyG asks the device for the largest size of a graph
WAIT = {"median", "quantiles", "set2set", "set_transformer"}


def on_fake_cuda(pool: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers have shapes and a device, and no values."""
    for module in pool.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty(value.shape, device="cuda")))
        for name, value in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(value.shape, dtype=value.dtype, device="cuda"))
    return pool


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WAIT])
@pytest.mark.parametrize("train", [False, True])
def test_shapes_do_not_depend_on_values(name, train):
    pool = deepcopy(make(name)).float().train(train)
    with FakeTensorMode():
        pool = on_fake_cuda(pool)
        mask = torch.empty(3, 9, device="cuda") > 0
        feat, pos = (torch.empty(3, 9, size, device="cuda") for size in (4, 3))
        with OperationCounter() as counter:
            out = pool(feat, pos, mask)
        assert out.shape == (3, pool.out_channels)
        assert out.device.type == "cuda"
    assert counter.waiting == []
