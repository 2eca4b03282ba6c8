"""Features of a trained backbone: the same predictions as the whole model, and heads that train on
them.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from gigp.errors import InputError
from gigp.lab.prediction.release import load_whole, release_model
from gigp.lab.runs.checkpoints import load_checkpoint, save_checkpoint
from gigp.lab.runs.record import read_record
from gigp.lab.training.features import BackboneFeatures
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from tests.conftest import tiny

CPU = ("trainer.max_epochs=1", "trainer.accelerator=cpu")
SMALL = tiny(epochs=2, train=150, val=40, test=60)


@pytest.fixture
def trained(configure, tmp_path, tmp_path_factory, qm9):
    """Folder of a finished run with mean pooling of features on two targets, a copy of its own."""
    root = tmp_path_factory.getbasetemp() / "features"
    options = ("pool=mean", "pool_on=features", "target=[homo,r2]", *SMALL, "name=start")
    run(configure(*options, f"results_dir={root}"))  # once
    return Path(shutil.copytree(root / "start", tmp_path / "runs" / "start")) / "seed0"


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


@pytest.mark.parametrize("pool", [pytest.param("mean", marks=pytest.mark.slow), "gigp"])
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
    assert summary.data["features_of"]["backbone"] == "E(3)"


@pytest.mark.parametrize("pool", [pytest.param("mean", marks=pytest.mark.slow), "gigp"])
def test_input_features_beside_those_of_the_backbone(trained, configure, tmp_path, pool):
    """The pool gets both, the head of the run ignores the new ones at the start, and the whole of
    backbone and head is one model that predicts the same.
    """
    options = [
        "dataset=features",
        f"dataset.run={trained}",
        f"dataset.cache={tmp_path}",
        f"pool={pool}",
        "pool_inputs=true",
        "lr=1e-12",
        "name=beside",
    ]
    small = ("scale=debug", "trainer.max_epochs=1", "trainer.accelerator=cpu")
    summary = run(configure(*options, *small))
    assert summary.pool_inputs
    assert summary.metrics["homo"].test == pytest.approx(
        read_record(trained / "summary.json").metrics["homo"].test, rel=1e-2
    )
    _, data, head = load_trained(tmp_path / "runs" / "beside" / "seed0")
    cloud, _ = data.get_batch(data.indices["test"][:20])
    cfg, source, whole = load_whole(tmp_path / "runs" / "beside" / "seed0")
    source.setup()
    given, _ = source.prepare_batch(source.get_batch(source.indices["test"][:20]), augment=False)
    assert cfg.pool_inputs
    assert cloud.feat.shape[-1] == 16 + given.feat.shape[-1] == head.model.pool.channels
    sums = given.feat * given.mask.sum(1)[:, None, None] / 16
    torch.testing.assert_close(cloud.feat[cloud.mask][:, 16:], sums[given.mask].half().float())
    with torch.no_grad():
        torch.testing.assert_close(whole(given), head(cloud), rtol=1e-3, atol=1e-3)


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
    checkpoint = load_checkpoint(trained / "checkpoints" / "best.ckpt")
    checkpoint["state_dict"]["model.backbone.embed.weight"] *= 2
    save_checkpoint(trained / "checkpoints" / "best.ckpt", checkpoint)
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


def test_features_are_mapped_from_the_file(trained, tmp_path):
    """Half precision, and no second copy in memory."""
    data = BackboneFeatures(str(trained), cache=str(tmp_path))
    data.setup()
    (path,) = tmp_path.glob("features-*.cache")
    assert data.features.dtype == torch.float16
    assert data.features.shape == (int(data.mask.sum()), data.in_channels)
    rest = sum(x.nbytes for x in (data.positions, data.masses, data.values))
    assert path.stat().st_size < 4096 + data.features.nbytes + rest + 10 * len(data.mask)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(path) in maps.read_text()


def test_masses_are_those_of_the_atoms(trained, tmp_path):
    data = BackboneFeatures(str(trained), cache=str(tmp_path))
    data.setup()
    cloud, _ = data.get_batch(data.indices["val"])
    whole, _ = data.source.get_batch(data.source.indices["val"])
    assert torch.equal(cloud.mass[cloud.mask], whole.mass[whole.mask])


@pytest.fixture
def outputs_of(configure, tmp_path):
    """Make a run on real data that predicts for every point, and then pools."""

    def make(*overrides: str):
        run(configure("pool=mean", *overrides, "name=start"))
        return tmp_path / "runs" / "start" / "seed0"

    return make


def test_pools_on_outputs_start_where_the_run_ended(outputs_of, configure, tmp_path, qm9):
    """Backbone and head are frozen: a pool that starts as the mean has the errors of the run."""
    folder = outputs_of("target=[homo,r2]", *SMALL)
    start = json.loads((folder / "summary.json").read_text())["metrics"]
    options = (f"dataset.run={folder}", f"dataset.cache={tmp_path}", "pool=gigp", "name=outputs")
    cfg = configure("dataset=outputs", *options, "lr=1e-12", "scale=debug", *CPU)
    record = run(cfg)
    for name, metric in record.metrics.items():
        assert metric.test == pytest.approx(start[name]["test"], rel=1e-5)
    _, data, task = load_trained(tmp_path / "runs" / "outputs" / "seed0")
    assert data.features.dtype == torch.float32
    assert data.features.shape[1] == 2
    assert {name.split(".")[0] for name, _ in task.model.named_parameters()} == {"pool"}


def test_mean_pooling_of_outputs_has_nothing_to_train(outputs_of, configure, tmp_path, qm9):
    options = (f"dataset.run={outputs_of(*SMALL)}", f"dataset.cache={tmp_path}", "pool=mean")
    with pytest.raises(InputError, match="MeanPool on the outputs of a run has nothing to train"):
        run(configure("dataset=outputs", *options, "scale=debug", *CPU))


def test_mean_pooling_of_outputs_over_orientations(outputs_of, configure, tmp_path, qm9):
    """With rotations it is tested for as many epochs of nothing, and a second call skips it."""
    run_ = outputs_of(*SMALL)
    options = (f"dataset.run={run_}", f"dataset.cache={tmp_path}", "pool=mean", "rotations=2")
    records = [run(configure("dataset=outputs", *options, "scale=debug", *CPU)) for _ in range(2)]
    assert records[0] == records[1]
    assert records[0].parameters == 0
    source = read_record(Path(run_) / "summary.json")
    for name, metric in records[0].metrics.items():
        assert metric.test == pytest.approx(source.metrics[name].test, rel=1e-4)
        assert metric.averaged == pytest.approx(metric.test, rel=1e-4)  # E(3)


def test_an_epoch_takes_one_orientation_of_every_molecule(outputs_of, tmp_path, qm9):
    """Outputs and positions are those of turned molecules; what is tested is not turned."""
    run_ = outputs_of(*SMALL, "group=T3")
    plain, turned = (
        BackboneFeatures(str(run_), "outputs", cache=str(tmp_path), orientations=number)
        for number in (0, 2)
    )
    for data in (plain, turned):
        data.setup()
    assert len(turned.values) == len(plain.values) + 150
    for part in ("val", "test"):
        mine, theirs = (data.get_batch(data.indices[part])[0] for data in (plain, turned))
        assert torch.equal(mine.feat, theirs.feat)

    sampler = turned.train_dataloader().sampler
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert {int(i) // 150 for batch in sampler for i in batch.host} == {epoch % 2}

    _, source, module = load_trained(run_)
    first = torch.arange(20)
    whole, targets = source.get_batch(source.indices["train"][:20])
    for version in (first, first + 150):
        cloud, target = turned.get_batch(version)
        assert torch.equal(target, targets)
        assert turned.sample_names(version) == plain.sample_names(first)
        assert (cloud.pos - whole.pos).abs().max() > 0.5  # Angstrom
        lengths = (points.pos[points.mask].norm(dim=-1) for points in (cloud, whole))
        torch.testing.assert_close(*lengths)
        with torch.no_grad():
            kept = module.model.backbone(whole._replace(pos=cloud.pos))
            expected = module.model.head(kept.feat)
        torch.testing.assert_close(
            cloud.feat[cloud.mask], expected[kept.mask], rtol=1e-4, atol=1e-4
        )


def test_images_have_no_orientations(outputs_of, tmp_path, digits):
    run_ = outputs_of("dataset=rotmnist", "group=SO2", *tiny(epochs=1, train=20, val=10, test=10))
    data = BackboneFeatures(str(run_), "outputs", cache=str(tmp_path), orientations=2)
    with pytest.raises(InputError, match=r"RotMNIST has no clouds in space.*orientations=0"):
        data.setup()


@pytest.mark.parametrize(
    "dataset", ["image_features", pytest.param("outputs", marks=pytest.mark.slow)]
)
def test_pixels_of_images(outputs_of, configure, tmp_path, digits, dataset):
    """Classes, and the same error on the test set as the run's, before training."""
    options = ("group=SO2", *tiny(epochs=1, train=60, val=20, test=40))
    folder = outputs_of("dataset=rotmnist", *options)
    start = json.loads((folder / "summary.json").read_text())["metrics"]["error"]["test"]
    options = [f"dataset.run={folder}", f"dataset.cache={tmp_path}", "pool=gigp", "lr=1e-12"]
    options += ["orbits.group._target_=gigp.groups.SO2", "orbits.center=origin", "group=SO2"]
    record = run(configure(f"dataset={dataset}", *options, "name=on", "scale=debug", *CPU))
    assert record.metrics["error"].test == pytest.approx(start, abs=2.6)  # one digit of 40
    _, data, _ = load_trained(tmp_path / "runs" / "on" / "seed0")
    cloud, labels = data.get_batch(data.indices["test"])
    _, whole, task = load_trained(folder)
    images, same = whole.get_batch(whole.indices["test"])
    assert torch.equal(labels, same)
    with torch.no_grad():
        kept = task.model.backbone(whole.prepare_batch((images, same), augment=False)[0])
    assert torch.equal(cloud.pos[3], kept.pos[0])
    feat = kept.feat if dataset == "image_features" else task.model.head(kept.feat)
    torch.testing.assert_close(cloud.feat, feat, rtol=1e-3, atol=1e-3)


