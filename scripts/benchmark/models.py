"""Models with their batches, ready to be timed."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import nn as gnn
from torch_geometric.data import Data

from gigp.groups import SO3
from gigp.lab.config.instantiate import instantiate
from gigp.lab.training.compile import CompiledForward
from gigp.lab.training.load import build_model
from gigp.pools.aggregation import GIGPAggregation
from gigp.pools.gigp import GIGP
from scripts.benchmark import reference
from scripts.benchmark.cases import BenchInputs, compose_case

LEAST_SECONDS = 0.3  # that a time is measured over
# `cpu` is the time that processors spend on this process: for one thread, it does not depend on
# what else the machine does
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class BenchModel:
    """A model with its batches: one training step or one evaluation at a time.

    Attributes:
        batches: pairs of an input of the model and the target of the loss, on the
            model's device.
        loss: loss of output and target.
        size: samples in a batch.
        precision: data type of autocast; None runs in the data type of the parameters.
        compiled: compiled forward pass.
    """

    model: nn.Module
    batches: list[tuple[Any, Any]]
    loss: Callable[[Tensor, Any], Tensor]
    size: int
    precision: torch.dtype | None = None
    compiled: CompiledForward | None = None

    def __post_init__(self) -> None:
        parameters = list(self.model.parameters())
        self.device = parameters[0].device if parameters else torch.device("cpu")
        self.optimizer = torch.optim.Adam(parameters, 1e-3, fused=True) if parameters else None

    def train_step(self, i: int) -> None:
        """Forward, backward and Adam on batch i."""
        inputs, target = self.batches[i % len(self.batches)]
        if self.optimizer is not None:
            self.optimizer.zero_grad()
        with self._autocast():
            output = (self.compiled or self.model)(inputs)
        self.loss(output, target).backward()
        if self.optimizer is not None:
            self.optimizer.step()

    @torch.no_grad()
    def evaluate(self, i: int) -> None:
        """Forward on batch i."""
        with self._autocast():
            forward = self.compiled.evaluate if self.compiled else self.model
            forward(self.batches[i % len(self.batches)][0])

    def time(self, mode: str, clock: str = "wall") -> float:
        """Seconds per batch after one to warm up, averaged over all batches, which are repeated for
        `LEAST_SECONDS`: the time of a single short step is that of waking up.

        Args:
            mode: `train` or `eval`.
            clock: see `CLOCKS`.
        """
        now = CLOCKS[clock]
        self.model.train(mode == "train")
        work = self.train_step if mode == "train" else self.evaluate
        work(0)
        self._wait()
        start, steps = now(), 0
        while steps % len(self.batches) or now() - start < LEAST_SECONDS:
            work(steps)
            steps += 1
        self._wait()
        return (now() - start) / steps

    def _wait(self) -> None:
        """Wait until the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _autocast(self) -> AbstractContextManager:
        if self.precision is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)


def output_loss(output: Tensor, target: Tensor) -> Tensor:
    """The loss that the data set trains with, on targets as they are."""
    if target.is_floating_point():
        return (output - target).abs().mean()
    return F.cross_entropy(output, target)


def square_sum(output: Tensor, _: Any) -> Tensor:
    """A loss for benchmarks, which have no targets."""
    return output.square().sum()


def make_model(inputs: BenchInputs, side: str, lieconv: str | None = None) -> BenchModel:
    """Build one side of a case.

    Args:
        side: `gigp`, `gigp bf16`, or `reference`.
        lieconv: checkout of github.com/mfinzi/LieConv, for the reference.
    """
    batches = inputs.batches
    size = len(batches[0][1])
    if side == "reference":
        assert lieconv is not None
        net = reference.build_net(lieconv, inputs.cfg, inputs)
        prepared = [(net.prepare(cloud), target) for cloud, target in batches]
        return BenchModel(net, prepared, output_loss, size)
    model = build_model(inputs.cfg, inputs)
    model.calibrate([batches[0][0]])
    precision = torch.bfloat16 if side == "gigp bf16" else None
    return BenchModel(model, batches, output_loss, size, precision)


