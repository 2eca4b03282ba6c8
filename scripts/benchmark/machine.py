"""Rates of the machine in matrix products and copies, the bounds of a training step."""

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from gigp.nn.linear import cpu_supports_bf16, product

Shape = tuple[int, int, int]  # rows, inner and columns of a product
SQUARE: Shape = (2048, 2048, 2048)


def processor() -> str:
    """Name of the processor, and the vector instructions that PyTorch uses of it."""
    model = platform.machine()
    with suppress(OSError, StopIteration):  # /proc exists on Linux only
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return f"{model} with {torch.backends.cpu.get_cpu_capability()}"


def measure_rates(shapes: list[Shape]) -> dict[str, float]:
    """GFLOP/s of matrix products and GB/s of a copy on the CPU, here and now.

    The rate of products is the best of what MKL and oneDNN reach on a large square product and on
    `shapes`, which are those of the step that is measured: an upper bound for every step.
    """
    large = torch.randn(32 * 2**20)
    copied = torch.empty_like(large)
    gigabytes = 2 * large.numel() * large.element_size() / 1e9
    rates = {
        "fp32": max(product_rate(shape, torch.float32) for shape in (SQUARE, *shapes)),
        "copy": gigabytes / fastest(partial(copied.copy_, large)),
    }
    if cpu_supports_bf16():
        rates["bf16"] = max(product_rate(shape, torch.bfloat16) for shape in (SQUARE, *shapes))
    return rates


def product_rate(shape: Shape, dtype: torch.dtype) -> float:
    """GFLOP/s of a product of this shape by the faster library."""
    m, k, n = shape
    a, b = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
    mkl = partial(torch.mm, a, b.t())
    libraries = [mkl, partial(product, a, b)] if torch.backends.mkldnn.is_available() else [mkl]
    return 2e-9 * m * k * n / min(fastest(library) for library in libraries)


def fastest(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of some calls, after one to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
