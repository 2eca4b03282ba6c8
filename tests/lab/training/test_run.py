"""One run from the real configuration: records, identity, resume, bad input."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import gigp.lab.training.trainer
from gigp.errors import InputError
from gigp.lab.runs.checkpoints import load_checkpoint
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.history import History
from gigp.lab.runs.record import read_record
from gigp.lab.runs.samples import read_samples
from gigp.lab.training.run import run
from tests.conftest import DATA, tiny

TINY = tiny(epochs=3, train=150, val=60, test=70)
ONE_EPOCH = tiny(epochs=1, train=75, val=20, test=20)
TIMES = ("train_seconds", "seconds", "cpu_seconds")


@pytest.fixture(autouse=True)
def _data(qm9, digits):
    """The caches are there."""


def state(path) -> dict:
    return load_checkpoint(path)


def assert_same_weights(a, b) -> None:
    a, b = state(a)["state_dict"], state(b)["state_dict"]
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def folder_of(tmp_path, *parts) -> RunFolder:
    (config,) = (
        (tmp_path / "runs").glob("*/seed*/config.yaml")
        if not parts
        else [tmp_path.joinpath(*parts)]
    )
    return RunFolder(
        config.parents[2], config.parents[1].name, int(config.parent.name.removeprefix("seed"))
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder for the run that many tests begin with."""
    return tmp_path_factory.mktemp("trained") / "runs"


@pytest.fixture
def finished(configure, trained, tmp_path) -> RunFolder:
    """A copy of a finished run; the first test that needs it trains."""
    run(configure(*TINY, f"results_dir={trained}"))
    shutil.copytree(trained, tmp_path / "runs")
    return folder_of(tmp_path)


