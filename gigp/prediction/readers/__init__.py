"""Readers of molecules and images. They go on after a broken entry and say what is wrong with it,
where the readers of the usual libraries stop at the first.
"""

from gigp.prediction.readers.entries import Reader
from gigp.prediction.readers.images import read_idx, read_npy, read_png
from gigp.prediction.readers.sdf import read_sdf
from gigp.prediction.readers.table import read_csv
from gigp.prediction.readers.xyz import read_xyz

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
