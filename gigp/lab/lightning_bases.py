"""Base classes of Lightning; where it is not installed, plain ones, with which a trained model
predicts but cannot be trained.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING or find_spec("lightning"):
    from lightning import LightningDataModule, LightningModule
else:

    class LightningModule(nn.Module):
        """A module without training."""

    class LightningDataModule:
        """A data module without a trainer."""

        trainer: Any = None


__all__ = ["LightningDataModule", "LightningModule"]
