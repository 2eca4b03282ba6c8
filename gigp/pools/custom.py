"""A pool that a user brings: a module with `forward(feat, pos, mask)`, or an aggregation of
PyTorch Geometric.

The config.yaml of a run names it as `package.module:Class`. Importing a module executes it, and a
run folder may come from a stranger, so the name alone imports nothing: the user's own program must
have called `register` with it.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, getsourcefile, signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gigp.errors import InputError, did_you_mean, needs_extra
from gigp.pointcloud import PointCloud
from gigp.pools.base import Pool
from gigp.pools.pyg import PyGPool

with needs_extra("pyg"):
    from torch_geometric.nn.aggr import Aggregation

CHANNELS = ("channels", "in_channels")  # names of a first argument that always gets the number


class Registered(NamedTuple):
    """A pool that this process may build.

    Attributes:
        make: class or function that makes the module.
        source: hash of the file that defines it; empty where it has no file.
    """

    make: Callable[..., Any]
    source: str


_REGISTERED: dict[str, Registered] = {}


def register(name: str) -> Registered:
    """Import a pool, which executes its module, and let runs of this process use it.

    Args:
        name: `package.module:Class`; a function that returns a module serves, too.

    Raises:
        InputError: there is no such module or class in it, or its module fails.
    """
    path, _, attribute = name.partition(":")
    if not (path and attribute):
        raise InputError(f"{name!r} names no pool; write it as package.module:Class.")
    if path.endswith(".py"):
        module = path.removeprefix("./").removesuffix(".py").replace("/", ".")
        raise InputError(f"{name!r} names a file; name its module, {module}:{attribute}.")
    try:
        imported = importlib.import_module(path)
    except Exception as error:  # whatever the user's module ends in
        raise InputError(
            f"the module {path} cannot be imported ({type(error).__name__}: {error}); is it in the "
            "current folder or installed?"
        ) from error
    make = getattr(imported, attribute, None)
    if not callable(make):
        meant = did_you_mean(attribute, (n for n in vars(imported) if not n.startswith("_")))
        raise InputError(f"{path} has no class or function {attribute}.{meant}")
    file = getsourcefile(make) if isinstance(make, type) or hasattr(make, "__code__") else None
    source = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8] if file else ""
    _REGISTERED[name] = Registered(make, source)
    return _REGISTERED[name]


class CustomPool(Pool):
    """A registered pool as a pool.

    Args:
        channels: number of feature channels.
        pool: its name, see `register`.
        arguments: further arguments of its class.
        source: hash of the file that the run was trained with; None: any.

    Raises:
        InputError: the pool is not registered here or its file has changed, it refuses its
            arguments, is not a module, or does not map (B, N, c) to (B, k).
    """

    syncs_device = True

    def __init__(
        self,
        channels: int,
        pool: str,
        arguments: dict[str, Any] | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(channels)
        if pool not in _REGISTERED:
            raise InputError(
                f"the pool is {pool}, a module that its user brought; if you trust it, call "
                f"gigp.pools.custom.register({pool!r}) first."
            )
        registered = _REGISTERED[pool]
        if source is not None and source != registered.source:
            raise InputError(
                f"the file of {pool} is not the one that the run was trained with (its hash is "
                f"{registered.source}, not {source}); bring that file back, or train again."
            )
        module = build(pool, registered.make, channels, arguments or {})
        is_pyg = isinstance(module, Aggregation)
        self.module: nn.Module = PyGPool(channels, module) if is_pyg else module
        self.out_channels = output_channels(pool, self, channels)

    @property
    def needs_mass(self) -> bool:  # type: ignore[override]
        return isinstance(self.module, Pool) and self.module.needs_mass

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        if isinstance(self.module, Pool):
            self.module.fit(clouds)

    def forward(
        self, feat: Tensor, pos: Tensor, mask: Tensor | None = None, **masses: Tensor
    ) -> Tensor:
        mask = self.check(feat, pos, mask)
        shape = feat.shape[:2]
        return self.module(feat, pos.expand(*shape, -1), mask.expand(shape), **masses)


def build(
    name: str, make: Callable[..., Any], channels: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Make a pool; the number of channels is its first argument, unless that has a default and
    another name than `channels` or `in_channels`.

    Raises:
        InputError: it refuses its arguments, or is not a module.
    """
    parameters = list(signature(make).parameters.values())
    first = next((p for p in parameters if p.kind is not Parameter.VAR_KEYWORD), None)
    takes = first is not None and (first.default is Parameter.empty or first.name in CHANNELS)
    given = first is not None and first.name in arguments
    try:
        module = make(*([channels] if takes and not given else []), **arguments)
    except Exception as error:  # whatever the user's class ends in
        settings = ", ".join(p.name for p in parameters) or "none"
        raise InputError(
            f"{name} cannot be built for {channels} channels ({type(error).__name__}: {error}); "
            f"its arguments are: {settings}."
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{name} made a {type(module).__name__}, not a torch.nn.Module.")
    return module


@torch.no_grad()
def output_channels(name: str, pool: CustomPool, channels: int) -> int:
    """Width of what a pool returns, found on two random clouds of three points.

    Raises:
        InputError: it fails on them, or returns something else than (2, k) numbers.
    """
    mask = torch.tensor([[True, True, True], [True, True, False]])
    masses = {"mass": torch.ones(2, 3)} if pool.needs_mass else {}
    training = pool.training
    try:
        out = pool.eval()(torch.randn(2, 3, channels), torch.randn(2, 3, 3), mask, **masses)
    except InputError:
        raise
    except Exception as error:  # whatever the user's module ends in
        raise InputError(
            f"{name} fails on feat (2, 3, {channels}), pos (2, 3, 3) and mask (2, 3): "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        pool.train(training)
    if not isinstance(out, Tensor) or out.dim() != 2 or len(out) != 2 or not out.shape[1]:
        got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise InputError(
            f"{name} returned {got} for 2 clouds of 3 points with {channels} channels; it must "
            "return (2, k), a vector for each cloud."
        )
    return int(out.shape[1])
