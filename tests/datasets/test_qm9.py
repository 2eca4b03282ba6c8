"""QM9, the real one: content, targets, splits, batches."""

import hashlib

import numpy as np
import pytest
import torch

from gigp.datasets import QM9
from gigp.datasets.qm9 import SPLITS, atom_features, split_indices
from gigp.datasets.qm9_sources import NUM_MOLECULES, QM9PACK_SHA256, atom_references, read_qm9
from gigp.datasets.targets import HARTREE, TARGETS, parse_targets
from gigp.errors import InputError
from gigp.pointcloud import PointCloud

NAMES = ["mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv"]


def test_all_molecules_are_there(qm9):
    assert len(qm9.values) == NUM_MOLECULES == 130_831
    assert int(qm9.mask.sum()) == 2_359_210  # atoms
    elements, counts = qm9.charges[qm9.mask].unique(return_counts=True)
    assert elements.tolist() == [1, 6, 7, 8, 9]
    assert int(counts.sum()) == 2_359_210
    assert int(qm9.mask.sum(1).min()) == 3
    assert qm9.mask.shape[1] == 29
    assert (qm9.positions[~qm9.mask] == 0).all()
    assert (qm9.charges[~qm9.mask] == 0).all()


def test_first_molecule_is_methane(qm9):
    assert qm9.charges[0, :6].tolist() == [6, 1, 1, 1, 1, 0]
    bonds = (qm9.positions[0, 1:5] - qm9.positions[0, 0]).norm(dim=-1)
    torch.testing.assert_close(bonds, torch.full((4,), 1.092), rtol=0, atol=1e-3)  # Angstrom
    raw = dict(zip(NAMES, read_row(0), strict=True))
    assert raw["homo"] == pytest.approx(-0.3877 * HARTREE)
    assert raw["alpha"] == 13.21
    assert raw["Cv"] == 6.469
    assert raw["U0"] == pytest.approx(-40.47893 * HARTREE)


def read_row(index: int) -> np.ndarray:
    """Targets before subtraction of free atoms, from the cache itself."""
    from tests.conftest import DATA

    return QM9(root=DATA, cache=DATA)._arrays()["targets"][index]


def test_last_molecule_and_column_means(qm9):
    last = qm9.charges[-1][qm9.mask[-1]]
    assert sorted(last.tolist()) == sorted([6] * int((last == 6).sum()) + [7] * int((last == 7).sum())
                                           + [8] * int((last == 8).sum()) + [1] * int((last == 1).sum()))  # fmt: skip
    means = dict(zip(NAMES, qm9.values.double().mean(0).tolist(), strict=True))
    assert means["mu"] == pytest.approx(2.672952, abs=1e-5)       # D
    assert means["homo"] == pytest.approx(-6.5362, abs=1e-3)      # eV
    assert means["gap"] == pytest.approx(means["lumo"] - means["homo"], abs=1e-4)
    assert means["U0"] == pytest.approx(-76.116, abs=1e-2)        # eV, atomization energy


def test_targets_table():
    assert list(TARGETS) == NAMES
    assert {t.name for t in TARGETS.values() if t.referenced} == {"zpve", "U0", "U", "H", "G", "Cv"}
    for target in TARGETS.values():
        assert (target.unit, target.factor) == (("meV", 1000.0) if target.internal == "eV" else (target.internal, 1.0))
    assert {t.name for t in TARGETS.values() if t.kind == "intensive"} == {"mu", "homo", "lumo", "gap"}
    assert TARGETS["zpve"].unit == TARGETS["homo"].unit == "meV"  # one unit for all energies


def test_atom_references_by_hand(qm9):
    """Methane: U0 less one carbon and four hydrogens, in eV; free atoms have no zero-point energy."""
    table = dict(zip(NAMES, atom_references().T, strict=True))
    expected = -40.47893 * HARTREE - (-1029.86312267 + 4 * -13.61312172)
    assert float(qm9.values[0, NAMES.index("U0")]) == pytest.approx(expected, abs=1e-4)
    assert float(qm9.values[0, NAMES.index("Cv")]) == pytest.approx(6.469 - 5 * 2.981, abs=1e-4)
    assert (table["zpve"] == 0).all()
    assert float(qm9.values[0, NAMES.index("homo")]) == pytest.approx(-0.3877 * HARTREE, abs=1e-5)


@pytest.mark.parametrize("split", SPLITS)
def test_splits(split):
    parts = split_indices(split)
    seed, sizes = SPLITS[split]
    assert tuple(map(len, parts.values())) == sizes
    together = torch.cat(list(parts.values()))
    assert torch.equal(together.sort().values, torch.arange(NUM_MOLECULES))
    assert together[:3].tolist() == np.random.RandomState(seed).permutation(NUM_MOLECULES)[:3].tolist()