def test_more_molecules_do_not_change_the_standardization(trained, tmp_path):
    """Targets are scaled as in the run, whose head starts on them."""
    data = BackboneFeatures(str(trained), cache=str(tmp_path), train_size=200)
    data.setup()
    mean, std = data.target_statistics()
    assert torch.equal(mean, data.trained.mean)
    assert torch.equal(std, data.trained.std)


def test_features_beyond_half_precision_are_refused(trained, tmp_path):
    checkpoint = load_checkpoint(trained / "checkpoints" / "best.ckpt")
    for name in ("weight", "bias"):
        checkpoint["state_dict"][f"model.backbone.final.0.{name}"] *= 1e9
    save_checkpoint(trained / "checkpoints" / "best.ckpt", checkpoint)
    with pytest.raises(InputError, match="half precision cannot hold"):
        BackboneFeatures(str(trained), cache=str(tmp_path)).setup()
    assert not list(tmp_path.glob("*.cache*"))


def test_a_model_folder_serves_as_well_as_its_run(trained, tmp_path):
    record = read_record(trained / "summary.json")
    release_model(trained, tmp_path / "model", record, lambda data, module, errors: "card")
    features = []
    for folder in (trained, tmp_path / "model"):
        data = BackboneFeatures(str(folder), cache=str(tmp_path), test_size=60, train_size=20)
        data.setup()
        features.append(data.get_batch(data.indices["test"])[0].feat)
    torch.testing.assert_close(*features, rtol=1e-3, atol=1e-3)


def test_bad_runs(trained, tmp_path):
    with pytest.raises(InputError, match=r"there is no run in .*nowhere"):
        BackboneFeatures(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"its head follows the pool \(pool_on=features\)"):
        BackboneFeatures(str(trained), level="outputs")
    with pytest.raises(InputError, match="level='pixels' is unknown"):
        BackboneFeatures(str(trained), level="pixels")
