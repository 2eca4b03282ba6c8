"""Chemical elements: symbols, masses and the input features of atoms."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# fmt: off
SYMBOLS = (  # by nuclear charge; 0 is padding
    "",
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S",
    "Cl", "Ar", "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga",
    "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd",
    "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm",
    "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os",
    "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa",
    "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg",
    "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og",
)
MASSES = (  # by nuclear charge, in u: standard atomic weights, or a long-lived isotope's mass
    0.0,
    1.008, 4.003, 6.940, 9.012, 10.810, 12.011, 14.007, 15.999, 18.998, 20.180, 22.990, 24.305,
    26.982, 28.085, 30.974, 32.060, 35.450, 39.948, 39.098, 40.078, 44.956, 47.867, 50.941,
    51.996, 54.938, 55.845, 58.933, 58.693, 63.546, 65.380, 69.723, 72.630, 74.922, 78.971,
    79.904, 83.798, 85.468, 87.620, 88.906, 91.224, 92.906, 95.950, 97.907, 101.070, 102.906,
    106.420, 107.868, 112.414, 114.818, 118.710, 121.760, 127.600, 126.904, 131.293, 132.905,
    137.327, 138.905, 140.116, 140.908, 144.242, 144.913, 150.360, 151.964, 157.250, 158.925,
    162.500, 164.930, 167.259, 168.934, 173.054, 174.967, 178.490, 180.948, 183.840, 186.207,
    190.230, 192.217, 195.084, 196.967, 200.592, 204.380, 207.200, 208.980, 208.982, 209.987,
    222.018, 223.020, 226.025, 227.028, 232.038, 231.036, 238.029, 237.048, 244.064, 243.061,
    247.070, 247.070, 251.080, 252.083, 257.095, 258.098, 259.101, 262.110, 267.122, 268.126,
    271.134, 270.133, 269.134, 278.156, 281.165, 281.166, 285.177, 286.182, 289.190, 289.194,
    293.204, 293.208, 294.214,
)
# by nuclear charge, in Angstrom: covalent radii (Cordero et al. 2008, doi 10.1039/b801115j)
_RADII = (
    0.0,
    0.31, 0.28, 1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58, 1.66, 1.41, 1.21, 1.11, 1.07, 1.05,
    1.02, 1.06, 2.03, 1.76, 1.70, 1.60, 1.53, 1.39, 1.39, 1.32, 1.26, 1.24, 1.32, 1.22, 1.22, 1.20,
    1.19, 1.20, 1.20, 1.16, 2.20, 1.95, 1.90, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44,
    1.42, 1.39, 1.39, 1.38, 1.39, 1.40, 2.44, 2.15, 2.07, 2.04, 2.03, 2.01, 1.99, 1.98, 1.98, 1.96,
    1.94, 1.92, 1.92, 1.89, 1.90, 1.87, 1.87, 1.75, 1.70, 1.62, 1.51, 1.44, 1.41, 1.36, 1.36, 1.32,
    1.45, 1.46, 1.48, 1.40, 1.50, 1.50, 2.60, 2.21, 2.15, 2.06, 2.00, 1.96, 1.90, 1.87, 1.80, 1.69,
)
# fmt: on
# 1.6 where none is measured
RADII = np.pad(np.array(_RADII), (0, len(SYMBOLS) - len(_RADII)), constant_values=1.6)
COLORS = {  # of elements, after Corey, Pauling and Koltun; others have the last one
    **{1: "#f2f2f0", 5: "#e0a98e", 6: "#5a6068", 7: "#3d6fd6", 8: "#d8443c", 9: "#7cc04b"},
    **{14: "#c8a97e", 15: "#e08a2c", 16: "#d9b92e", 17: "#3fae49", 35: "#8f3a2e", 53: "#7a3e9d"},
    0: "#c58ab8",
}
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}  # of QM9


def atom_features(charges: Sequence[int] = tuple(ELEMENTS.values())) -> Tensor:
    """Input features of atoms, one block for each element (Finzi et al. 2020, appendix D).

    A block is 1, z and z^2 for atoms of its element and 0 for others, where z is the nuclear charge
    divided by the largest one.

    Args:
        charges: nuclear charges of the elements, ascending.

    Returns:
        Features by nuclear charge, (largest + 1, 3 * elements); zero for all other charges.
    """
    table = torch.zeros(max(charges) + 1, len(charges), 3)
    for i, charge in enumerate(charges):
        z = charge / max(charges)
        table[charge, i] = torch.tensor([1.0, z, z * z])
    return table.flatten(1)


def formula(charges: Sequence[int]) -> str:
    """Carbon and hydrogen first, then the others by their symbols (Hill)."""
    symbols = [SYMBOLS[charge] for charge in charges]
    first = [symbol for symbol in ("C", "H") if "C" in symbols and symbol in symbols]
    order = [*first, *sorted({*symbols} - {*first})]
    text = "".join(f"{s}{symbols.count(s) if symbols.count(s) > 1 else ''}" for s in order)
    return text.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
