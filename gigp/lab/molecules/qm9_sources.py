"""Sources of the molecules of QM9; all give the same arrays."""

import importlib.metadata
import shutil
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch

from gigp.errors import InputError
from gigp.lab.data.cache import Arrays
from gigp.lab.data.download import check_file, download
from gigp.lab.data.targets import TARGETS
from gigp.lab.hashing import hash_file
from gigp.lab.molecules.atoms import ELEMENTS
from gigp.lab.molecules.references import atom_references
from gigp.lab.progress import track

NUM_MOLECULES = 130_831  # 133,885 less the 3,054 that fail the geometry consistency check
PYG_MEMBER, PYG_SIZE = "qm9_v3.pt", 2_000_000_000  # of the archive; bytes, at most
QM9PACK_SHA256 = {
    "qm9_part1.csv": "19f0a5d595462d52cd82eef3370f3e9eb55a1f52cb14985657200349568deff3",
    "qm9_part2.csv": "2bca113fdc0b28a13563c80ed9b240e934f3da6c64c64fe74ddb4f0f36036e61",
    "qm9_part3.csv": "9c5efb5733d2af149db8d95d36ff198b4ffed12d9f7b344220a1e5877d5c6a43",
}


def read_qm9(source: str, root: Path) -> Arrays:
    """Read all molecules from a source.

    Args:
        source: `qm9pack`, the tables within that package (no network), or `pyg`, the download of
            PyTorch Geometric.
        root: folder of the download of `pyg`.

    Returns:
        charges (A,) int8 and positions (A, 3) float32 in Angstrom of all atoms, sizes (M,) int8 of
        the molecules, targets (M, 12) float64 in internal units (`gigp.lab.data.targets`), and
        references (10, 12) float64, the targets of free atoms by nuclear charge.

    Raises:
        InputError: the source is missing, or its content is not QM9.
    """
    arrays = _from_qm9pack() if source == "qm9pack" else _from_pyg(root)
    num = len(arrays["sizes"])
    if num != NUM_MOLECULES:
        raise InputError(
            f"source={source} holds {num} molecules, not {NUM_MOLECULES}; fetch it again."
        )
    if source == "pyg":  # its publisher states no checksum
        check_same(arrays, _from_qm9pack())
    return arrays


def _from_qm9pack() -> Arrays:
    import pandas as pd

    try:
        # importing it fails on current setuptools
        package = importlib.metadata.distribution("qm9pack")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "source=qm9pack needs the package qm9pack; run `pip install qm9pack==1.0.3`."
        ) from None
    columns = [target.column for target in TARGETS.values()]
    tables = []
    for name, expected in track(QM9PACK_SHA256.items(), "Reading QM9", len(QM9PACK_SHA256)):
        path = Path(str(package.locate_file(f"qm9pack/data/{name}")))
        if not path.exists() or hash_file(path) != expected:
            raise InputError(
                f"{path} is missing or damaged; run `pip install --force-reinstall qm9pack==1.0.3`."
            )
        tables.append(pd.read_csv(path, usecols=["N_atoms", "Elements", "XYZ_Ang", *columns]))
    table = pd.concat(tables)
    symbols, numbers = (_flatten(table[column]) for column in ("Elements", "XYZ_Ang"))
    return {
        "charges": np.array([ELEMENTS[symbol] for symbol in symbols], np.int8),
        "positions": np.array(numbers, np.float64).astype(np.float32).reshape(-1, 3),
        "sizes": table["N_atoms"].to_numpy(np.int8),
        "targets": table[columns].to_numpy(np.float64)
        * [target.to_internal for target in TARGETS.values()],
        "references": atom_references(),
    }


def _flatten(lists: Iterable[str]) -> list[str]:
    """All items of a column of lists written out as text, such as "[[0.1,2],[3,4]]" or
    "['C','H']".
    """
    return ",".join(lists).translate(str.maketrans("", "", "[]' ")).split(",")


def _from_pyg(root: Path) -> Arrays:
    """PyTorch Geometric's molecules, read here: its own reader could execute code in a
    manipulated file.
    """
    path = root / "pyg-qm9" / "raw" / PYG_MEMBER
    if not path.exists():
        _download_pyg(path)
    check_file(path, PYG_SIZE)
    if is_zipfile(path):  # torch would unpack an archive of any size
        with ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > PYG_SIZE:
            raise InputError(
                f"{path} unpacks to {size:,} bytes, more than {PYG_SIZE:,}; delete it."
            )
    try:
        molecules = torch.load(path, weights_only=True)
        arrays: Arrays = {
            "charges": torch.cat([m["z"] for m in molecules]).numpy().astype(np.int8),
            "positions": torch.cat([m["pos"] for m in molecules]).numpy().astype(np.float32),
            "sizes": np.array([len(m["z"]) for m in molecules], np.int8),
            "targets": torch.cat([m["y"] for m in molecules])[:, : len(TARGETS)].double().numpy(),
        }
    except Exception as error:  # torch.load raises errors of many classes
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(
            f"{path} is damaged or something else ({reason}); delete it and try again."
        ) from error
    return {**arrays, "references": atom_references()}


def _download_pyg(path: Path) -> None:
    """Fetch the archive and take the one file out of it that is needed."""
    from torch_geometric.datasets import QM9

    archive, fresh = path.with_suffix(".zip"), not path.parents[1].exists()
    try:
        download(QM9.processed_url, archive, PYG_SIZE)
        with ZipFile(archive) as content:
            if (
                PYG_MEMBER not in content.namelist()
                or content.getinfo(PYG_MEMBER).file_size > PYG_SIZE
            ):
                raise BadZipFile(f"it holds no {PYG_MEMBER} of at most {PYG_SIZE:,} bytes")
            content.extract(PYG_MEMBER, path.parent)
    # no network, timeouts, a full disk, a download cut short
    except (OSError, HTTPException, BadZipFile) as error:
        path.unlink(missing_ok=True)
        if fresh:
            shutil.rmtree(path.parents[1], ignore_errors=True)
        raise InputError(
            f"source=pyg could not download QM9 to {path} ({error}); try again, or place the file "
            "there by hand, or use dataset.source=qm9pack, which needs no network."
        ) from error
    finally:
        archive.unlink(missing_ok=True)


def check_same(arrays: Arrays, others: Arrays) -> None:
    """Refuse a copy of the molecules that are not those of the tables of known checksum, to the
    digits that it keeps.

    Raises:
        InputError: naming what differs.
    """
    for name, rtol, atol in (
        ("sizes", 0, 0),
        ("charges", 0, 0),
        ("positions", 0, 1e-3),
        ("targets", 1e-5, 1e-3),
    ):
        a, b = arrays[name], others[name]
        if a.shape != b.shape or not np.allclose(a, b, rtol, atol):
            raise InputError(
                f"source=pyg: the {name} of the molecules are not those of QM9; delete its folder "
                "pyg-qm9 and try again, or use dataset.source=qm9pack."
            )
