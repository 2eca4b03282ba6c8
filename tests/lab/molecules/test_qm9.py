"""QM9, the real one: targets, splits, batches, augmentation. What the sources hold is in
test_qm9_sources.py.
"""

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.data.targets import HARTREE
from gigp.lab.hashing import hash_split
from gigp.lab.molecules.atoms import atom_features
from gigp.lab.molecules.qm9 import QM9, SPLITS, split_indices
from gigp.lab.molecules.qm9_sources import NUM_MOLECULES
from gigp.lab.molecules.references import atom_references
from gigp.pointcloud import PointCloud
from tests.conftest import DATA
from tests.lab.data.test_targets import NAMES


def test_arrays_are_the_same_on_every_machine(qm9):
    """Decimal numbers read to the nearest double and multiplied once: nothing that depends on a
    processor. All records of the study name these arrays.
    """
    digest = "3112b819ba55624ec940b6a78e3fbb6e459cde0431830ef3ad2e07b84be3f5d6"
    assert qm9.description["sha256"] == digest


def test_atom_references_by_hand(qm9):
    """Methane: U0 less one carbon and four hydrogens, in eV; free atoms have no zero-point
    energy.
    """
    table = dict(zip(NAMES, atom_references().T, strict=True))
    expected = -40.47893 * HARTREE - (-1029.86312267 + 4 * -13.61312172)
    assert float(qm9.values[0, NAMES.index("U0")]) == pytest.approx(expected, abs=1e-4)
    assert float(qm9.values[0, NAMES.index("Cv")]) == pytest.approx(6.469 - 5 * 2.981, abs=1e-4)
    assert (table["zpve"] == 0).all()
    assert float(qm9.values[0, NAMES.index("homo")]) == pytest.approx(-0.3877 * HARTREE, abs=1e-5)


def test_free_atoms_are_subtracted_from_every_molecule(qm9):
    """In float64, one molecule at a time over a sample, for all targets."""
    arrays = qm9._arrays()
    for i in torch.randperm(NUM_MOLECULES)[:50].tolist():
        charges = qm9.charges[i][qm9.mask[i]].long().numpy()
        expected = arrays["targets"][i] - arrays["references"][charges].sum(0)
        np.testing.assert_allclose(qm9.values[i].numpy(), expected, rtol=1e-6)
    bound = qm9.values[:, [NAMES.index(name) for name in ("U0", "U", "H", "G")]]
    assert (bound < 0).all()  # every molecule is bound: what is left is the atomization energy
    assert bound.min() > -150


@pytest.mark.parametrize(
    ("split", "seed", "sizes", "digest", "first"),
    [
        ("cormorant", 0, (100_000, 17_748, 13_083), "2cdbb9281999", [130195, 68784, 7957]),
        ("dimenet", 42, (110_000, 10_000, 10_831), "77ec8203bc0b", [112526, 100113, 55940]),
    ],
)
def test_splits(split, seed, sizes, digest, first):
    assert SPLITS[split] == (seed, sizes)
    parts = split_indices(split)
    assert {part: len(indices) for part, indices in parts.items()} == dict(
        zip(("train", "val", "test"), sizes, strict=True)
    )
    together = torch.cat(list(parts.values()))
    assert torch.equal(together.sort().values, torch.arange(NUM_MOLECULES))
    assert together[:3].tolist() == first
    assert together[-1] == np.random.RandomState(seed).permutation(NUM_MOLECULES)[-1]
    assert hash_split(parts) == digest


def test_hash_notices_another_order():
    parts = {part: torch.arange(5) + i for i, part in enumerate(("train", "val", "test"))}
    assert hash_split(parts) == hash_split(dict(reversed(parts.items())))
    assert hash_split(parts) != hash_split({**parts, "val": parts["val"].flip(0)})
    assert hash_split(parts) != hash_split({**parts, "val": parts["test"], "test": parts["val"]})


def test_subsets_lie_inside_their_part(qm9):
    small = QM9(root=DATA, cache=DATA, train_size=50, val_size=20, test_size=10)
    small.setup()
    for part, indices in small.indices.items():
        assert torch.equal(indices, qm9.indices[part][: len(indices)])
        others = torch.cat([i for other, i in qm9.indices.items() if other != part])
        assert not torch.isin(indices, others).any()
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
    cloud, target = qm9.prepare_batch(
        qm9.get_batch(torch.tensor([0, 5000, 100_000])), augment=False
    )
    assert isinstance(cloud, PointCloud)
    sizes = qm9.mask[[0, 5000, 100_000]].sum(1)
    assert cloud.pos.shape == (3, int(sizes.max()), 3)
    assert torch.equal(cloud.mask.sum(1), sizes)
    assert torch.equal(target, qm9.values[[0, 5000, 100_000]])
    assert cloud.feat[~cloud.mask].eq(0).all()


def test_augmentation_is_a_rigid_motion(qm9):
    cloud, _ = qm9.prepare_batch(qm9.get_batch(torch.arange(20)), augment=False)
    moved, _ = qm9.prepare_batch(qm9.get_batch(torch.arange(20)), augment=True)
    for a, b, m in zip(cloud.pos, moved.pos, cloud.mask, strict=True):
        torch.testing.assert_close(
            torch.cdist(a[m], a[m]), torch.cdist(b[m], b[m]), rtol=1e-4, atol=1e-3
        )
        # no mirror image
        torch.testing.assert_close(triple(a[m]), triple(b[m]), rtol=1e-3, atol=1e-3)
    assert (cloud.pos - moved.pos).abs().max() > 0.5


