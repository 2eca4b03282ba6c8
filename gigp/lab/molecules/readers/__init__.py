"""Readers of molecules. They go on after a broken entry and report its error, where the readers of
the usual libraries stop at the first.
"""

from gigp.lab.data.entries import Reader
from gigp.lab.molecules.readers.sdf import read_sdf
from gigp.lab.molecules.readers.table import read_csv
from gigp.lab.molecules.readers.xyz import read_xyz

MOLECULE_READERS: dict[str, Reader] = {
    ".xyz": read_xyz,
    ".extxyz": read_xyz,
    ".sdf": read_sdf,
    ".mol": read_sdf,
    ".csv": read_csv,
}
MOLECULE_READERS |= {f"{ending}.gz": reader for ending, reader in MOLECULE_READERS.items()}
