"""Readers of molecules and images. They go on after a broken entry and report its error,
where the readers of the usual libraries stop at the first.
"""

from gigp.datasets.readers.entries import Reader
from gigp.datasets.readers.images import read_idx, read_npy, read_png
from gigp.datasets.readers.sdf import read_sdf
from gigp.datasets.readers.table import read_csv
from gigp.datasets.readers.xyz import read_xyz

MOLECULE_READERS: dict[str, Reader] = {
    ".xyz": read_xyz,
    ".extxyz": read_xyz,
    ".sdf": read_sdf,
    ".mol": read_sdf,
    ".csv": read_csv,
}
IMAGE_READERS: dict[str, Reader] = {
    ".png": read_png,
    ".npy": read_npy,
    ".idx": read_idx,
    "idx3-ubyte": read_idx,
}
