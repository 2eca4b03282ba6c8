"""What the sources of QM9 hold: every molecule, number by number, and what happens where a source
is missing.
"""

import hashlib
import importlib.metadata
import io
import os
import urllib.request
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.data.targets import HARTREE, TARGETS
from gigp.lab.molecules import qm9_sources
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.molecules.qm9_sources import NUM_MOLECULES, QM9PACK_SHA256, read_qm9
from tests.conftest import DATA
from tests.lab.data.test_targets import NAMES

# sums over all 130,831 rows in the tables' own units, read with the csv module and added with
# math.fsum
SUMS = {
    "mu": 349705.0962,
    "alpha": 9849112.72,
    "homo": -31426.9413,
    "lumo": 1548.3701,
    "gap": 32975.293,
    "r2": 155611783.896,
    "zpve": 19505.551358,
    "U0": -53747919.235855,
    "U": -53746810.948646,
    "H": -53746687.419779,
    "G": -53752289.506399,
    "Cv": 4136923.848,
}


@pytest.fixture(scope="module")
def arrays(qm9):
    """The arrays of the cache: targets in internal units, free atoms not subtracted."""
    return QM9(root=DATA, cache=DATA)._arrays()


@pytest.fixture(scope="module")
def columns(arrays):
    return dict(zip(NAMES, arrays["targets"].T, strict=True))


def test_shapes_and_types(arrays):
    atoms = 2_359_210
    assert {name: (a.shape, str(a.dtype)) for name, a in arrays.items()} == {
        "charges": ((atoms,), "int8"),
        "positions": ((atoms, 3), "float32"),
        "sizes": ((130_831,), "int8"),
        "targets": ((130_831, 12), "float64"),
        "references": ((10, 12), "float64"),
    }
    assert NUM_MOLECULES == 130_831


