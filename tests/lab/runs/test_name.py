"""Names of run folders: they follow from the configuration, not from how it was typed."""

import re

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from gigp.errors import InputError
from gigp.lab.config.identity import identity
from gigp.lab.runs.name import folder_name, further_overrides, run_name


@pytest.fixture
def name(configure):
    """Name of the run with some overrides."""

    def make(*overrides: str) -> str:
        config = OmegaConf.to_container(configure(*overrides), resolve=True)
        return run_name(config, list(overrides))

    return make


def test_choices_come_first_then_what_was_changed(name):
    assert name("pool=mean", "seed=3", "logger=csv") == "qm9_homo_E3_mean_small"
    assert name("target=[homo,r2]", "group=SE3") == "qm9_homo-r2_SE3_gigp_small"
    assert name("pool.orbits=1", "lr=0.1") == "qm9_homo_E3_gigp_small_lr-0.1_pool.orbits-1"
    assert name("lr=0.1", "pool.orbits=1") == name("pool.orbits=1", "lr=0.1")
    assert name("dataset=rotmnist", "scale=debug") == "rotmnist_SO2_gigp_debug"
    assert name("name=x", "lr=0.1") == "x"


@pytest.mark.parametrize(
    ("written", "same"),
    [
        (["compile=True"], ["compile=true"]),
        (["lr=1e-2"], ["lr=0.01"]),
        (["lr=0.003"], []),
        (["compile=false", "seed=0", "batch_norm_clouds=2000"], []),
        (["backbone=lieconv", "trainer=default"], []),
        (["dataset.root=/mnt/data", "trainer.devices=2", "backbone.layout=padded"], []),
        (["matmul_precision=highest"], []),
        (["init_from='runs/a=1/seed0'"], ['init_from="runs/a=1/seed0"']),
        (["backbone=schnet", "backbone.width=16"], ["backbone.width=16", "backbone=schnet"]),
    ],
)
def test_how_a_setting_is_written_makes_no_difference(name, written, same):
    assert name(*written) == name(*same)


def test_what_changes_the_run_changes_its_name(name):
    names = [
        name(*overrides)
        for overrides in (
            [],
            ["compile=true"],
            ["lr=0.01"],
            ["backbone=schnet"],
            ["pool.orbits=1"],
            ["init_from=a/b"],
            ["init_from=a-b"],
        )
    ]
    assert len(set(names)) == len(names)


def test_names_are_short_and_of_plain_characters(name):
    many = [
        *(f"backbone.{key}=7" for key in ("width", "blocks", "max_neighbors", "num_lifts")),
        *(f"dataset.{part}_size=99" for part in ("train", "val", "test")),
        "init_from='runs/an old one=1 #2~/seed0'",
        "warmup=0.25",
    ]
    first, second = name(*many), name(*many[:-1], "warmup=0.5")
    assert first != second
    for text in (first, second):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text)
    for text in ("ä=1", "a" * 300, "x/../../y", "a b"):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", folder_name(text))


@pytest.mark.parametrize("bad", ["../up", ".hidden", "a b", "a=1", "a" * 101, "ä"])
def test_a_name_of_other_characters_is_refused(name, bad):
    with pytest.raises(InputError, match="letters, digits"):
        name(f"name='{bad}'")


def test_naming_leaves_the_configuration_at_work_alone(name):
    name()
    before = HydraConfig.get().runtime.choices
    name("lr=0.1", "pool=mean")
    assert HydraConfig.get().runtime.choices.pool == "mean"
    assert before.pool == "gigp"


def test_further_overrides_are_kept_for_the_record():
    line = ["lr=0.1", "seed=3", "pool=mean", "init_from='a=1'", "+trainer.x=1", "logger.project=p"]
    assert further_overrides(line) == ["init_from=a=1", "lr=0.1", "trainer.x=1"]


def test_settings_that_came_later_do_not_set_older_runs_apart(configure):
    now = OmegaConf.to_container(configure(), resolve=True)
    before = {key: value for key, value in now.items() if key != "matmul_precision"}
    before["backbone"] = {k: v for k, v in now["backbone"].items() if k != "layout"}
    assert identity(before) == identity(now)
    other = OmegaConf.to_container(configure("matmul_precision=high"), resolve=True)
    assert identity(before) != identity(other)
