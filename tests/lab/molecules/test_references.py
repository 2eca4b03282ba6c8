"""Reference values of atoms: the least-squares baseline, and what travels in a checkpoint."""

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.data.targets import TARGETS
from gigp.lab.molecules.atoms import ELEMENTS
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.molecules.references import composition, count_atoms
from tests.conftest import DATA
from tests.lab.data.test_targets import NAMES

SIZES = {"train_size": 5000, "val_size": 10}
# mean absolute errors of least squares on five atom counts with an intercept, computed in other
# code: 5,000 training molecules, all 13,083 test molecules of the cormorant split
BASELINE = {"homo": 409, "lumo": 769, "gap": 815, "zpve": 38.2, "U0": 867, "U": 867, "H": 867}
BASELINE |= {"mu": 0.989, "alpha": 2.19, "r2": 167, "G": 871, "Cv": 1.74}


@pytest.fixture(scope="module")
def fitted(qm9):
    data = QM9(root=DATA, cache=DATA, target="all", reference="composition", **SIZES)
    data.setup()
    return data


def test_baseline_has_the_known_errors(fitted):
    rest = fitted.values[fitted.indices["test"]] - fitted.train_targets().mean(0)
    errors = dict(zip(NAMES, rest.abs().mean(0).tolist(), strict=True))
    for name, expected in BASELINE.items():
        assert errors[name] * TARGETS[name].factor == pytest.approx(expected, rel=3e-3), name


def test_nothing_is_left_that_counting_atoms_explains(fitted):
    train = fitted.indices["train"]
    counts = torch.from_numpy(count_atoms(fitted.charges[train], 10))[:, list(ELEMENTS.values())]
    rest = fitted.train_targets().double()
    slope = torch.linalg.lstsq(counts - counts.mean(0), rest - rest.mean(0)).solution
    assert (slope.abs().amax(0) < 1e-4 * rest.std(0)).all()


def test_whole_quantities_come_back(fitted):
    whole = fitted._arrays()["targets"]
    for i in fitted.indices["test"][:20].tolist():
        atoms = fitted.atom_values()[fitted.charges[i].long()].sum(0)  # padding has the charge 0
        np.testing.assert_allclose(atoms + fitted.values[i].double(), whole[i], atol=1e-4)


def test_elements_that_no_training_molecule_has_keep_their_start():
    counts = np.zeros((50, 10))
    counts[:, [1, 6]] = np.random.default_rng(0).integers(0, 9, (50, 2))
    truth, start = np.zeros((10, 1)), np.full((10, 1), 5.0)
    truth[1], truth[6] = 2.0, -3.0
    table = composition(counts, counts @ truth + 7.0, start)
    np.testing.assert_allclose(table[[1, 6]], truth[[1, 6]], atol=1e-10)
    np.testing.assert_allclose(table[9], 5.0)


def test_none_leaves_the_targets_alone(qm9):
    data = QM9(root=DATA, cache=DATA, target=["U0", "homo"], reference="none", **SIZES)
    data.setup()
    expected = data._arrays()["targets"][:, [NAMES.index("U0"), NAMES.index("homo")]]
    np.testing.assert_array_equal(data.values.numpy(), expected.astype(np.float32))


def test_references_of_a_checkpoint_are_used_in_place_of_a_fit(fitted):
    other = QM9(
        root=DATA, cache=DATA, target="all", reference="composition", train_size=50, val_size=10
    )
    other.load_state_dict(fitted.state_dict())
    other.setup()
    assert torch.equal(other.atom_values(), fitted.atom_values())
    assert torch.equal(other.values, fitted.values)
    assert other.description["reference"] == "composition"


@pytest.mark.parametrize(
    "references",
    [torch.zeros(9, 12).double(), torch.zeros(10, 12), torch.full((10, 12), np.nan).double(), 3],
    ids=["shape", "dtype", "nan", "number"],
)
def test_damaged_references_are_refused(fitted, references):
    data = QM9(root=DATA, cache=DATA, target="all", reference="composition")
    with pytest.raises(InputError, match="reference values of atoms in the checkpoint"):
        data.load_state_dict(fitted.state_dict() | {"references": references})


def test_without_data_or_checkpoint_there_are_none():
    with pytest.raises(InputError, match="lacks the reference values"):
        QM9(reference="composition").atom_values()
