"""Test predictions averaged over rotations."""

import pytest
import torch

from gigp.errors import InputError
from gigp.groups import SO3
from gigp.lab.runs.record import Record
from gigp.lab.training.load import load_trained
from gigp.lab.training.rotations import cube_rotations
from gigp.lab.training.run import run
from tests.conftest import tiny

TINY = ("pool=mean", "target=[homo,r2]", *tiny(epochs=1, train=75, val=20, test=30))


def test_rotations_of_the_cube_are_a_group():
    turns = cube_rotations()
    assert turns.shape == (24, 3, 3)
    assert torch.equal(turns[0], torch.eye(3, dtype=torch.float64))
    assert torch.equal(turns @ turns.mT, torch.eye(3, dtype=torch.float64).expand(24, 3, 3))
    assert torch.equal(torch.linalg.det(turns), torch.ones(24, dtype=torch.float64))
    every = {tuple(turn.flatten().tolist()) for turn in turns}
    products = (turns[:, None] @ turns).flatten(0, 1)
    assert {tuple(turn.flatten().tolist()) for turn in products} == every
    assert len(every) == 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("rotations")


@pytest.fixture
def trained(configure, folders, qm9):
    def make(group: str) -> Record:
        where = [f"group={group}", f"name={group}", f"results_dir={folders}"]
        return run(configure(*TINY, *where, "rotations=4"))

    return make


def test_records_state_both_errors_and_the_spread(trained, capsys):
    """E(3) does not see the orientation; T(3) does, and averages of T(3) are those by hand."""
    for metric in trained("E3").metrics.values():
        assert metric.averaged == pytest.approx(metric.test, rel=1e-4)
        assert metric.spread < 1e-4 * metric.test
    record = trained("T3")
    assert record.rotations == 4
    assert "4 rotations" in capsys.readouterr().out
    assert all(metric.spread > 1e-3 * metric.test for metric in record.metrics.values())
    assert record.metrics["homo"].averaged != record.metrics["homo"].test


def test_averages_by_hand(trained, folders):
    record = trained("T3")
    _, data, module = load_trained(folders / "T3" / "seed0")
    where = data.indices["test"]
    generator = torch.Generator().manual_seed(0)
    own = SO3().random(len(where), generator=generator, dtype=torch.float64)
    cloud, target = data.prepare_batch(data.get_batch(where), augment=False)
    with torch.no_grad():
        outputs = torch.stack(
            [
                module(cloud._replace(pos=(cloud.pos.double() @ (turn @ own).mT).float()))
                for turn in cube_rotations()[:4]
            ]
        )
    error = 1000 * float((outputs.mean(0) - target)[:, 0].abs().mean())
    assert record.metrics["homo"].averaged == pytest.approx(error, rel=1e-4)
    spread = 1000 * float(outputs.std(0)[:, 0].mean())
    assert record.metrics["homo"].spread == pytest.approx(spread, rel=1e-4)


def test_features_are_computed_for_every_orientation(trained, configure, folders, tmp_path):
    """A pool that starts as the mean has the spread of the network that it starts from."""
    whole = trained("T3")
    options = ["dataset=outputs", f"dataset.run={folders}/T3/seed0", f"dataset.cache={tmp_path}"]
    small = ("scale=debug", "trainer.max_epochs=1", "trainer.accelerator=cpu")
    record = run(configure(*options, *small, "pool=gigp", "lr=1e-12", "rotations=4"))
    for name, metric in record.metrics.items():
        assert metric.averaged == pytest.approx(whole.metrics[name].averaged, rel=1e-3)
        assert metric.spread == pytest.approx(whole.metrics[name].spread, rel=1e-3)


@pytest.mark.parametrize("rotations", [1, 25, -1])
def test_bad_numbers_of_rotations(configure, qm9, rotations):
    with pytest.raises(InputError, match=rf"rotations={rotations}: it must be"):
        run(configure(*TINY, f"rotations={rotations}"))


def test_images_have_no_rotations_in_space(configure, digits, tmp_path):
    """Refused before the training."""
    with pytest.raises(InputError, match="RotMNIST has no clouds in space"):
        run(configure("dataset=rotmnist", "dataset.source=embedded", "rotations=24", "scale=debug"))
    assert not (tmp_path / "runs").exists()
