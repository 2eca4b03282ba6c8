"""Pools: features of a masked point cloud to one invariant vector.

`GIGPAggregation` (gigp.pools.aggregation) and `PyGPool` (gigp.pools.pyg) need PyTorch
Geometric and are imported from their modules.
"""

from gigp.pools.base import MaxPool, MeanPool, Pool, SumPool
from gigp.pools.gigp import GIGP
from gigp.pools.moments import Moments
from gigp.pools.orbits import Orbits

__all__ = [
    "GIGP",
    "MaxPool",
    "MeanPool",
    "Moments",
    "Orbits",
    "Pool",
    "SumPool",
]
