"""Modules with buffers that are set from training data."""

from typing import Any

import torch
from torch import nn

from gigp.errors import InputError


class FittedModule(nn.Module):
    """Base of modules whose buffers are NaN until `fit`, or a state dict, sets them.

    Attributes:
        fitted_buffers: names of those buffers.
        how_to_fit: error message for a call of `forward` before the fit: what is missing, the fix.
    """

    fitted_buffers: tuple[str, ...] = ()
    how_to_fit: str = ""
    _fitted = False

    def check_fitted(self) -> None:
        """Refuse to work with buffers that are not set.

        Reads the buffers at most once, at the first call: later calls cost nothing on any device,
        and after `fit` or `load_state_dict` the module compiles and exports at once.

        Raises:
            InputError: a buffer is not set.
        """
        if not self._fitted:
            self._fitted = not torch.compiler.is_compiling() and self._buffers_are_set()
            if not self._fitted:
                raise InputError(self.how_to_fit)

    def _buffers_are_set(self) -> bool:
        buffers = [getattr(self, name) for name in self.fitted_buffers]
        return not any(bool(buffer.isnan().any()) for buffer in buffers)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._fitted = self._buffers_are_set()
