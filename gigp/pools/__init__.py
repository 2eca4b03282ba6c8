"""Pools: features of a masked point cloud to one invariant vector.

`GIGPAggregation` (gigp.pools.aggregation) and `Readout` (gigp.pools.readouts) need PyTorch
Geometric and are imported from their modules.
"""

from gigp.pools.base import MaxPool, MeanPool, Pool, SumPool
from gigp.pools.controls import DeepSets, MeanMLP, ShuffledGIGP
from gigp.pools.gigp import GIGP
from gigp.pools.moments import Moments
from gigp.pools.orbits import Orbits
from gigp.pools.released import ReleasedGIGP

__all__ = [
    "GIGP",
    "DeepSets",
    "MaxPool",
    "MeanMLP",
    "MeanPool",
    "Moments",
    "Orbits",
    "Pool",
    "ReleasedGIGP",
    "ShuffledGIGP",
    "SumPool",
]
