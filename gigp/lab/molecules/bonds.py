"""What distances tell of molecules: bonds, parts, hydrogens that are missing, cells that cut."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gigp.lab.molecules.atoms import RADII
from gigp.lab.molecules.readers.molecule import Molecule

REACH = 1.25  # atoms are bonded up to so many times the sum of their covalent radii
PAIRS = 2_000_000  # of atoms that are looked at together
HYDROGEN, CARBON, NITROGEN, OXYGEN, FLUORINE = 1, 6, 7, 8, 9
# Bounds that every atom of QM9's 130,831 molecules keeps with all its hydrogens, in Angstrom but
# for BENT and PYRAMID: the shortest bond of an atom that has one or two bonds, by element
TERMINAL = {CARBON: 1.22, NITROGEN: 1.25, OXYGEN: 1.335}
BRIDGE = {NITROGEN: 1.385}
BENT = 0.8  # length of the sum of the unit vectors along the two bonds of a carbon
PYRAMID = (0.4, 0.85)  # triple product of those along the three bonds of a carbon
SINGLE = 1.38  # at least, its shortest bond to another element than hydrogen
STRAINED = 1.45  # at most, a double bond of such a carbon in a cage


class Geometry(NamedTuple):
    """Molecules side by side, padded to the size of the largest.

    Attributes:
        charges: nuclear charges, 0 for padding, (B, N).
        vectors: from atom to atom in Angstrom, (B, N, N, 3).
        distances: their lengths; infinite from an atom to itself and to padding, (B, N, N).
        bonded: which atoms are as near as bonded ones, (B, N, N).
    """

    charges: np.ndarray
    vectors: np.ndarray
    distances: np.ndarray
    bonded: np.ndarray

    @classmethod
    def of(cls, charges: np.ndarray, positions: np.ndarray) -> "Geometry":
        """The geometry of molecules with nuclear charges (B, N) at positions (B, N, 3)."""
        real = charges > 0
        vectors = positions[:, None] - positions[:, :, None]
        distances = np.sqrt(np.einsum("bijk,bijk->bij", vectors, vectors))
        pairs = real[:, :, None] & real[:, None] & ~np.eye(real.shape[1], dtype=bool)
        distances[~pairs] = np.inf
        radii = RADII[charges]
        return cls(
            charges, vectors, distances, distances < REACH * (radii[:, :, None] + radii[:, None])
        )


def geometries(molecules: Sequence[Molecule]) -> Iterator[Geometry]:
    """Geometries of consecutive molecules, few enough at a time to bound the memory."""
    batch: list[Molecule] = []
    largest = 0
    for molecule in molecules:
        size = max(largest, len(molecule.charges))
        if batch and (len(batch) + 1) * size**2 > PAIRS:
            yield _side_by_side(batch)
            batch, size = [], len(molecule.charges)
        batch.append(molecule)
        largest = size
    if batch:
        yield _side_by_side(batch)


def _side_by_side(molecules: Sequence[Molecule]) -> Geometry:
    sizes = np.array([len(molecule.charges) for molecule in molecules])
    real = np.arange(sizes.max()) < sizes[:, None]
    charges = np.zeros(real.shape, np.int64)
    positions = np.zeros((*real.shape, 3))
    charges[real] = np.concatenate([molecule.charges.numpy() for molecule in molecules])
    positions[real] = np.concatenate([molecule.positions.numpy() for molecule in molecules])
    return Geometry.of(charges, positions)


def shortest_distances(geometry: Geometry) -> np.ndarray:
    """Shortest distance between two atoms of each molecule; infinite for single atoms, (B,)."""
    return geometry.distances.min((1, 2))


def in_one_part(geometry: Geometry) -> np.ndarray:
    """Whether bonds connect all atoms of each molecule, (B,)."""
    real = geometry.charges > 0
    reached = np.zeros_like(real)
    reached[:, 0] = True
    while True:
        further = reached | (geometry.bonded & reached[:, None]).any(2)
        if (further == reached).all():
            return (reached == real).all(1)
        reached = further


def lacking_hydrogens(geometry: Geometry) -> np.ndarray:
    """Index of the first atom of each molecule whose bonds are as if hydrogens were missing; -1
    where there is none, (B,).

    Only atoms of C, N and O that are bonded to H, C, N, O and F alone are looked at.
    """
    charges, bonded = geometry.charges, geometry.bonded
    usual = np.isin(charges, (HYDROGEN, CARBON, NITROGEN, OXYGEN, FLUORINE))
    several = (charges > 0).sum(1, keepdims=True) > 1
    clear = several & ~(bonded & ~usual[:, None]).any(2)
    numbers = bonded.sum(2)
    shortest = geometry.distances.min(2)
    lacking = np.isin(charges, (CARBON, NITROGEN, OXYGEN)) & (numbers == 0)
    for bonds, bounds in ((1, TERMINAL), (2, BRIDGE)):
        for element, bound in bounds.items():
            lacking |= (charges == element) & (numbers == bonds) & (shortest > bound)
    partner = np.take_along_axis(charges, geometry.distances.argmin(2), 1)
    carbon = charges == CARBON
    lacking |= carbon & (numbers == 1) & ~np.isin(partner, (NITROGEN, OXYGEN))
    lacking |= carbon & (numbers == 2) & (_sum_of_directions(geometry) > BENT)
    lacking |= carbon & (numbers == 3) & _pyramids(geometry)
    lacking &= clear
    return np.where(lacking.any(1), lacking.argmax(1), -1)


def _directions(geometry: Geometry) -> np.ndarray:
    """Unit vectors along bonds, 0 elsewhere, (B, N, N, 3)."""
    lengths = np.where(geometry.bonded, geometry.distances, np.inf)
    return geometry.vectors / lengths[..., None]


def _sum_of_directions(geometry: Geometry) -> np.ndarray:
    return np.linalg.norm(_directions(geometry).sum(2), axis=-1)


def _pyramids(geometry: Geometry) -> np.ndarray:
    """Atoms that are out of the plane of their three nearest neighbors as if a fourth were missing:
    their bonds are single ones, also for what cages do to double bonds, (B, N).
    """
    charges, distances = geometry.charges, geometry.distances
    if charges.shape[1] < 4:
        return np.zeros(charges.shape, bool)
    nearest = np.argsort(distances, 2)[:, :, :3]  # (B, N, 3)
    three = np.take_along_axis(_directions(geometry), nearest[..., None], 2)  # (B, N, 3, 3)
    volume = np.abs(np.linalg.det(three))
    to_heavy = np.where(charges[:, None] > HYDROGEN, distances, np.inf).min(2)
    numbers = geometry.bonded.sum(2)
    open_ended = np.where(charges == CARBON, numbers < 4, (charges == NITROGEN) & (numbers < 3))
    double = (geometry.bonded & open_ended[:, None] & (distances < STRAINED)).any(2)
    return (volume > PYRAMID[0]) & (volume < PYRAMID[1]) & (to_heavy > SINGLE) & ~double


def cut_by_cell(molecule: Molecule, cell: np.ndarray, periodic: Sequence[bool]) -> bool:
    """Whether atoms of a molecule are bonded to the image of others across the border of a
    periodic cell, but not to those themselves.

    Args:
        cell: vectors of the cell as rows in Angstrom, (3, 3).
        periodic: directions in which the cell repeats, (3,).
    """
    steps = [range(-1, 2) if repeats else range(1) for repeats in periodic]
    shifts = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3) @ cell  # (S, 3)
    charges, pos = molecule.charges.numpy(), molecule.positions.numpy()
    reach = REACH * (RADII[charges][:, None] + RADII[charges])
    for shift in shifts[np.abs(shifts).sum(1) > 0]:
        if (np.linalg.norm(pos[:, None] - pos + shift, axis=-1) < reach).any():
            return True
    return False
