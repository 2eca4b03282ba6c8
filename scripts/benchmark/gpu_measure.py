"""Measurements on one GPU: rates, launches, memory, parity with the CPU, hours of runs.

The same in small on a CPU, to try it out: fewer channels, one case of each kind.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device

from gigp.backbones.lieconv.geometry import LayoutName
from gigp.backbones.lieconv.net import LieResNet
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.model import PointCloudModel
from gigp.lab.runs.memory import peak_memory_mb, reset_peak_memory
from gigp.lab.training.compile import CompiledForward
from gigp.lab.training.load import build_model
from scripts.benchmark.cases import BenchInputs, load_data
from scripts.benchmark.gpu_cases import GPUCase, cases
from scripts.benchmark.loop import loop_cost
from scripts.benchmark.machine import fastest
from scripts.benchmark.models import BenchModel, make_model, output_loss
from scripts.benchmark.operations import FlopCounter, OperationCounter

BATCHES = 8  # different batches that every model goes through
PRECISIONS = ("fp32", "tf32", "bf16")
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def load_case(case: GPUCase, device: torch.device, fixed: bool) -> BenchInputs:
    """Batches of a case on the device, of one shape if `fixed`."""
    cfg, data = load_data(list(case.overrides))
    data.fixed_shapes = fixed
    batches = [take_batch(data, i, device) for i in range(BATCHES)]
    return BenchInputs(cfg, batches, data.in_channels, data.out_dim, data.grid, None, data.atoms)


def take_batch(data: PointCloudDataModule, i: int, device: torch.device) -> Any:
    """The i-th training batch, augmented on the device."""
    indices = data.indices["train"].split(data.batch_size)[i]
    return data.prepare_batch(move_data_to_device(data.get_batch(indices), device), augment=True)


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products inside the block."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    allowed = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def matrix_rate(device: torch.device, precision: str, side: int) -> float:
    """GFLOP/s of a square matrix product."""
    a = torch.randn(side, side, device=device, dtype=DTYPES[precision])

    def work() -> None:
        for _ in range(10):
            torch.mm(a, a)
        wait(device)

    with matmul_precision(precision):
        return 10 * 2e-9 * side**3 / fastest(work)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def build_bench(
    inputs: BenchInputs, device: torch.device, precision: str, compiled: bool
) -> BenchModel:
    """The model of a case on the device, ready to be timed."""
    torch.manual_seed(0)
    model = build_model(inputs.cfg, inputs)
    model.calibrate([move_data_to_device(inputs.batches[0][0], torch.device("cpu"))])
    model.to(device)
    set_layout(model, "padded")
    size = len(inputs.batches[0][1])
    forward = CompiledForward(model, device.type == "cuda", size) if compiled else None
    dtype = torch.bfloat16 if precision == "bf16" else None
    return BenchModel(model, inputs.batches, output_loss, size, dtype, forward)


def set_layout(model: PointCloudModel, layout: LayoutName) -> None:
    """Choose how a LieConv network lays out batches; all cases have one."""
    assert isinstance(model.backbone, LieResNet)
    model.backbone.geometry.layout = layout


def count_launches(model: BenchModel) -> int:
    """Kernels that a training step starts on a GPU; on a CPU, operations that it dispatches, or
    kernels that it was compiled to.
    """
    model.model.train()
    model.train_step(0)
    if model.device.type != "cuda":
        if model.compiled:
            return model.compiled.counts()["kernels"]
        with OperationCounter() as counter:
            model.train_step(1)
        return counter.total
    wait(model.device)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        model.train_step(1)
        wait(model.device)
    starts = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync")
    return sum(e.count for e in profile.key_averages() if e.key.startswith(starts))


def measure_case(
    inputs: BenchInputs, device: torch.device, precision: str, compiled: bool, rates: dict
) -> dict[str, Any]:
    """Rates, launches, memory and share of the matrix rate of one case."""
    with matmul_precision(precision):
        reset_peak_memory()
        start = time.perf_counter()
        model = build_bench(inputs, device, precision, compiled)
        model.model.train()
        for i in range(3):
            model.train_step(i)
        wait(device)
        prepared = time.perf_counter() - start
        step = min(model.time("train") for _ in range(3))
        evaluation = min(model.time("eval") for _ in range(3))
        entry: dict[str, Any] = {
            "precision": precision,
            "compiled": compiled,
            "step_ms": 1e3 * step,
            "train": model.size / step,
            "eval": model.size / evaluation,
            "launches": count_launches(model),
            "peak_mb": peak_memory_mb(),
            "prepare_seconds": prepared,
        }
        if model.compiled:
            entry |= model.compiled.counts()
        else:
            with FlopCounter() as flops:
                model.train_step(0)
            entry["gflop"] = flops.get_total_flops() / 1e9
            entry["share_of_matrix_rate"] = entry["gflop"] / step / rates[precision]
    return entry


def measure_reference(inputs: BenchInputs, device: torch.device, lieconv: str) -> dict[str, Any]:
    """Rates of the reference code on the same batches, in fp32 without TF32."""
    cpu = [move_data_to_device(batch, torch.device("cpu")) for batch in inputs.batches]
    bench = make_model(
        BenchInputs(inputs.cfg, cpu, inputs.in_channels, inputs.out_dim, inputs.grid, inputs.disk),
        "reference",
        lieconv,
    )
    batches = [move_data_to_device(batch, device) for batch in bench.batches]
    model = BenchModel(bench.model.to(device), batches, output_loss, bench.size)
    with matmul_precision("fp32"):
        seconds = {mode: min(model.time(mode) for _ in range(3)) for mode in ("train", "eval")}
    return {mode: bench.size / s for mode, s in seconds.items()}


def parity(inputs: BenchInputs, device: torch.device) -> dict[str, float]:
    """Largest difference between the device and the packed layout on the CPU, in fp32, relative to
    the largest output and gradient.
    """
    torch.manual_seed(0)
    model = build_model(inputs.cfg, inputs)
    batch, target = move_data_to_device(inputs.batches[0], torch.device("cpu"))
    model.calibrate([batch])
    results: list[list[torch.Tensor]] = []
    sides: list[tuple[torch.device, LayoutName]] = [
        (torch.device("cpu"), "packed"),
        (device, "padded"),
    ]
    for place, layout in sides:
        model.to(place).eval().zero_grad()
        set_layout(model, layout)
        cloud, wanted = move_data_to_device((batch, target), place)
        with matmul_precision("fp32"):
            output = model(cloud)
            output_loss(output, wanted).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append([output.detach().cpu(), gradient.cpu()])
    differences = [
        float((a - b).abs().max() / a.abs().max()) for a, b in zip(*results, strict=True)
    ]
    return dict(zip(("output", "gradient"), differences, strict=True))


def measure_all(
    device: torch.device, small: bool, minutes: float, lieconv: str | None = None
) -> Iterator[dict[str, Any]]:
    """Measure all cases, the most important first, until the time is over.

    Args:
        device: device to measure.
        small: few channels and cases, to try it out.
        minutes: time after which no measurement is started; the record lists those left out.
        lieconv: checkout of github.com/mfinzi/LieConv, to compare with.

    Yields:
        The record so far, after every case.
    """
    deadline = time.perf_counter() + 60 * minutes
    side = 256 if small else 8192
    rates = {name: matrix_rate(device, name, side) for name in PRECISIONS}
    record: dict[str, Any] = {
        "rates": rates,
        "loop": loop_cost(device, steps=500),
        "cases": {},
        "left_out": [],
    }
    for case in cases(small):
        result: dict[str, Any] = {"entries": []}
        for compiled in (False, True):
            inputs = None
            for precision in PRECISIONS[: 1 if small and compiled else None]:
                if time.perf_counter() > deadline:
                    how = "compiled" if compiled else "eager"
                    record["left_out"].append(f"{case.title}, {precision}, {how}")
                    continue
                inputs = inputs or load_case(case, device, fixed=compiled)
                entry = measure_case(inputs, device, precision, compiled, rates)
                result["entries"].append(entry | {"hours": case.run.hours(entry)})
                if precision == "fp32" and not compiled:
                    result["parity"] = parity(inputs, device)
                    if lieconv and "mean" in case.title:
                        result["reference"] = measure_reference(inputs, device, lieconv)
        if result["entries"]:
            record["cases"][case.title] = result
        yield record
