"""Where the molecules of QM9 come from; every source gives the same arrays."""

import importlib.metadata
import shutil
from http.client import HTTPException
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from rich.progress import track

from gigp.datasets.cache import Arrays, sha256_of
from gigp.datasets.targets import TARGETS
from gigp.errors import InputError

NUM_MOLECULES = 130_831  # 133,885 less the 3,054 that fail the geometry consistency check
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
ATOM_HEAT_CAPACITY = 2.981  # cal/(mol K), 3/2 R
QM9PACK_SHA256 = {
    "qm9_part1.csv": "19f0a5d595462d52cd82eef3370f3e9eb55a1f52cb14985657200349568deff3",
    "qm9_part2.csv": "2bca113fdc0b28a13563c80ed9b240e934f3da6c64c64fe74ddb4f0f36036e61",
    "qm9_part3.csv": "9c5efb5733d2af149db8d95d36ff198b4ffed12d9f7b344220a1e5877d5c6a43",
}


def read_qm9(source: str, root: Path) -> Arrays:
    """Read all molecules from a source.

    Args:
        source: `qm9pack`, the tables within that package (no network), or `pyg`, the download of PyTorch Geometric.
        root: where `pyg` keeps its download.

    Returns:
        charges (A,) int8 and positions (A, 3) float32 in Angstrom of all atoms, sizes (M,) int8 of the molecules,
        targets (M, 12) float64 in internal units (`gigp.datasets.targets`), and references (10, 12) float64, the
        targets of free atoms by nuclear charge.

    Raises:
        InputError: the source is not there, or is not what it should be.
    """
    arrays = _from_qm9pack() if source == "qm9pack" else _from_pyg(root)
    num = len(arrays["sizes"])
    if num != NUM_MOLECULES:
        raise InputError(f"source={source} holds {num} molecules, not {NUM_MOLECULES}; fetch it again.")
    return arrays


def _from_qm9pack() -> Arrays:
    try:
        package = importlib.metadata.distribution("qm9pack")  # importing it fails on current setuptools
    except importlib.metadata.PackageNotFoundError:
        raise InputError("source=qm9pack needs the package qm9pack; run `pip install qm9pack==1.0.3`.") from None
    columns = [target.column for target in TARGETS.values()]
    tables = []
    for name, expected in track(QM9PACK_SHA256.items(), "Reading QM9", transient=True):
        path = Path(str(package.locate_file(f"qm9pack/data/{name}")))
        if not path.exists() or sha256_of(path) != expected:
            raise InputError(f"{path} is missing or damaged; run `pip install --force-reinstall qm9pack==1.0.3`.")
        tables.append(pd.read_csv(path, usecols=["N_atoms", "Elements", "XYZ_Ang", *columns]))
    table = pd.concat(tables)
    symbols, numbers = (_flatten(table[column]) for column in ("Elements", "XYZ_Ang"))
    return {
        "charges": np.array([ELEMENTS[symbol] for symbol in symbols], np.int8),
        "positions": np.array(numbers, np.float64).astype(np.float32).reshape(-1, 3),
        "sizes": table["N_atoms"].to_numpy(np.int8),
        "targets": table[columns].to_numpy(np.float64) * [target.to_internal for target in TARGETS.values()],
        "references": atom_references(),
    }


def _flatten(lists: pd.Series) -> list[str]:
    """All items of a column of lists written out as text, such as "[[0.1,2],[3,4]]" or "['C','H']"."""
    return ",".join(lists).translate(str.maketrans("", "", "[]' ")).split(",")


def _from_pyg(root: Path) -> Arrays:
    from torch_geometric.datasets import QM9

    folder = root / "pyg-qm9"
    fresh = not folder.exists()
    try:
        dataset = QM9(str(folder))
    except (OSError, HTTPException, BadZipFile) as error:  # no network, timeouts, a full disk, a download cut short
        if fresh:  # what is half there would be taken for whole the next time
            shutil.rmtree(folder, ignore_errors=True)
        raise InputError(
            f"source=pyg could not download QM9 to {folder} ({error}); delete that folder, if it exists, and try "
            "again, or use dataset.source=qm9pack, which needs no network."
        ) from error
    data = dataset._data
    return {
        "charges": data.z.numpy().astype(np.int8),
        "positions": data.pos.numpy().astype(np.float32),
        "sizes": dataset.slices["z"].diff().numpy().astype(np.int8),
        "targets": data.y[:, : len(TARGETS)].double().numpy(),
        "references": atom_references(),
    }


def atom_references() -> np.ndarray:
    """Targets of free atoms, (10, 12) by nuclear charge; 0 where none is defined.

    Energies are those that PyTorch Geometric lists. It lists none for Cv: a free atom has 3/2 R, as in QM9's own table.
    """
    from torch_geometric.datasets.qm9 import atomrefs

    references = np.zeros((10, len(TARGETS)))
    for index, values in atomrefs.items():
        references[list(ELEMENTS.values()), index] = values
    references[list(ELEMENTS.values()), list(TARGETS).index("Cv")] = ATOM_HEAT_CAPACITY
    return references
