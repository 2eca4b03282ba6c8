"""A configuration builds classes of this project and of the libraries it names, and nothing
else.
"""

import os

import pytest
import yaml
from omegaconf import OmegaConf
from torch import nn

from gigp.errors import InputError
from gigp.groups import SO2, SO3
from gigp.lab.config.instantiate import instantiate, limit_parameters, load_config
from gigp.lab.training.run import run
from gigp.pools.gigp import GIGP


def test_builds_trusted_classes_at_any_depth():
    node = OmegaConf.create({"group": {"_target_": "gigp.groups.SO2", "alpha": 0.5}})
    assert isinstance(instantiate(node.group), SO2)
    nested = OmegaConf.create(
        {
            "group": {"_target_": "gigp.groups.SO3"},
            "pool": {"_target_": "gigp.pools.gigp.GIGP", "group": "${group}"},
        }
    )
    pool = instantiate(nested.pool, channels=3)
    assert isinstance(pool, GIGP)
    assert isinstance(pool.group, SO3)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "gigp.lab.runs.provenance.subprocess.Popen",  # a trusted path to somebody else's class
        "gigp.lab.runs.folder.shutil.rmtree",
        "gigp.lab.training.run.run",  # a function
        "gigp.lab.config.instantiate.hydra.utils.get_method",
        "gigpx.groups.SO2",
        "lightning.Trainer.fit",
        "lightning.pytorch.callbacks.LambdaCallback",
        "torch.load",
        "torch_geometric.nn.Sequential",  # makes code of its arguments
        "torch_geometric.nn.models.GPSE",
        "gigp.lab.runs.folder.RunFolder",  # a class, but nothing that a configuration describes
        "torch_geometric.io.fs.torch_load",
        "torch_geometric.nn.inspect.os.system",
        "gigp.groups.SO4",
        "gigp",
        "",
        7,
        None,
    ],
)
@pytest.mark.parametrize("depth", range(4))
def test_refuses_all_else(target, depth, monkeypatch):
    """Before anything is called: a partial, an argument, an item of a list, a reference to
    elsewhere.
    """
    evil = {"_target_": target, "_args_": ["touch /tmp/never"]}
    argument = [evil, {**evil, "_partial_": True}, [evil], "${evil}"][depth]
    cfg = OmegaConf.create(
        {"evil": evil, "node": {"_target_": "gigp.groups.SO2", "alpha": argument}}
    )
    with pytest.raises(
        InputError, match=r"the configuration asks for .*, which is not a model, data set or group"
    ):
        instantiate(cfg.node)


@pytest.mark.parametrize("node", [{}, {"alpha": 1}])
def test_section_that_describes_nothing(node):
    with pytest.raises(InputError, match="has no _target_"):
        instantiate(OmegaConf.create(node))
    with pytest.raises(InputError, match="has no _target_"):
        instantiate(None)


@pytest.fixture
def stored(configure, tmp_path):
    """The configuration of a run as it lies in its folder."""
    return OmegaConf.to_container(configure("dataset=orbits"), resolve=True)


@pytest.mark.parametrize("part", ["dataset", "group", "backbone", "pool"])
def test_foreign_run_folder(stored, tmp_path, part):
    """Every part of a config.yaml is checked before anything is built of it, and the message names
    the file.
    """
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(stored))
    assert load_config(tmp_path).dataset == stored["dataset"]
    stored[part] = {"_target_": "os.system", "command": f"touch {tmp_path}/touched"}
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(InputError, match=f"{path} asks for 'os.system'"):
        load_config(tmp_path)
    assert not (tmp_path / "touched").exists()


def bomb(depth: int) -> str:
    """A few lines of YAML that stand for 9 ** depth texts."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for n in range(1, depth):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "${oc.env:HOME}"}, r"refers to other values with \$\{...\}"),
        ({"pool": {"_target_": "gigp.pools.base.MeanPool", "${oc.env:HOME}": 1}}, "refers to"),
        ({"backbone": {"_target_": "gigp.backbones.identity.Identity", "blocks": 10**7}}, "more"),
        ({"backbone": {"_target_": "gigp.backbones.identity.Identity", "a": [1e300]}}, "more"),
        (
            {"dataset": {"_target_": "gigp.lab.data.orbits.OrbitClouds", "points": 10**12}},
            "more than",
        ),
        ({"group": {"_target_": "gigp.groups.SO2", "alpha": float("nan")}}, "more than"),
        ({"group": None}, "group: Input should be a valid dictionary"),
    ],
)
def test_hostile_values_are_refused(stored, tmp_path, change, message):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stored | change))
    with pytest.raises(InputError, match=message):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(12), "it has aliases"),
        ("a: &a [*a]", "it has aliases"),
        ("[" * 19_000, "nested too deeply|maximum recursion"),
        ("a: " + "x" * 300_000, "it has 300,003 bytes; 20,000 are allowed"),
        ("- a", "not a mapping"),
        ("!!python/object/apply:os.system [touch it]", "could not determine a constructor"),
        ("\x00", "special characters"),
    ],
)
def test_hostile_files_are_refused(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(tmp_path)


def test_a_file_of_another_kind_is_refused(stored, tmp_path):
    (tmp_path / "elsewhere.yaml").write_text(yaml.safe_dump(stored))
    (tmp_path / "config.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(InputError, match="not a regular file"):
        load_config(tmp_path)
    (tmp_path / "config.yaml").unlink()
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(InputError, match="not a regular file"):
        load_config(tmp_path)


def test_foreign_places_are_not_used(configure, tmp_path):
    cfg = configure("dataset=qm9", f"dataset.root={tmp_path}/a", f"dataset.cache={tmp_path}/b")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(cfg, resolve=True)))
    loaded = load_config(tmp_path)
    assert (loaded.dataset.root, loaded.dataset.cache) == ("data", "data")


def test_runs_that_refer_to_themselves_are_refused(configure, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, other in zip(folders, reversed(folders), strict=True):
        folder.mkdir()
        cfg = configure("dataset=features", f"dataset.run={other}")
        text = yaml.safe_dump(OmegaConf.to_container(cfg, resolve=True))
        (folder / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.run leads back to itself"):
        load_config(folders[0])


def test_the_number_of_parameters_is_limited():
    with limit_parameters(1000):
        nn.Linear(10, 10)
        with pytest.raises(InputError, match="more than 1,000 parameters"):
            nn.Linear(100, 10)
    nn.Linear(100, 10)


def test_every_class_of_our_configurations_is_trusted(configure):
    from gigp.lab.config.instantiate import check_targets
    from tests.conftest import ROOT

    named = []

    def collect(node):
        for child in (
            node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        ):
            collect(child)
        if isinstance(node, dict) and "gigp.lab.training.sweep" not in str(
            node.get("_target_", "gigp.lab.training.sweep")
        ):
            named.append(node["_target_"])

    for path in (ROOT / "configs").glob("*/*.yaml"):
        if path.parent.name not in ("launcher", "hydra"):
            collect(OmegaConf.to_container(OmegaConf.load(path), resolve=False))
    assert len(set(named)) > 25
    for target in named:
        check_targets({"_target_": target}, "it")


def test_a_data_set_without_its_run_is_refused(configure):
    with pytest.raises(InputError, match=r"dataset\.run is missing: give dataset\.run=\.\.\."):
        run(configure("dataset=features"))
