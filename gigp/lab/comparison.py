"""Does GIGP help in a model of your own? Trains it with several pools alike, for a table."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gigp.errors import InputError, check_count, needs_extra
from gigp.groups import Group
from gigp.pointcloud import PointCloud
from gigp.pools import GIGP, MeanPool, Pool
from gigp.pools.controls import PointMLP, ShuffledGIGP

with needs_extra("compare"):
    from scipy import stats
    from torch_geometric.utils import to_dense_batch

    from gigp.pools.pyg import Attentional, PyGPool

LEVEL = 0.95  # of intervals
BASE, OURS = "mean", "gigp"
# pools that have what GIGP has but for orbits that mean something
CONTROLS = {
    "mlp, mean": "An MLP on every point, which knows no orbits,",
    "one orbit": "A single orbit",
    "shuffled orbits": "Orbits that are shuffled among the points",
}

MakePool = Callable[[int, Group], Pool]
Error = Callable[[nn.Module, Any], Tensor]


def attention(channels: int, group: Group) -> Pool:
    """Attention over the points, from PyTorch Geometric."""
    return PyGPool(channels, Attentional(channels))


POOLS: dict[str, MakePool] = {
    BASE: lambda channels, group: MeanPool(channels),
    "mlp, mean": lambda channels, group: PointMLP(channels),
    "attention": attention,
    OURS: partial(GIGP, membership="hat"),
    "one orbit": partial(GIGP, orbits=1),
    "shuffled orbits": partial(ShuffledGIGP, membership="hat"),
}


class GraphPool(nn.Module):
    """A pool of this package that a graph network calls as an aggregation.

    Args:
        pool: takes features, positions and mask.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool

    def forward(
        self, x: Tensor, index: Tensor, *, pos: Tensor, dim_size: int | None = None
    ) -> Tensor:
        """(N, c) features and (N, d) positions of sorted graphs -> (B, out_channels)."""
        feat, mask = to_dense_batch(x, index, batch_size=dim_size)
        return self.pool(feat, to_dense_batch(pos, index, batch_size=dim_size)[0], mask)


class PoolResult(NamedTuple):
    """Results of one pool.

    Attributes:
        errors: mean error over the test samples, for each seed.
        parameters: number of parameters of the model.
    """

    errors: np.ndarray
    parameters: int


