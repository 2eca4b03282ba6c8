"""A configuration builds classes of this project and of the libraries it names, and nothing
else.
"""

import pytest
from omegaconf import OmegaConf

from gigp.config.instantiate import instantiate, load_config
from gigp.errors import InputError
from gigp.groups import SO2, SO3
from gigp.pools.gigp import GIGP
from gigp.training.run import run


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
        "gigp.training.folder.subprocess.Popen",  # a trusted path to somebody else's class
        "gigp.training.folder.shutil.rmtree",
        "gigp.training.run.run",  # a function
        "gigp.config.instantiate.hydra.utils.get_method",
        "gigpx.groups.SO2",
        "lightning.Trainer.fit",
        "lightning.pytorch.callbacks.LambdaCallback",
        "torch.load",
        "torch_geometric.nn.Sequential",  # makes code of its arguments
        "torch_geometric.nn.models.GPSE",
        "gigp.training.folder.RunFolder",  # a class, but nothing that a configuration describes
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
        InputError, match=r"the configuration asks for .*, which is no model, data set or group"
    ):
        instantiate(cfg.node)


@pytest.mark.parametrize("node", [{}, {"alpha": 1}])
def test_section_that_describes_nothing(node):
    with pytest.raises(InputError, match="has no _target_"):
        instantiate(OmegaConf.create(node))
    with pytest.raises(InputError, match="has no _target_"):
        instantiate(None)


@pytest.mark.parametrize("part", ["dataset", "group", "backbone", "pool"])
def test_foreign_run_folder(configure, tmp_path, part):
    """Every part of a config.yaml is checked before anything is built of it, and the message names
    the file.
    """
    cfg = configure("dataset=orbits")
    path = tmp_path / "config.yaml"
    OmegaConf.save(cfg, path)
    assert load_config(tmp_path).dataset == cfg.dataset
    cfg[part] = {"_target_": "os.system", "command": f"touch {tmp_path}/touched"}
    OmegaConf.save(cfg, path)
    with pytest.raises(InputError, match=f"{path} asks for 'os.system'"):
        load_config(tmp_path)
    assert not (tmp_path / "touched").exists()


def test_every_class_of_our_configurations_is_trusted(configure):
    from gigp.config.instantiate import check_targets
    from tests.conftest import ROOT

    named = []

    def collect(node):
        for child in (
            node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        ):
            collect(child)
        if isinstance(node, dict) and "gigp.training.sweep" not in str(
            node.get("_target_", "gigp.training.sweep")
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
