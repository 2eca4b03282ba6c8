"""The data sets: real molecules, real digits, and synthetic clouds with known answers."""

from gigp.datasets.orbits import OrbitClouds
from gigp.datasets.qm9 import QM9
from gigp.datasets.rotmnist import RotMNIST

__all__ = ["QM9", "OrbitClouds", "RotMNIST"]
