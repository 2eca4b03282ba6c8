"""A configuration builds classes of this project and of the libraries it names, and nothing else."""

import pytest
from omegaconf import OmegaConf

from gigp.config import instantiate
from gigp.errors import InputError
from gigp.groups import SO2, SO3
from gigp.pool import GIGP


def test_builds_trusted_classes_at_any_depth():
    node = OmegaConf.create({"group": {"_target_": "gigp.groups.SO2", "alpha": 0.5}})
    assert isinstance(instantiate(node.group), SO2)
    nested = OmegaConf.create(
        {"group": {"_target_": "gigp.groups.SO3"}, "pool": {"_target_": "gigp.pool.GIGP", "group": "${group}"}}
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
        "gigp.records.subprocess.Popen",  # a trusted path to somebody else's class
        "gigp.records.shutil.rmtree",
        "gigp.run.run",                   # a function
        "gigp.config.hydra.utils.get_method",
        "gigpx.groups.SO2",
        "lightning.Trainer.fit",
        "lightning.pytorch.callbacks.LambdaCallback",
        "torch.load",
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
    """Before anything is called: a partial, an argument, an item of a list, a reference to elsewhere."""
    evil = {"_target_": target, "_args_": ["touch /tmp/never"]}
    argument = [evil, {**evil, "_partial_": True}, [evil], "${evil}"][depth]
    cfg = OmegaConf.create({"evil": evil, "node": {"_target_": "gigp.groups.SO2", "alpha": argument}})
    with pytest.raises(InputError, match=r"is refused: a configuration may only|cannot be found"):
        instantiate(cfg.node)


@pytest.mark.parametrize("node", [{}, {"alpha": 1}])
def test_section_that_describes_nothing(node):
    with pytest.raises(InputError, match="has no _target_"):
        instantiate(OmegaConf.create(node))
    with pytest.raises(InputError, match="has no _target_"):
        instantiate(None)
