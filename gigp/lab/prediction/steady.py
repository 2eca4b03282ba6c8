"""Predictions that do not depend on what else a process has set."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def steady_state(device: torch.device) -> Iterator[None]:
    """Compute inside the block with the default settings of torch: no gradients, no autocast,
    single precision by default, its own choice of algorithms, full precision of products.

    What was set before holds again after it.
    """
    dtype, products = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    if deterministic:  # even switching it off takes a second, as it loads the compiler
        torch.use_deterministic_algorithms(False)
    kinds = {device.type, "cpu"}
    try:
        with torch.device("cpu"), torch.no_grad(), torch.autocast("cpu", enabled=False):
            if kinds == {"cpu"}:
                yield
            else:
                with torch.autocast(device.type, enabled=False):
                    yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(products)
        if deterministic:
            torch.use_deterministic_algorithms(True, warn_only=warn_only)