def make_pool(
    side: str, gigp: str | None = None, points: int = 128, orbits: int = 50
) -> BenchModel:
    """The pool alone on 64 random clouds of 64 channels, with gradients of the features.

    Args:
        side: `gigp` or `reference`.
        gigp: checkout of github.com/YonatanGideoni/gigp, for the reference.
    """
    generator = torch.Generator().manual_seed(0)
    pos = torch.randn(64, points, 3, generator=generator)
    feat = torch.randn(64, points, 64, generator=generator, requires_grad=True)
    mask = torch.ones(64, points, dtype=torch.bool)
    layer: nn.Module
    if side == "reference":
        assert gigp is not None
        layer = reference.build_gigp(gigp, channels=64, orbits=orbits)
    else:
        pool = GIGP(64, SO3(), orbits=orbits, delta=0.5, hidden_channels=128)
        pool.orbits.fit(0.0, 4.0)
        layer = PoolOnTuple(pool)
    return BenchModel(layer, [((pos, feat, mask), None)], square_sum, 64)


def make_pool_on_molecules(inputs: BenchInputs, pool: str) -> BenchModel:
    """A pool alone on molecules of different sizes, with gradients of their random features.

    Args:
        inputs: batches of QM9.
        pool: name of a pool in configs/pool.
    """
    cfg = compose_case(["dataset=qm9", f"pool={pool}"])
    layer = instantiate(cfg.pool, channels=64)
    clouds = [cloud for cloud, _ in inputs.batches]
    layer.fit(clouds)
    generator = torch.Generator().manual_seed(0)
    batches = []
    for cloud in clouds:
        feat = torch.randn(*cloud.mask.shape, 64, generator=generator, requires_grad=True)
        batches.append(((cloud.pos, feat, cloud.mask), None))
    return BenchModel(PoolOnTuple(layer), batches, square_sum, len(clouds[0].mask))


def make_aggregation(inputs: BenchInputs, name: str) -> BenchModel:
    """An aggregation alone, GIGP's or one of PyTorch Geometric, on points of molecules in one list.

    Args:
        inputs: batches of QM9.
        name: that of the class, without `Aggregation`.
    """
    channels = 64
    mlp = partial(gnn.MLP, [channels, 2 * channels, channels], norm=None)
    make: dict[str, Callable[[], nn.Module]] = {
        "GIGP": lambda: GIGPAggregation(channels, SO3(), hidden_channels=2 * channels),
        "Mean": gnn.MeanAggregation,
        "Softmax": lambda: gnn.SoftmaxAggregation(learn=True, channels=channels),
        "Attentional": lambda: gnn.AttentionalAggregation(
            gnn.MLP([channels, 2 * channels, 1], norm=None), mlp()
        ),
        "DeepSets": lambda: gnn.DeepSetsAggregation(mlp(), mlp()),
        "SetTransformer": lambda: gnn.SetTransformerAggregation(channels, heads=4),
    }
    generator = torch.Generator().manual_seed(0)
    graphs, batches = [], []
    for cloud, _ in inputs.batches:
        pos, sizes = cloud.pos[cloud.mask], cloud.mask.sum(1)
        feat = torch.randn(len(pos), channels, generator=generator, requires_grad=True)
        index = torch.arange(len(sizes)).repeat_interleave(sizes)
        graphs.append(Data(x=feat, pos=pos, batch=index))
        batches.append(((pos, feat, index, len(sizes)), None))
    layer = make[name]()
    if isinstance(layer, GIGPAggregation):
        layer.fit(graphs)
    return BenchModel(
        AggregationOnTuple(layer), batches, square_sum, len(inputs.batches[0][0].mask)
    )


class AggregationOnTuple(nn.Module):
    """An aggregation that takes positions, features, index and number of graphs as one tuple."""

    def __init__(self, aggregation: nn.Module) -> None:
        super().__init__()
        self.aggregation = aggregation

    def forward(self, points: tuple[Tensor, Tensor, Tensor, int]) -> Tensor:
        pos, feat, index, graphs = points
        positions = {"pos": pos} if isinstance(self.aggregation, GIGPAggregation) else {}
        return self.aggregation(feat, index, dim_size=graphs, **positions)


class PoolOnTuple(nn.Module):
    """A pool that takes positions, features and mask as one tuple, as the reference does."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, cloud: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        pos, feat, mask = cloud
        return self.pool(feat, pos, mask)
