"""Count the operations that a piece of work dispatches and its arithmetic, and find operations that
make a GPU wait.
"""

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

# operations whose result the host has to wait for
WAITING = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "item",
    "is_nonzero",
    "equal",
    "unique_consecutive",
    "_unique2",
)
# beginnings of the names of operations that start no kernel: views, allocations, marks
FREE = (
    "detach",
    "alias",
    "_unsafe_view",
    "_reshape_alias",
    "empty",
    "new_empty",
    "_record_function",
)


class _OneModule:
    """In place of torch's tracker of modules: all operations belong to one."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class FlopCounter(FlopCounterMode):
    """torch's counter of floating-point operations, without the global hooks by which it sorts them
    by module: with hooks, layers take other, slower paths than those to be counted.
    """

    def __init__(self, custom_mapping: dict[Any, Any] | None = None) -> None:
        super().__init__(display=False, custom_mapping=custom_mapping)
        self.mod_tracker: Any = _OneModule()


class OperationCounter(TorchDispatchMode):
    """Counts operations, views and allocations left out.

    Attributes:
        counts: number of calls by name.
        waiting: names of the operations that make the host wait, and copies between it and a
            device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.waiting: list[str] = []

    @property
    def total(self) -> int:
        """Number of operations."""
        return sum(self.counts.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not (func.is_view or name.startswith(FREE)):
            self.counts[name] += 1
        if name in WAITING or _waiting_index(name, args) or _between_devices(name, args, out):
            self.waiting.append(name)
        return out


def _waiting_index(name: str, args: tuple) -> bool:
    """Whether an index is a mask, whose number of True values must be copied to the host, or on the
    host, as a list is, and must be copied to the device.
    """
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return False
    indices = [index for index in args[1] if index is not None]
    return any(i.dtype.itemsize == 1 or i.device.type != args[0].device.type for i in indices)


def _between_devices(name: str, args: tuple, out: Any) -> bool:
    """Whether values are copied between the host and a device."""
    if name not in ("_to_copy", "copy_"):
        return False
    source = args[1] if name == "copy_" else args[0]
    return source.device.type != out.device.type
