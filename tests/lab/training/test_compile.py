"""Compiled, a network is one graph, and batches of other clouds need no other."""

import copy
import os
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime.hints import DeviceProperties

from gigp.backbones.lieconv import LieResNet
from gigp.errors import InputError
from gigp.groups import SE3, SO2, SO3, T
from gigp.lab.model import PointCloudModel
from gigp.lab.training.compile import CompiledForward, set_matmul_precision
from gigp.lab.training.run import run
from gigp.pools.gigp import GIGP
from tests.conftest import tiny

BALL = {"fill": 0.5, "max_neighbors": 25, "num_lifts": 2}
CASES = {
    "T3": (T(3), {}),
    "SO3": (SO3(), BALL),
    "SE3": (SE3(), BALL),
    "SO2": (SO2(), {"fill": 0.1, "max_neighbors": 25, "keep_fraction": 0.1}),
}
SMALL = ("backbone.width=8", "backbone.blocks=2", *tiny(epochs=2, train=60, val=20, test=20))


@pytest.fixture(autouse=True)
def _one_compiler(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")


def build(data, group, options, blocks: int = 2, width: int = 8) -> PointCloudModel:
    """A calibrated network with GIGP."""
    net = LieResNet(data.in_channels, group, width=width, blocks=blocks, grid=data.grid, **options)
    pool = GIGP(1, SO2(), center="origin") if data.grid is not None else GIGP(1, SO3())
    model = PointCloudModel(net, pool, 1)
    first = data.get_batch(data.indices["train"][:20])
    model.calibrate([data.prepare_batch(first, augment=False)[0]])
    return model


def fixed(data):
    """The data module with batches of one shape."""
    data = copy.copy(data)
    data.fixed_shapes = True
    return data


def batches(data, num: int, size: int = 20):
    for indices in data.indices["train"].split(size)[:num]:
        yield data.prepare_batch(data.get_batch(indices), augment=True)[0]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_one_graph_for_all_batches(case, qm9, digits):
    """One graph over batches of mixed sizes, and the numbers of the plain network."""
    group, options = CASES[case]
    data = fixed(digits if case == "SO2" else qm9)
    model = build(data, group, options)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model.forward, fullgraph=True, dynamic=False, backend=counter)
    for cloud in batches(data, 10):
        compiled(cloud).square().mean().backward()
    assert counter.frame_count == 1
    model.eval()
    with torch.no_grad():
        for cloud in batches(data, 3):
            torch.testing.assert_close(compiled(cloud), model(cloud), rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 2  # another one for evaluation


@pytest.mark.slow
def test_mixed_sizes_would_need_many_graphs(qm9):
    """Negative control: without fixed shapes every batch has its own."""
    model = build(qm9, T(3), {"layout": "padded"})
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model.forward, fullgraph=True, dynamic=False, backend=counter)
    for cloud in batches(qm9, 3):
        compiled(cloud)
    assert counter.frame_count == 3


def test_the_packed_layout_is_refused(qm9):
    model = build(qm9, T(3), {"layout": "packed"})
    with pytest.raises(InputError, match=r"use backbone\.layout=auto"):
        CompiledForward(model, on_gpu=False, eval_batch_size=20)


@pytest.mark.slow
def test_kernels_of_a_step(qm9):
    """C++ loops for the six blocks of T(3), forward and backward."""
    data = fixed(qm9)
    forward = CompiledForward(build(data, T(3), {}, blocks=6), False, 20)
    for cloud in batches(data, 2):
        forward(cloud).square().mean().backward()
    counts = forward.counts()
    print(counts)
    assert counts["graphs"] == 1
    assert 0 < counts["kernels"] <= 450


class CodeGenerated(Exception):
    """Raised in place of running a step whose code could only be generated."""


def raise_generated(*_):
    raise CodeGenerated


def only_generate(graph: GraphLowering):
    graph.codegen()
    return SimpleNamespace(call=raise_generated, key="", __file__=os.devnull)


def an_h100(_) -> DeviceProperties:
    return DeviceProperties("cuda", 0, multi_processor_count=132, cc=90, warp_size=32)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "size"), [(8, 20), (1536, 75)])
def test_triton_kernels_of_a_step(qm9, monkeypatch, width, size):
    """At most 300 for the six blocks of T(3), forward and backward, beside calls of libraries:
    generated for CPU tensors as for an H100, by whose size reductions are split, and not run.
    """
    pytest.importorskip("triton")
    monkeypatch.setattr("torch.utils._triton.triton_hash_with_backend", lambda *_: "")
    monkeypatch.setattr(DeviceProperties, "create", an_h100)
    monkeypatch.setattr(GraphLowering, "compile_to_module", only_generate)
    data = fixed(qm9)
    forward = CompiledForward(build(data, T(3), {}, blocks=6, width=width), False, 20)
    options = {"cpu_backend": "triton", "force_pointwise_cat": True, "force_disable_caches": True}
    backward = functorch_config.patch(force_non_lazy_backward_lowering=True)
    with inductor_config.patch(options), backward, pytest.raises(CodeGenerated):
        forward(next(batches(data, 1, size)))
    counts = forward.counts()
    print(counts)
    assert counts["graphs"] == 1
    assert 200 < counts["kernels"] <= 300


@pytest.mark.slow
def test_a_run_is_two_graphs_and_says_so(configure, qm9):
    """Two epochs with validation and test, trained as the same run without compilation; the last
    batches of evaluation, of 4 molecules, need no graph.
    """
    sizes = ("dataset.batch_size=20", "dataset.eval_batch_size=16")
    options = ("pool=gigp", *SMALL, *sizes)
    plain = run(configure(*options, "name=plain"))
    record = run(configure(*options, "name=compiled", "compile=true"))
    assert record.execution["graphs"] == 2  # training and evaluation
    assert record.execution["kernels"] > 0
    assert "graphs" not in plain.execution
    assert record.metrics["homo"].test == pytest.approx(plain.metrics["homo"].test, rel=1e-3)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_precision_of_matrix_products(configure, precision):
    try:
        options = ("dataset=orbits", "pool=gigp", f"matmul_precision={precision}")
        record = run(configure(*options, *SMALL[2:]))
        assert torch.get_float32_matmul_precision() == precision
        assert record.execution == {"precision": "32-true", "matmul_precision": precision}
    finally:
        set_matmul_precision("highest")
