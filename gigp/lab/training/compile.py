"""How a run computes: precision of matrix products, and the compiled forward pass."""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from gigp.backbones.identity import Identity
from gigp.backbones.lieconv import LieResNet
from gigp.errors import InputError, check_choice
from gigp.lab.model import PointCloudModel
from gigp.pointcloud import PointCloud

MatmulPrecision = Literal["highest", "high", "medium"]


def set_matmul_precision(precision: MatmulPrecision) -> None:
    """Set how this process multiplies float32 matrices.

    Args:
        precision: `highest`, in float32; `high`, in TF32 on a GPU that has it; `medium`, in
            bfloat16 where the device has it, CPUs included.

    Raises:
        InputError: another value.
    """
    check_choice("matmul_precision", precision, MatmulPrecision)
    torch.set_float32_matmul_precision(precision)


class CompiledForward:
    """The compiled forward pass of a model, in training as CUDA graphs on a GPU.

    In validation it is another graph, for batches of the usual size: a smaller one, the last of the
    data set, runs uncompiled, as its compilation would take longer than it saves. That graph is no
    CUDA graph, which would hold the memory of a whole batch all the time, and saves little there.
    LieConv with a pool that never waits for the device compiles to one graph; a graph break is an
    error there.

    Args:
        model: the model; PyTorch Geometric's networks and pools break their graph.
        on_gpu: replay CUDA graphs.
        eval_batch_size: clouds in a batch of evaluation.

    Raises:
        InputError: the packed layout, whose shapes differ from batch to batch.
    """

    def __init__(self, model: PointCloudModel, on_gpu: bool, eval_batch_size: int) -> None:
        backbone = model.backbone
        if isinstance(backbone, LieResNet) and backbone.geometry.layout == "packed":
            raise InputError(
                "compile=true needs batches of one shape, which backbone.layout=packed does not "
                "make; use backbone.layout=auto."
            )
        torch.compiler.reset()  # graphs of an earlier run of a sweep
        whole = isinstance(backbone, (LieResNet, Identity)) and not model.pool.syncs_device
        compiled = partial(torch.compile, model.forward, fullgraph=whole, dynamic=False)
        self._train = compiled(mode="reduce-overhead" if on_gpu else None)
        self._evaluate, self._plain = compiled(), model
        self._eval_batch_size = eval_batch_size
        self._before = _totals()

    def __call__(self, cloud: PointCloud) -> Tensor:
        """(B, N, ...) cloud -> (B, out_channels), in training."""
        return self._train(cloud)

    def evaluate(self, cloud: PointCloud) -> Tensor:
        """The same of a model in evaluation mode, without gradients."""
        usual = len(cloud.feat) == self._eval_batch_size
        return self._evaluate(cloud) if usual else self._plain(cloud)

    def counts(self) -> dict[str, int]:
        """Graphs compiled so far, forward with backward as one, and kernels generated for them:
        Triton's on a GPU, C++ loops on a CPU; library calls, as matrix products, are not counted.
        """
        return {key: value - self._before[key] for key, value in _totals().items()}


def _totals() -> dict[str, int]:
    """Counts of this process."""
    from torch._dynamo.utils import counters  # importing them takes a second
    from torch._inductor import metrics

    stats: Any = counters["stats"]
    return {"graphs": stats["unique_graphs"], "kernels": metrics.generated_kernel_count}
