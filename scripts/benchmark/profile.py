"""Profile of a training step: arithmetic, memory traffic, and time by operation."""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gigp.backbones.lieconv.native import plain_pytorch
from scripts.benchmark.cases import BATCHES
from scripts.benchmark.machine import Shape
from scripts.benchmark.models import BenchModel
from scripts.benchmark.operations import FlopCounter

# names of operations by purpose
KINDS: dict[str, str] = {
    "matrix products": (
        "mm addmm bmm baddbmm mkldnn_convolution convolution_backward _linear_pointwise"
    ),
    "batch norm": "native_batch_norm native_batch_norm_backward var_mean",
    "sums and products by element": (
        "sum mean add add_ sub mul mul_ div addcmul addcmul_ square pow sqrt rsqrt atan2 neg "
        "reciprocal mse_loss abs"
    ),
    "swish": "silu silu_ silu_backward",
    "copies and gathers": (
        "copy_ cat index index_select index_copy_ index_add_ _index_put_impl_ fill_ zero_ "
        "embedding_dense_backward gather scatter_add_"
    ),
    "choice of neighbors": "topk uniform_ sort where nonzero le argmax minimum",
    "native.c": (
        "NativeKernelMLP NativeKernelMLPBackward NativeConvolution NativeConvolutionBackward"
    ),
    "optimizer": "_fused_adam_ Optimizer.step#Adam.step",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}


def product_shape(name: str, args: tuple) -> list[Shape]:
    """Rows, inner and columns of a plain matrix product; empty for another operation."""
    if name in ("mm", "addmm"):
        a, b = args[-2:]
        return [(a.shape[0], a.shape[1], b.shape[1])]
    if name == "mkldnn::_linear_pointwise":
        x, weight = args[:2]
        return [(len(x), *weight.t().shape)]
    return []


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, and the shapes of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.products: Counter[Shape] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("aten::")
        if not (func.is_view or name.startswith(("detach", "_unsafe_view"))):
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
            tensors = [x for x in leaves if isinstance(x, torch.Tensor)]
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
            self.products.update(product_shape(name, args))
        return out

    def largest_products(self, num: int = 4) -> list[Shape]:
        """The shapes that most of the arithmetic of plain matrix products goes into."""

        def work(shape: Shape) -> int:
            m, k, n = shape
            return m * k * n * self.products[shape]

        return sorted(self.products, key=work, reverse=True)[:num]


def count_work(model: BenchModel) -> dict[str, Any]:
    """Floating-point operations, bytes and the largest products of one training step, in plain
    PyTorch: native.c calls no operations that could be counted.
    """
    model.model.train()
    onednn = {torch.ops.mkldnn._linear_pointwise: linear_flops}
    with plain_pytorch():
        with FlopCounter(onednn) as flops:
            model.train_step(0)
        with Traffic() as traffic:
            model.train_step(0)
    return {
        "gflop": flops.get_total_flops() / 1e9,
        "gbyte": traffic.bytes / 1e9,
        "products": traffic.largest_products(),
    }


def linear_flops(x: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
    """Floating-point operations of a linear layer, from the shapes of its arguments."""
    return 2 * x[0] * weight[0] * weight[1]


def time_shares(model: BenchModel) -> dict[str, float]:
    """Fractions of the time of a training step by kind of operation."""
    model.model.train()
    warm = torch.profiler.schedule(wait=0, warmup=BATCHES, active=BATCHES, repeat=1)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, schedule=warm) as profile:
        for i in range(2 * BATCHES):
            model.train_step(i)
            profile.step()
    shares = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in profile.key_averages():
        name = event.key.rpartition("::")[2]
        shares[KIND_OF.get(name, "everything else")] += event.self_cpu_time_total
    total = sum(shares.values())
    return {kind: share / total for kind, share in shares.items()}