def test_every_atom_is_there(arrays):
    charges, counts = np.unique(arrays["charges"], return_counts=True)
    assert dict(zip(charges.tolist(), counts.tolist(), strict=True)) == {
        1: 1_208_486,
        6: 831_925,
        7: 132_498,
        8: 183_265,
        9: 3_036,
    }
    assert (arrays["sizes"].min(), arrays["sizes"].max(), arrays["sizes"].sum(dtype=int)) == (
        3,
        29,
        2_359_210,
    )
    assert np.abs(arrays["positions"]).sum(dtype=float) == pytest.approx(
        9_296_478.88511136, rel=1e-8
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_target_is_there(columns, name):
    assert columns[name].sum() == pytest.approx(SUMS[name] * TARGETS[name].to_internal, rel=1e-12)


def test_columns_are_not_mixed_up(columns):
    """Relations that hold molecule by molecule, to the digits of the tables."""
    np.testing.assert_allclose(
        columns["gap"], columns["lumo"] - columns["homo"], atol=1.01e-4 * HARTREE
    )
    # k T at 298 K
    np.testing.assert_allclose(
        columns["H"] - columns["U"], 0.000944 * HARTREE, atol=1.6e-6 * HARTREE
    )
    assert (columns["U0"] < columns["U"]).all()
    assert (columns["G"] < columns["U0"]).mean() > 0.99
    assert (columns["zpve"] > 0).all()


def test_first_molecule_is_methane(arrays, columns):
    assert arrays["sizes"][0] == 5
    assert arrays["charges"][:5].tolist() == [6, 1, 1, 1, 1]
    np.testing.assert_allclose(
        arrays["positions"][0], [-0.0126981359, 1.0858041578, 0.0080009958], atol=1e-8
    )
    bonds = np.linalg.norm(arrays["positions"][1:5] - arrays["positions"][0], axis=1)
    np.testing.assert_allclose(bonds, 1.092, atol=1e-3)  # Angstrom
    first = {name: column[0] for name, column in columns.items()}
    assert (first["mu"], first["alpha"], first["r2"], first["Cv"]) == (0, 13.21, 35.3641, 6.469)
    assert first["homo"] == pytest.approx(-10.5499, abs=1e-3)  # eV
    assert first["zpve"] == pytest.approx(0.044749 * HARTREE)
    assert first["U0"] == pytest.approx(-40.47893 * HARTREE)


def test_last_molecule_is_number_133885(arrays, columns):
    assert arrays["charges"][-16:].tolist() == [6, 7, 6, 6, 6, 8, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1]
    assert arrays["sizes"][-1] == 16
    np.testing.assert_allclose(
        arrays["positions"][-1], [1.2607453273, -1.246753647, -1.9067671561], atol=1e-7
    )
    last = {name: column[-1] for name, column in columns.items()}
    assert (last["mu"], last["alpha"], last["r2"], last["Cv"]) == (0.8626, 69.48, 756.3557, 23.434)
    assert [last[n] / HARTREE for n in ("homo", "lumo", "gap")] == pytest.approx(
        [-0.2316, 0.0742, 0.3058]
    )
    assert [last[n] / HARTREE for n in ("U0", "U", "H", "G")] == pytest.approx(
        [-400.633052, -400.627892, -400.626948, -400.662186], rel=1e-12
    )


@pytest.mark.slow
def test_reading_again_gives_the_same(arrays):
    again = read_qm9("qm9pack", None)
    assert again.keys() == arrays.keys()
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_damaged_source_is_refused(monkeypatch):
    monkeypatch.setitem(QM9PACK_SHA256, "qm9_part1.csv", hashlib.sha256(b"else").hexdigest())
    with pytest.raises(InputError, match=r"damaged.*force-reinstall"):
        read_qm9("qm9pack", None)


def test_missing_package_names_the_fix(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(InputError, match="pip install qm9pack"):
        read_qm9("qm9pack", None)


def test_pyg_without_network_offers_qm9pack(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(
        InputError, match=r"could not download.*Name or service.*dataset.source=qm9pack"
    ):
        read_qm9("pyg", tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK half of an archive"])
def test_pyg_download_cut_short_leaves_nothing(tmp_path, monkeypatch, content):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: io.BytesIO(content))
    with pytest.raises(InputError, match=r"could not download.*dataset.source=qm9pack"):
        read_qm9("pyg", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def pyg(tmp_path, monkeypatch, arrays):
    """PyG's raw file with some real molecules in it, and their arrays from qm9pack."""
    chosen = [0, 1, 21_988, 70_000, 130_830]
    starts = np.cumsum(arrays["sizes"], dtype=int) - arrays["sizes"]
    atoms = [np.arange(starts[i], starts[i] + arrays["sizes"][i]) for i in chosen]
    raw = tmp_path / "pyg-qm9" / "raw"
    raw.mkdir(parents=True)
    # PyG has 19 columns
    values = np.pad(arrays["targets"][chosen], [(0, 0), (0, 7)])
    molecules = [
        {
            "z": torch.from_numpy(arrays["charges"][a]).long(),
            "pos": torch.from_numpy(arrays["positions"][a]),
            "y": torch.from_numpy(y).float().unsqueeze(0),
        }
        for a, y in zip(atoms, values, strict=True)
    ]
    torch.save(molecules, raw / "qm9_v3.pt")
    few = {name: arrays[name][np.concatenate(atoms)] for name in ("charges", "positions")}
    few |= {"references": arrays["references"]} | {
        name: arrays[name][chosen] for name in ("sizes", "targets")
    }
    monkeypatch.setattr(qm9_sources, "_from_qm9pack", lambda: few)
    monkeypatch.setattr(qm9_sources, "NUM_MOLECULES", len(chosen))
    return molecules, few, raw / "qm9_v3.pt"


def test_pyg_reader_on_its_own_file_format(tmp_path, monkeypatch, pyg):
    """It gives what qm9pack gives, to the digits that PyG keeps."""
    _, few, _ = pyg
    read = read_qm9("pyg", tmp_path)
    assert {n: a.dtype for n, a in read.items()} == {n: a.dtype for n, a in few.items()}
    assert all(
        np.array_equal(read[name], few[name])
        for name in ("sizes", "charges", "positions", "references")
    )
    np.testing.assert_allclose(read["targets"], few["targets"], rtol=6e-8)  # single precision
    monkeypatch.undo()
    with pytest.raises(InputError, match="holds 5 molecules, not 130831"):
        read_qm9("pyg", tmp_path)


@pytest.mark.parametrize(
    ("key", "name"), [("z", "charges"), ("pos", "positions"), ("y", "targets")]
)
def test_pyg_with_other_numbers_is_refused(tmp_path, pyg, key, name):
    """Its publisher states no checksum, so it is held against the tables that have one."""
    molecules, _, path = pyg
    molecules[3][key].view(-1)[0] += 1
    torch.save(molecules, path)
    with pytest.raises(InputError, match=f"the {name} of the molecules are not those of QM9"):
        read_qm9("pyg", tmp_path)


def test_pyg_archive_is_read_without_leaving_its_folder(tmp_path, monkeypatch, pyg):
    _, few, path = pyg
    archive, root = io.BytesIO(), tmp_path / "deep" / "down"
    with zipfile.ZipFile(archive, "w") as content:
        content.write(path, "qm9_v3.pt")
        for outside in ("../../escaped", "/tmp/gigp-escaped", "qm9_v3.pt/../../x"):
            content.writestr(outside, b"evil")
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda *args, **kwargs: io.BytesIO(archive.getvalue())
    )
    assert np.array_equal(read_qm9("pyg", root)["charges"], few["charges"])
    assert [p for p in (tmp_path / "deep").rglob("*") if p.is_file()] == [
        root / "pyg-qm9" / "raw" / "qm9_v3.pt"
    ]
    assert not Path("/tmp/gigp-escaped").exists()


@pytest.mark.network
def test_both_sources_agree(tmp_path, arrays):
    """PyG keeps positions to 1e-4 Angstrom and targets in single precision."""
    pyg = read_qm9("pyg", tmp_path)
    assert np.array_equal(pyg["charges"], arrays["charges"])
    assert np.array_equal(pyg["sizes"], arrays["sizes"])
    np.testing.assert_allclose(pyg["positions"], arrays["positions"], atol=5.1e-5)
    np.testing.assert_allclose(pyg["targets"], arrays["targets"], rtol=3e-7, atol=1e-6)


def test_pipes_and_archives_that_unpack_to_more_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "pyg-qm9" / "raw" / "qm9_v3.pt"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(InputError, match="is not a regular file of at most"):
        read_qm9("pyg", tmp_path)
    path.unlink()
    monkeypatch.setattr(qm9_sources, "PYG_SIZE", 1_000_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("qm9_v3/data.pkl", bytes(2_000_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match="unpacks to 2,000,000 bytes, more than 1,000,000"):
        read_qm9("pyg", tmp_path)
