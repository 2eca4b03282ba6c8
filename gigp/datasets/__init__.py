"""The data sets: real molecules and real digits."""

from gigp.datasets.qm9 import QM9
from gigp.datasets.rotmnist import RotMNIST

__all__ = ["QM9", "RotMNIST"]
