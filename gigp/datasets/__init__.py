"""The data sets: real molecules, real digits, and synthetic clouds with known answers."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gigp.datasets.images import Images
    from gigp.datasets.molecules import Molecules
    from gigp.datasets.orbits import OrbitClouds
    from gigp.datasets.qm9 import QM9
    from gigp.datasets.rotmnist import RotMNIST

__all__ = ["QM9", "Images", "Molecules", "OrbitClouds", "RotMNIST"]
HOMES = {
    "Images": "images",
    "Molecules": "molecules",
    "QM9": "qm9",
    "OrbitClouds": "orbits",
    "RotMNIST": "rotmnist",
}


def __getattr__(name: str) -> object:
    """Import a name at its first use; a user of the units of targets alone need not wait
    for Lightning.
    """
    if name not in HOMES:
        raise AttributeError(f"module 'gigp.datasets' has no attribute {name!r}")
    return getattr(import_module(f"gigp.datasets.{HOMES[name]}"), name)
