"""Group Invariant Global Pooling: pool a point cloud orbit by orbit (Bujel et al. 2023, arXiv
2305.19207).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gigp.backbones.lieconv import LieConv, LieResNet
    from gigp.lab.prediction.models import load
    from gigp.pointcloud import PointCloud
    from gigp.pools import GIGP
    from gigp.pools.aggregation import GIGPAggregation

__all__ = ["GIGP", "GIGPAggregation", "LieConv", "LieResNet", "PointCloud", "load"]
HOMES = {
    "GIGP": "gigp.pools",
    "GIGPAggregation": "gigp.pools.aggregation",
    "LieConv": "gigp.backbones.lieconv",
    "LieResNet": "gigp.backbones.lieconv",
    "PointCloud": "gigp.pointcloud",
    "load": "gigp.lab.prediction.models",
}


def __getattr__(name: str) -> object:
    """Import a name at its first use, so that `import gigp` is fast."""
    if name not in HOMES:
        raise AttributeError(f"module 'gigp' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