def test_subsets_lie_inside_their_part(qm9):
    from tests.conftest import DATA

    small = QM9(root=DATA, cache=DATA, train_size=50, val_size=20, test_size=10)
    small.setup()
    for part, indices in small.indices.items():
        assert torch.equal(indices, qm9.indices[part][: len(indices)])
    assert small.description["split_hash"] != qm9.description["split_hash"]
    assert small.description["sizes"] == {"train": 50, "val": 20, "test": 10}


def test_statistics_come_from_the_training_set(qm9):
    assert qm9.train_targets().shape == (100_000, 12)
    assert torch.equal(qm9.train_targets(), qm9.values[qm9.indices["train"]])
    assert not torch.allclose(qm9.train_targets().mean(0), qm9.values.mean(0), rtol=1e-7, atol=0)


def test_features():
    table = atom_features()
    assert table.shape == (10, 15)
    assert table[0].eq(0).all()
    torch.testing.assert_close(table[6].nonzero().flatten(), torch.tensor([3, 4, 5]))
    torch.testing.assert_close(table[6, 3:6], torch.tensor([1.0, 6 / 9, 36 / 81]))


def test_batches(qm9):
    cloud, target = qm9.finish(qm9.fetch(torch.tensor([0, 5000, 100_000])), augment=False)
    assert isinstance(cloud, PointCloud)
    sizes = qm9.mask[[0, 5000, 100_000]].sum(1)
    assert cloud.pos.shape == (3, int(sizes.max()), 3)
    assert torch.equal(cloud.mask.sum(1), sizes)
    assert torch.equal(target, qm9.values[[0, 5000, 100_000]])
    assert cloud.feat[~cloud.mask].eq(0).all()


def test_augmentation_is_a_rigid_motion(qm9):
    cloud, _ = qm9.finish(qm9.fetch(torch.arange(20)), augment=False)
    moved, _ = qm9.finish(qm9.fetch(torch.arange(20)), augment=True)
    for a, b, m in zip(cloud.pos, moved.pos, cloud.mask, strict=True):
        torch.testing.assert_close(torch.cdist(a[m], a[m]), torch.cdist(b[m], b[m]), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(triple(a[m]), triple(b[m]), rtol=1e-3, atol=1e-3)  # no mirror image
    assert (cloud.pos - moved.pos).abs().max() > 0.5


def triple(x):
    d = x - x[:1]
    return torch.linalg.det(d[1:4]) if len(d) > 3 else torch.zeros(())


def test_recentered_and_scaled():
    from tests.conftest import DATA

    data = QM9(root=DATA, cache=DATA, train_size=100, val_size=10, test_size=10, recenter=True, scale_positions=True)
    data.setup()
    pos, mask = data.positions[data.indices["train"]], data.mask[data.indices["train"]]
    centroid = (pos * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    assert centroid.abs().max() < 1e-5
    assert float(pos[mask].std()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("hommo", "Did you mean homo"),
        ("energy", "mu, alpha, homo, lumo, gap, r2, zpve, U0, U, H, G, Cv"),
        (["homo", "homo"], "different"),
        ([], "name one target"),
    ],
)
def test_bad_targets(names, message):
    with pytest.raises(InputError, match=message):
        parse_targets(names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "web"}, "qm9pack, pyg"),
        ({"split": "random"}, "cormorant, dimenet"),
        ({"train_size": 100_001}, "from 1 to 100000"),
        ({"test_size": 0}, "from 1 to 13083"),
        ({"batch_size": 0}, "positive"),
    ],
)
def test_bad_options(qm9, options, message):
    from tests.conftest import DATA

    with pytest.raises(InputError, match=message):
        QM9(root=DATA, cache=DATA, **options).setup()


def test_damaged_source_is_refused(monkeypatch):
    monkeypatch.setitem(QM9PACK_SHA256, "qm9_part1.csv", hashlib.sha256(b"else").hexdigest())
    with pytest.raises(InputError, match=r"damaged.*force-reinstall"):
        read_qm9("qm9pack", None)


@pytest.mark.network
def test_both_sources_agree(tmp_path, qm9):
    a, b = read_qm9("qm9pack", tmp_path), read_qm9("pyg", tmp_path)
    assert np.array_equal(a["charges"], b["charges"])
    assert np.array_equal(a["sizes"], b["sizes"])
    np.testing.assert_allclose(a["positions"], b["positions"], atol=1e-5)
    np.testing.assert_allclose(a["targets"], b["targets"], rtol=1e-5)
