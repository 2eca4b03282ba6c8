"""Lie groups that act on the plane and on space."""

from gigp.groups.base import Group
from gigp.groups.isotropic import E3
from gigp.groups.plane import SE2, SO2, Rx, RxSO2
from gigp.groups.space import SE3, SO3
from gigp.groups.translations import T, Trivial, Tx, Ty

__all__ = ["E3", "SE2", "SE3", "SO2", "SO3", "Group", "Rx", "RxSO2", "T", "Trivial", "Tx", "Ty"]
