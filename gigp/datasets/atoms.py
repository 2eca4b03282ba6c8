"""Chemical elements: charges, masses and the input features of atoms."""

import torch
from torch import Tensor

ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
MASSES = [0.0, 1.008, 0, 0, 0, 0, 12.011, 14.007, 15.999, 18.998]  # by nuclear charge, in u


def atom_features() -> Tensor:
    """Features by nuclear charge, (10, 15); zero for 0, which is padding."""
    table = torch.zeros(10, len(ELEMENTS), 3)
    for i, charge in enumerate(ELEMENTS.values()):
        z = charge / 9
        table[charge, i] = torch.tensor([1.0, z, z * z])
    return table.flatten(1)
