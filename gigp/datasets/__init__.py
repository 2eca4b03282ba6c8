"""The data sets: real molecules and real digits."""

from gigp.datasets.qm9 import QM9

__all__ = ["QM9"]
