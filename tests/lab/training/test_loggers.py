"""wandb: online with an account only, never against the user's word, never in training's way."""

import os
import secrets
import sys
from pathlib import Path

import pytest
import wandb
from omegaconf import OmegaConf

from gigp.errors import InputError
from gigp.lab.runs.history import History
from gigp.lab.runs.name import group_name
from gigp.lab.training.loggers import TolerantWandbLogger, wandb_mode
from gigp.lab.training.run import run
from tests.conftest import tiny
from tests.lab.faults.harness import left

TINY = ("dataset=orbits", *tiny(epochs=2, train=60, val=20, test=20), "logger=wandb", "name=it")
KEY = "a1" * 20
OTHER_HOST = f"machine wandb.example.org login user password {KEY}\n"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A home without a login."""
    for key in [*os.environ, "NETRC"]:
        if key.startswith("WANDB") or key == "NETRC":
            monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": KEY}, "", "online"),
        ({"WANDB_API_KEY": "no key"}, "", "offline"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "", "offline"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "dryrun"}, "", "offline"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "", "disabled"),
        ({"WANDB_API_KEY": KEY, "WANDB_DISABLED": "true"}, "", "disabled"),
        ({}, f"machine api.wandb.ai login user password {KEY}\n", "online"),
        ({}, OTHER_HOST, "offline"),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, OTHER_HOST, "online"),
        ({"WANDB_MODE": "online"}, "", "offline"),  # nobody is asked for a key
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_mode(environment, netrc, mode, elsewhere, monkeypatch, home):
    path = home / ("keys" if elsewhere else ".netrc")
    path.write_text(netrc)
    path.chmod(0o600)
    if elsewhere:
        monkeypatch.setenv("NETRC", str(path))
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert wandb_mode() == mode


def test_mode_that_was_set_with_wandb_itself(home, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (home / "wandb").mkdir()
    (home / "wandb" / "settings").write_text("[default]\nmode = offline\n")
    assert wandb_mode() == "offline"


def test_disabled_leaves_nothing(configure, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run(cfg := configure(*TINY))
    assert not (left(cfg).path / "wandb").exists()


class Experiment:
    """What wandb.init returns, as far as it is used."""

    def __init__(self, **arguments) -> None:
        self.arguments, self.defined, self.logged, self.summary = arguments, [], [], {}
        self.finished, self.id = False, arguments["id"]
        folder = Path(arguments["dir"], "wandb", f"offline-run-{secrets.token_hex(4)}-{self.id}")
        self.dir = str(folder / "files")
        Path(self.dir).mkdir(parents=True)

    def define_metric(self, name, **options) -> None:
        self.defined.append((name, options))

    def log(self, values, step=None) -> None:
        self.logged.append(dict(values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def experiments(monkeypatch):
    """The wandb runs that are begun; none where the mode is online, as without a network."""
    begun = []

    def init(**arguments) -> Experiment:
        if arguments["mode"] == "online":
            assert arguments["settings"].init_timeout <= 30
            raise wandb.errors.CommError("no network")
        begun.append(Experiment(**arguments))
        return begun[-1]

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    monkeypatch.setattr(TolerantWandbLogger, "unreachable", False)
    return begun


def test_a_key_without_network_trains_on_offline(configure, monkeypatch, experiments, caplog):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run(configure(*TINY))
    (experiment,) = experiments
    assert experiment.arguments["mode"] == "offline"
    assert "cannot be reached" in caplog.text
    assert experiment.finished


def test_what_is_logged(configure, experiments, capsys):
    record = run(configure(*TINY, "results_dir=my runs", "report=true"))
    (experiment,) = experiments
    assert ("*", {"step_metric": "epoch"}) in experiment.defined
    assert ("val/*", {"step_metric": "epoch", "summary": "min"}) in experiment.defined
    rows = [row for row in experiment.logged if "lr" in row]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert all({"seconds", "train_seconds"} <= row.keys() for row in rows)
    losses = [row["val/loss"] for row in experiment.logged if "val/loss" in row]
    assert min(losses) == pytest.approx(record.val_loss)
    (shown,) = (row for row in experiment.logged if "report/curves/loss" in row)
    assert {"report/parity/orbit_sums", "report/orbits"} < shown.keys()
    summary = experiment.summary
    assert summary["test/orbit_sums"] == record.metrics["orbit_sums"].test
    assert summary["best/val/orbit_sums"] == record.metrics["orbit_sums"].val
    assert summary["unit/orbit_sums"] == record.metrics["orbit_sums"].unit
    assert summary["parameters"] == record.parameters
    assert summary["learned"] == record.learned
    (logged,) = Path("my runs/it/seed0/wandb").glob("offline-run-*")
    assert f"wandb sync '{logged}'" in capsys.readouterr().out.replace("\n", "")


def test_a_run_that_resumes_offline_logs_all_of_its_epochs(configure, experiments, monkeypatch):
    def fail(self, trainer, module):
        if trainer.current_epoch == 2:
            raise MemoryError("in epoch 2")
        return start(self, trainer, module)

    cfg, start = configure(*TINY, "trainer.max_epochs=3"), History.on_train_epoch_start
    with monkeypatch.context() as patch:
        patch.setattr(History, "on_train_epoch_start", fail)
        with pytest.raises(MemoryError, match="in epoch 2"):
            run(configure(*TINY, "trainer.max_epochs=3"))
    run(cfg)
    whole = [row for row in experiments[-1].logged if "val/loss" in row]
    assert [row["epoch"] for row in whole] == [0, 1, 2]
    (folder,) = (left(cfg).path / "wandb").glob("offline-run-*")  # no other one is to be uploaded
    assert str(folder / "files") == experiments[-1].dir


def test_a_run_that_resumes_is_the_same_wandb_run_and_no_other(configure, experiments, tmp_path):
    for overrides in ((), ("overwrite=true",), (f"results_dir={tmp_path}/a colleague",)):
        cfg = configure(*TINY, *overrides)
        run(cfg)
        left(cfg).done.unlink()
        run(configure(*TINY, *overrides[:0] if "overwrite=true" in overrides else overrides))
    ids = [experiment.arguments["id"] for experiment in experiments]
    assert ids[0] == ids[1] != ids[2] == ids[3] != ids[4] == ids[5]
    assert len(set(ids)) == 3


@pytest.mark.slow
def test_pools_of_one_setting_share_a_group(configure):
    def group(*overrides: str) -> str:
        config = OmegaConf.to_container(configure(*overrides), resolve=True)
        return group_name(config, list(overrides))

    features = ("dataset=features", "dataset.run=runs/qm9_homo_T3_mean_small/seed0")
    for setting in ((), ("group=SE3", "lr=0.1"), features):
        groups = {
            group(*setting, *pool)
            for pool in (["pool=mean"], ["pool=gigp"], ["pool=gigp", "pool.orbits=3"], ["seed=2"])
        }
        assert len(groups) == 1
    assert group("lr=0.1") != group()


def test_missing_wandb_is_told(configure, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    options = tiny(epochs=1, train=60, val=20, test=20)
    with pytest.raises(InputError, match=r"needs the package wandb; .* or use logger=csv"):
        run(configure("dataset=orbits", *options, "logger=wandb"))
