"""Features of a trained backbone: the same predictions as the whole model, and heads that train on
them.
"""

import pytest
import torch

from gigp.errors import InputError
from gigp.training.features import BackboneFeatures
from gigp.training.run import load_trained, run
from tests.conftest import tiny

SMALL = tiny(epochs=2, train=150, val=40, test=60)


@pytest.fixture
def trained(configure, tmp_path, qm9):
    """Folder of a finished run with mean pooling of features on two targets."""
    run(configure("pool=mean", "pool_on=features", "target=[homo,r2]", *SMALL, "name=start"))
    return tmp_path / "runs" / "start" / "seed0"


def test_features_are_those_of_the_model(trained, tmp_path):
    data = BackboneFeatures(str(trained), cache=str(tmp_path))
    data.setup()
    assert {part: len(indices) for part, indices in data.indices.items()} == {
        "train": 150,
        "val": 40,
        "test": 60,
    }
    _, whole, task = load_trained(trained)
    for part, num in (("test", 60), ("train", 50)):
        cloud, target = whole.prepare_batch(
            whole.get_batch(whole.indices[part][:num]), augment=False
        )
        kept, own_target = data.get_batch(data.indices[part][:num])
        with torch.no_grad():
            expected = task.model.backbone(cloud)
        assert torch.equal(kept.mask, expected.mask)
        assert torch.equal(own_target, target)
        torch.testing.assert_close(
            kept.feat[kept.mask], expected.feat[expected.mask], rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(kept.pos[kept.mask], expected.pos[expected.mask])


@pytest.mark.parametrize("pool", ["mean", "gigp"])
def test_starts_where_the_run_ended(trained, configure, tmp_path, pool):
    """Before training, pools that start as mean pooling make the predictions of the run, with its
    head.
    """
    options = [
        "dataset=features",
        f"dataset.run={trained}",
        f"dataset.cache={tmp_path}",
        f"pool={pool}",
        "lr=1e-12",
    ]
    summary = run(
        configure(*options, "scale=debug", "trainer.max_epochs=1", "trainer.accelerator=cpu")
    )
    _, whole, task = load_trained(trained)
    cloud, target = whole.prepare_batch(whole.get_batch(whole.indices["test"]), augment=False)
    with torch.no_grad():
        error = (task(cloud) - target).abs().mean(0)
    assert summary.metrics["homo"].test == pytest.approx(1000 * float(error[0]), rel=1e-2)
    assert summary.metrics["r2"].test == pytest.approx(float(error[1]), rel=1e-2)
    assert summary.data["features_of"]["backbone"] == "T(3)"


def test_more_of_the_data_than_the_run_took(trained, tmp_path):
    data = BackboneFeatures(str(trained), cache=str(tmp_path), train_size=200, test_size=70)
    data.setup()
    assert [len(indices) for indices in data.indices.values()] == [200, 40, 70]


def test_cache_follows_the_checkpoint_and_the_split(trained, tmp_path):
    BackboneFeatures(str(trained), cache=str(tmp_path)).setup()
    (path,) = tmp_path.glob("features-*.cache")
    first = path.read_bytes()
    BackboneFeatures(str(trained), cache=str(tmp_path)).setup()
    assert path.read_bytes() == first
    BackboneFeatures(str(trained), cache=str(tmp_path), train_size=100).setup()
    assert len(list(tmp_path.glob("features-*.cache"))) == 2
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.backbone.embed.weight"] *= 2
    torch.save(checkpoint, trained / "checkpoints" / "best.ckpt")
    BackboneFeatures(str(trained), cache=str(tmp_path)).setup()
    assert path.read_bytes() != first


def test_positions_about_the_center_of_mass(trained, tmp_path):
    """Features do not change, being those of a net that translations leave alone."""
    of_run = BackboneFeatures(str(trained), cache=str(tmp_path))
    of_mass = BackboneFeatures(
        str(trained), cache=str(tmp_path), changes={"recenter": True, "center": "mass"}
    )
    of_run.setup()
    of_mass.setup()
    torch.testing.assert_close(of_run.features, of_mass.features, rtol=1e-2, atol=1e-3)
    assert (of_run.positions - of_mass.positions).abs().max() > 0.1


def test_bad_runs(tmp_path, configure, digits):
    with pytest.raises(InputError, match=r"there is no run in .*nowhere"):
        BackboneFeatures(str(tmp_path / "nowhere")).setup()
    run(configure("dataset=rotmnist", *tiny(epochs=1, train=50, val=20, test=20), "name=images"))
    with pytest.raises(InputError, match="is a run on images"):
        BackboneFeatures(str(tmp_path / "runs" / "images" / "seed0")).setup()
