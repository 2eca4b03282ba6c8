"""LieConv: convolutions on Lie groups, and the residual network of them (arXiv 2002.12880)."""

from gigp.backbones.lieconv.layer import LieConv
from gigp.backbones.lieconv.net import LieResNet

__all__ = ["LieConv", "LieResNet"]
