"""The data sets: real molecules, real digits, synthetic clouds with known answers, and features of a backbone."""

from gigp.datasets.features import BackboneFeatures
from gigp.datasets.orbits import OrbitClouds
from gigp.datasets.qm9 import QM9
from gigp.datasets.rotmnist import RotMNIST

__all__ = ["QM9", "BackboneFeatures", "OrbitClouds", "RotMNIST"]