def test_a_folder_below_home(configure, tmp_path, monkeypatch):
    """A configuration file cannot say it otherwise; no folder is called ~."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    cfg = configure("dataset=orbits", "pool=mean", "scale=debug")
    cfg.results_dir = "~/runs"
    record = run(cfg)
    assert (tmp_path / "home" / "runs" / record.name / "seed0" / "summary.json").exists()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("dataset", ["qm9", "rotmnist"])
def test_record(configure, tmp_path, dataset, capsys):
    cfg = configure(f"dataset={dataset}", *TINY, "report=true")
    summary = run(cfg)
    folder = folder_of(tmp_path)
    assert (
        folder.name
        == {"qm9": "qm9_homo_E3_gigp_debug", "rotmnist": "rotmnist_SO2_gigp_debug"}[dataset]
    )
    assert read_record(folder.record_path) == summary
    name, unit = ("homo", "meV") if dataset == "qm9" else ("error", "%")
    assert summary.metrics[name].unit == unit
    assert summary.metrics[name].test > 0
    assert summary.data["sizes"] == {"train": 150, "val": 60, "test": 70}
    groups = ("E(3)", "SO(3)") if dataset == "qm9" else ("SO(2)", "SO(2)")
    assert (summary.backbone_group, summary.pool_group) == groups
    for key in (
        "parameters",
        "seconds_per_epoch",
        "samples_per_second",
        "peak_memory_mb",
        "git_commit",
        "versions",
    ):
        assert getattr(summary, key)
    rows = pd.read_csv(folder.metrics)
    assert rows["epoch"].tolist() == [0, 1, 2]
    assert rows.loc[summary.best_epoch, f"val/{name}"] == pytest.approx(summary.metrics[name].val)
    assert rows["val/loss"].min() == summary.val_loss
    assert summary.curve[f"val/{name}"] == pytest.approx(rows[f"val/{name}"].tolist())
    samples = read_samples(folder.samples)
    if dataset == "qm9":
        assert samples["error"].dtype == np.float16
        errors = samples["error"].astype(float)
        assert np.abs(errors).mean(0) == pytest.approx([summary.metrics[name].test], rel=1e-3)
    else:
        wrong = samples["predicted"] != samples["label"]
        assert 100 * wrong.mean() == pytest.approx(summary.metrics[name].test)
    assert {len(values) for values in samples.values()} == {70}
    assert f"<title>{folder.name}, seed 0</title>" in folder.report.read_text()
    stored = yaml.safe_load(folder.config.read_text())
    assert stored["seed"] == 0
    assert stored["dataset"]["train_size"] == 150
    shown = capsys.readouterr().out
    assert f"validation {name}" in shown
    assert unit in shown
    assert str(folder.path) in shown.replace("\n", "")


def test_test_set_is_seen_whole_and_from_the_best_checkpoint(configure, tmp_path):
    """The recorded figure, recomputed by hand from best.ckpt on every test molecule, in meV."""
    from gigp.lab.molecules.qm9 import QM9
    from gigp.lab.training.load import build_model

    cfg = configure(*TINY, "dataset.eval_batch_size=32")
    summary = run(cfg)
    weights = state(folder_of(tmp_path).best)["state_dict"]
    sizes = {"train_size": 150, "val_size": 60, "test_size": 70}
    data = QM9(root=DATA, cache=DATA, reference="composition", **sizes)
    data.setup()
    model = build_model(cfg, data)
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
    )
    cloud, target = data.prepare_batch(data.get_batch(data.indices["test"]), augment=False)
    with torch.no_grad():
        out = model.eval()(cloud) * weights["std"] + weights["mean"]
    assert float((out - target).abs().mean()) * 1000 == pytest.approx(
        summary.metrics["homo"].test, rel=1e-4
    )


def test_the_epoch_that_is_tested(configure, tmp_path):
    """The lowest validation loss, or the last epoch."""
    rows = [{"epoch": i, "val/loss": loss} for i, loss in enumerate((0.9, 0.5, 0.7))]
    for select, epoch in (("best", 1), ("last", 2)):
        history = History(tmp_path / "metrics.csv", select)
        history.rows = rows
        assert history.selected["epoch"] == epoch
    with pytest.raises(InputError, match="choose one of best, last"):
        run(configure(*TINY, "select=first"))
    record = run(configure(*TINY, "select=last", "lr=1.0", "warmup=0"))
    assert (record.select, record.best_epoch) == ("last", 2)
    assert record.val_loss == pytest.approx(record.curve["val/loss"][-1])
    assert state(folder_of(tmp_path).best)["epoch"] == 2


def test_finished_run_is_skipped(configure, finished, capsys, monkeypatch):
    first = finished.read_record()
    monkeypatch.setattr("gigp.lab.training.run._train_and_test", None)
    assert run(configure(*TINY)) == first
    assert "is finished; skipped" in capsys.readouterr().out.replace("\n", " ")


def test_record_without_checkpoints_is_run_again(configure, finished):
    """A clone brings records but no weights; its record stays until the new one is whole."""
    folder, first = finished, finished.read_record()
    shutil.rmtree(folder.checkpoints)
    folder.config.write_text("seed: of another version\n")
    with pytest.raises(InputError, match="Did you mean homo"):
        run(configure(*TINY, "target=hommo", f"name={folder.name}"))
    assert folder.read_record() == first
    assert run(configure(*TINY)).metrics == first.metrics
    assert folder.best.exists()
    assert folder.finished() is not None


def test_same_seed_same_numbers(configure, tmp_path, finished):
    run(configure(*TINY, f"results_dir={tmp_path}/again"))
    again = tmp_path / "again" / finished.name / "seed0" / "checkpoints" / "last.ckpt"
    assert_same_weights(finished.last, again)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["qm9", "qm9 group=SE3", "rotmnist"])
def test_resume_equals_uninterrupted(configure, tmp_path, dataset, monkeypatch):
    """An exception in the second of three epochs, then the same command: the same numbers to the
    bit.
    """
    overrides = [*TINY, *f"dataset={dataset}".split()]
    whole = run(configure(*overrides, f"results_dir={tmp_path}/whole"))

    from gigp.lab.training.module import LitModule

    step = LitModule.training_step

    def fail(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 1:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LitModule, "training_step", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        run(configure(*overrides))
    monkeypatch.setattr(LitModule, "training_step", step)
    torch.manual_seed(99)  # whatever the state of the generator is
    resumed = run(configure(*overrides))
    folder = folder_of(tmp_path)
    other = folder_of(tmp_path, "whole", folder.name, "seed0", "config.yaml")
    assert_same_weights(folder.last, other.last)
    assert_same_weights(folder.best, other.best)
    pd.testing.assert_frame_equal(
        *(pd.read_csv(f.metrics).drop(columns=list(TIMES)) for f in (folder, other))
    )
    assert resumed.metrics == whole.metrics
    assert resumed.best_epoch == whole.best_epoch


def test_another_configuration_is_refused(configure, finished):
    name = f"name={finished.name}"
    with pytest.raises(InputError, match=r"lr: 0\.003 there, 0\.01 now") as error:
        run(configure(*TINY, name, "lr=0.01"))
    assert "overwrite=true" in str(error.value)
    assert run(configure(*TINY, name, "lr=0.01", "overwrite=true")).epochs == 3


@pytest.mark.slow
def test_fine_tune_protocol(configure, tmp_path):
    """A frozen backbone from a mean-pooling run: not a weight and not a statistic of it moves; the
    pool does.
    """
    run(configure(*ONE_EPOCH, "pool=mean"))
    source = folder_of(tmp_path)
    cfg = configure(*ONE_EPOCH, "experiment=qm9_finetune", f"init_from={source.path}", "name=fine")
    summary = run(cfg)
    tuned = RunFolder(cfg.results_dir, "fine", 0)
    before, after, first = (
        state(source.best)["state_dict"],
        state(tuned.last)["state_dict"],
        summary,
    )
    backbone = [key for key in before if key.startswith("model.backbone")]
    assert backbone
    for key in backbone:
        assert torch.equal(before[key], after[key]), key
    assert any(key.startswith("model.pool") for key in after)
    assert first.frozen_backbone
    assert first.trainable_parameters < first.parameters


@pytest.mark.slow
def test_fine_tuning_from_another_architecture(configure, finished):
    source = finished.path
    with pytest.raises(InputError, match="does not fit this configuration"):
        run(configure(*TINY, "backbone.width=20", f"init_from={source}", "name=other"))
    with pytest.raises(InputError, match="no checkpoint at"):
        run(configure(*TINY, "init_from=nowhere", "name=other2"))


def test_checkpoint_of_another_architecture(configure, tmp_path, finished):
    other = RunFolder(tmp_path / "runs", "wide", 0)
    other.checkpoints.mkdir(parents=True)
    shutil.copy(finished.last, other.last)
    with pytest.raises(InputError, match=r"backbone\.width: 16 there, 20 now"):
        run(configure(*TINY, "name=wide", "backbone.width=20"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damaged_checkpoint(configure, finished, content):
    finished.record_path.unlink()
    whole = finished.last.read_bytes()
    finished.last.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
        run(configure(*TINY))


def test_checkpoint_that_would_execute_code(configure, finished):
    finished.record_path.unlink()
    torch.save({"state_dict": {}, "callbacks": subprocess.Popen}, finished.last)
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        run(configure(*TINY))


def test_damaged_record(configure, finished):
    finished.record_path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        run(configure(*TINY))


def test_two_processes_never_share_a_folder(configure, tmp_path):
    folder = RunFolder(tmp_path / "runs", "it", 0)
    with folder.lock(), pytest.raises(InputError, match="another process"):
        run(configure(*TINY, "name=it"))


def test_nan_loss_stops_with_advice(configure, tmp_path, monkeypatch):
    from gigp.lab.training.module import Regression

    monkeypatch.setattr(
        Regression, "loss", lambda self, output, target: (output * torch.nan).mean()
    )
    with pytest.raises(InputError, match=r"the loss is nan at step .*smaller lr"):
        run(configure(*TINY))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_full_disk_keeps_the_last_checkpoint(configure, tmp_path, monkeypatch):
    from gigp.lab.runs import checkpoints

    pack, calls = checkpoints.pack_tensors, []

    def fill(*arguments):
        calls.append(1)
        if len(calls) > 1:  # the first epoch's
            raise OSError(28, "No space left on device")
        return pack(*arguments)

    monkeypatch.setattr(checkpoints, "pack_tensors", fill)
    with pytest.raises(InputError, match=r"cannot write .*No space left"):
        run(configure(*TINY))
    monkeypatch.setattr(checkpoints, "pack_tensors", pack)
    folder = folder_of(tmp_path)
    assert not list(folder.checkpoints.glob(".*tmp"))
    assert len(pd.read_csv(folder.metrics)) >= 1
    assert run(configure(*TINY)).epochs == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["target=hommo"], "Did you mean homo"),
        (["group=SO2"], "2-dimensional positions, not 3"),
        (["dataset=rotmnist", "group=SE3"], "3-dimensional"),
        (["orbits.group._target_=gigp.groups.SE3"], "DeepSets"),
        (["pool.membership=soft"], "ball, nearest, hat"),
        (["pool_on=points"], "outputs, features"),
        (["dataset.train_size=999999"], "from 1 to 100000"),
        (["lr=-1"], "lr must be positive"),
        (["backbone.num_lifts=3"], "acts freely"),
        (["dataset.split=random"], "cormorant, dimenet"),
        (["results_dir=/proc/nowhere"], "set results_dir"),
    ],
)
def test_bad_input(configure, overrides, message):
    with pytest.raises(InputError, match=message):
        run(configure(*TINY, *overrides))


@pytest.mark.slow
def test_a_run_goes_on_where_data_lie_elsewhere(configure, tmp_path, finished):
    """Folders of data are not part of a run's identity."""
    elsewhere = configure(
        *TINY,
        f"dataset.root={tmp_path}/elsewhere",
        f"dataset.cache={tmp_path}/elsewhere",
    )
    before = finished.record_path.read_bytes()
    run(elsewhere)  # finished: nothing is read
    assert finished.record_path.read_bytes() == before


@pytest.mark.parametrize("known", [True, False])
def test_imitated_bf16_is_told(configure, monkeypatch, capsys, known):
    """One batch of a net so small that a CPU without bf16 does it in a moment."""
    monkeypatch.setattr(gigp.lab.training.trainer, "cpu_supports_bf16", lambda: known)
    run(
        configure(
            *tiny(epochs=1, train=20, val=10, test=10),
            "dataset=orbits",
            "trainer.precision=bf16-mixed",
        )
    )
    assert ("this CPU has no bf16" in capsys.readouterr().out) is not known