def test_augmentation_repeats_and_turns_every_molecule_its_own_way(qm9):
    raw = qm9.get_batch(torch.arange(4000) + 10)
    moved = []
    for _ in range(2):
        torch.manual_seed(7)
        moved.append(qm9.prepare_batch(raw, augment=True)[0])
    assert torch.equal(moved[0].pos, moved[1].pos)
    bond = (moved[0].pos[:, 1] - moved[0].pos[:, 0]).double()
    bond /= bond.norm(dim=-1, keepdim=True)  # (4000, 3)
    assert bond.mean(0).norm() < 0.05  # any direction,
    # as often
    torch.testing.assert_close(bond.T @ bond / 4000, torch.eye(3).double() / 3, rtol=0, atol=0.03)
    assert torch.equal(moved[0].feat, raw[0].feat)
    assert torch.equal(moved[0].mask, raw[0].mask)


def triple(x):
    d = x - x[:1]
    return torch.linalg.det(d[1:4]) if len(d) > 3 else torch.zeros(())


def test_whole_test_set_as_the_loader_gives_it(qm9):
    """No molecule is dropped, repeated or out of order, and padding is no wider than the batch
    needs.
    """
    targets = []
    for cloud, target in map(
        lambda batch: qm9.prepare_batch(batch, augment=False), qm9.test_dataloader()
    ):
        assert cloud.mask.any(0).all()
        # real atoms come first
        assert (cloud.mask[:, 1:] <= cloud.mask[:, :-1]).all()
        targets.append(target)
    assert torch.equal(torch.cat(targets), qm9.values[qm9.indices["test"]])


def test_train_clouds_are_the_training_set_in_order(qm9):
    small = QM9(root=DATA, cache=DATA, target=["r2", "homo"], train_size=70)
    small.setup()
    assert small.out_dim == 2
    assert torch.equal(small.train_targets(), qm9.values[qm9.indices["train"][:70]][:, [5, 2]])
    clouds = list(small.train_clouds(batch_size=32))
    assert [len(cloud.pos) for cloud in clouds] == [32, 32, 6]
    atoms = torch.cat([cloud.pos[cloud.mask] for cloud in clouds])
    chosen = qm9.indices["train"][:70]
    assert torch.equal(atoms, qm9.positions[chosen][qm9.mask[chosen]])


def test_standard_deviation_is_of_training_atoms(qm9):
    train = qm9.indices["train"]
    atoms = qm9.positions[train][qm9.mask[train]].double().numpy()
    assert qm9.positions_std == pytest.approx(atoms.std(), rel=1e-4)
    assert qm9.positions_std != pytest.approx(
        qm9.positions[qm9.mask].double().numpy().std(), rel=1e-6
    )


def test_recentered_and_scaled():
    data = QM9(
        root=DATA,
        cache=DATA,
        train_size=100,
        val_size=10,
        test_size=10,
        recenter=True,
        scale_positions=True,
    )
    data.setup()
    pos, mask = data.positions[data.indices["train"]], data.mask[data.indices["train"]]
    centroid = (pos * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    assert centroid.abs().max() < 1e-5
    assert float(pos[mask].std()) == pytest.approx(1, abs=1e-5)


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
    with pytest.raises(InputError, match=message):
        QM9(root=DATA, cache=DATA, **options).setup()


def test_recentered_on_the_center_of_mass():
    sizes = {"train_size": 100, "val_size": 10, "test_size": 10}
    data = QM9(root=DATA, cache=DATA, **sizes, recenter=True, center="mass")
    data.setup()
    water = (data.charges > 0).sum(1) == 3  # the third molecule, and others of three atoms
    water = int(
        (water & ((data.charges == 8).sum(1) == 1) & ((data.charges == 1).sum(1) == 2)).nonzero()[0]
    )
    pos, charges = data.positions[water, :3].double(), data.charges[water, :3]
    mass = torch.tensor([{8: 15.999, 1: 1.008}[int(z)] for z in charges]).unsqueeze(-1)
    torch.testing.assert_close(
        (mass * pos).sum(0), torch.zeros(3, dtype=torch.double), atol=1e-5, rtol=0
    )
    assert pos.mean(0).norm() > 0.1  # the hydrogens pull the centroid away


def test_small_molecules_to_train_and_large_ones_to_test():
    data = QM9(root=DATA, cache=DATA, train_heavy_atoms=7, test_heavy_atoms=9, test_size=500)
    data.setup()
    heavy = {part: (data.charges[indices] > 1).sum(1) for part, indices in data.indices.items()}
    assert heavy["train"].max() == heavy["val"].max() == 7
    assert heavy["test"].min() == heavy["test"].max() == 9
    whole = QM9(root=DATA, cache=DATA)
    whole.setup()
    assert set(data.indices["train"].tolist()) <= set(whole.indices["train"].tolist())
    assert data.description["split_hash"] != whole.description["split_hash"]
    with pytest.raises(InputError, match="test_heavy_atoms=10 leaves no molecules"):
        QM9(root=DATA, cache=DATA, test_heavy_atoms=10).setup()