class Difference(NamedTuple):
    """Mean difference of two pools, paired by seed, with its interval by Student's t."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> "Difference":
        """first - second; bounds are NaN for a single seed."""
        d = first - second
        if len(d) < 2:
            return cls(float(d.mean()), float("nan"), float("nan"))
        half = stats.t.ppf((1 + LEVEL) / 2, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
        return cls(float(d.mean()), float(d.mean() - half), float(d.mean() + half))

    @property
    def seen(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.mean:+.3g}"
        return f"{self.mean:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


class Comparison(dict[str, PoolResult]):
    """Results by the name of the pool; as text, a table and what it says."""

    def difference(self, pool: str, other: str = BASE) -> Difference:
        """Error of a pool minus that of another one."""
        return Difference.of(self[pool].errors, self[other].errors)

    def __str__(self) -> str:
        head = ["pool", "error", f"minus {BASE}", f"minus {OURS}", "parameters"]
        rows = [head, *map(self._row, self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, "", self.verdict()])

    def _row(self, pool: str) -> list[str]:
        errors, parameters = self[pool]
        spread = f" ± {errors.std(ddof=1):.2g}" if len(errors) > 1 else ""
        cells = [str(self.difference(pool, o)) if pool != o else "" for o in (BASE, OURS)]
        return [pool, f"{errors.mean():.4g}{spread}", *cells, f"{parameters:,}"]

    def verdict(self) -> str:
        """Whether GIGP helps, and whether its orbits do."""
        seeds = len(self[OURS].errors)
        if seeds < 2:
            return "One seed: differences have no interval; nothing can be told."
        gain = self.difference(OURS)
        if not gain.seen:
            return f"No difference between GIGP and mean pooling is seen with {seeds} seeds."
        if gain.mean > 0:
            return f"GIGP has a higher error than mean pooling: {gain}."
        text = [f"GIGP has a lower error than mean pooling: {gain}."]
        control = min((c for c in CONTROLS if c in self), key=lambda c: self[c].errors.mean())
        share = self.difference(control).mean / gain.mean
        text.append(f"{CONTROLS[control]} has {share:.0%} of that;")
        added = self.difference(OURS, control)
        if not added.seen:
            text.append(f"what orbits add to it is not seen ({added}).")
        elif added.mean < 0:
            text.append(f"orbits add the rest ({added}).")
        else:
            text.append(f"it is better without them ({added}).")
        best = min(self, key=lambda pool: self[pool].errors.mean())
        if best != OURS:
            text.append(f"The lowest error is that of {best}.")
        return " ".join(text)


def compare_pools(
    make_model: Callable[[nn.Module], nn.Module],
    train: Iterable[Any],
    test: Iterable[Any],
    error: Error,
    *,
    channels: int,
    group: Group,
    epochs: int = 20,
    seeds: Sequence[int] = (0, 1, 2),
    lr: float = 1e-3,
    pools: Mapping[str, MakePool] | None = None,
    cloud: Callable[[Any], PointCloud] = PointCloud.from_pyg,
    graphs: bool = True,
    device: str | torch.device = "cpu",
) -> Comparison:
    """Train a model with several pools by Adam, at equal budgets and with equal seeds.

    For one seed all pools start from the same model and see the batches in the same order.

    Args:
        make_model: makes the model around a pool, a module.
        train, test: batches, as data loaders, that are gone through anew in each epoch.
        error: error of every sample of a batch, (B,); its mean is the loss of the training, too.
        channels: number of channels that the pool gets.
        group: group whose orbits GIGP distinguishes, as SO(3).
        epochs: passes through `train`.
        seeds: seeds of initialization and order; differences are paired by seed.
        lr: learning rate.
        pools: functions of channels and group by name, beside those of `POOLS`.
        cloud: positions of a batch as a cloud, to fit pools on.
        graphs: the model calls `pool(x, index, pos=pos, dim_size=B)`, as an aggregation of PyTorch
            Geometric; else `pool(feat, pos, mask)`.
        device: device to train on.

    Returns:
        Errors on `test` by pool; print it.

    Raises:
        InputError: no seeds or epochs, no batches, or an error that is not one number for each
            sample.

    Examples:
        >>> from gigp.groups import SO3
        >>> from torch_geometric.data import Batch, Data
        >>> class Net(nn.Module):
        ...     def __init__(self, pool):
        ...         super().__init__()
        ...         self.pool, self.head = pool, nn.Linear(1, 1)
        ...     def forward(self, data):
        ...         return self.head(self.pool(data.x, data.batch, pos=data.pos))[:, 0]
        >>> batch = Batch.from_data_list([Data(x=torch.ones(3, 1), pos=torch.randn(3, 3))])
        >>> result = compare_pools(
        ...     Net, [batch], [batch], lambda net, data: (net(data) - 1).abs(),
        ...     channels=1, group=SO3(), epochs=1,
        ... )
        >>> list(result)
        ['mean', 'mlp, mean', 'attention', 'gigp', 'one orbit', 'shuffled orbits']
    """
    check_count("epochs", epochs)
    check_count("number of seeds", len(seeds))
    results = Comparison()
    for name, make in {**POOLS, **(pools or {})}.items():
        errors, parameters = [], 0
        for seed in seeds:
            torch.manual_seed(seed)
            pool = make(channels, group)
            pool.fit(cloud(batch) for batch in train)
            torch.manual_seed(seed)
            model = make_model(GraphPool(pool) if graphs else pool).to(device)
            fit(model, train, error, epochs, lr, seed, device)
            errors.append(evaluate(model, test, error, device))
            parameters = sum(p.numel() for p in model.parameters())
        results[name] = PoolResult(np.array(errors), parameters)
    return results


def fit(
    model: nn.Module,
    train: Iterable[Any],
    error: Error,
    epochs: int,
    lr: float,
    seed: int,
    device: str | torch.device,
) -> None:
    """Train a model by Adam; the rate falls to 0 by a cosine."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    torch.manual_seed(seed)  # the order of the batches
    model.train()
    for _ in range(epochs):
        for batch in train:
            optimizer.zero_grad()
            check_errors(error(model, move(batch, device))).mean().backward()
            optimizer.step()
        schedule.step()


@torch.no_grad()
def evaluate(
    model: nn.Module, test: Iterable[Any], error: Error, device: str | torch.device
) -> float:
    """Mean error over all samples."""
    model.eval()
    values = [check_errors(error(model, move(batch, device))).cpu() for batch in test]
    if not values:
        raise InputError("test has no batches; pass a data loader of test samples.")
    return float(torch.cat(values).double().mean())


def check_errors(errors: Tensor) -> Tensor:
    """Refuse errors that are not one number for each sample."""
    if errors.dim() != 1:
        raise InputError(
            f"error returned {tuple(errors.shape)}; it must return one number for each sample of "
            "the batch, (B,), as (model(batch) - batch.y).abs()."
        )
    return errors


def move(batch: Any, device: str | torch.device) -> Any:
    """A batch of graphs, tensors or tuples of them on a device."""
    if isinstance(batch, tuple | list):
        return type(batch)(move(part, device) for part in batch)
    return copy.copy(batch).to(device) if hasattr(batch, "to") else batch
