"""Group Invariant Global Pooling: pool a point cloud orbit by orbit (Bujel et al. 2023, arXiv
2305.19207).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gigp import groups, pools, testing
    from gigp.backbones.lieconv import LieConv, LieResNet
    from gigp.lab.comparison import compare_pools
    from gigp.lab.prediction.models import load
    from gigp.pointcloud import PointCloud
    from gigp.pools import GIGP
    from gigp.pools.aggregation import GIGPAggregation

__version__ = "0.1.0"
__all__ = [
    "GIGP",
    "GIGPAggregation",
    "LieConv",
    "LieResNet",
    "PointCloud",
    "__version__",
    "compare_pools",
    "groups",
    "load",
    "pools",
    "testing",
]
HOMES = {
    "GIGP": "gigp.pools",
    "GIGPAggregation": "gigp.pools.aggregation",
    "LieConv": "gigp.backbones.lieconv",
    "LieResNet": "gigp.backbones.lieconv",
    "PointCloud": "gigp.pointcloud",
    "compare_pools": "gigp.lab.comparison",
    "load": "gigp.lab.prediction.models",
}


MODULES = ("groups", "pools", "testing")


def __getattr__(name: str) -> object:
    """Import a name at its first use, so that `import gigp` is fast."""
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    if name in MODULES:
        return import_module(f"gigp.{name}")
    raise AttributeError(f"module 'gigp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
