"""Pools that users bring: built, checked, and never imported because of a configuration file."""

import pytest
import torch
from omegaconf import OmegaConf

from gigp.errors import InputError
from gigp.lab.config.instantiate import instantiate
from gigp.pools import custom
from gigp.pools.custom import CustomPool, register

TOYS = "tests.lab.study.toy_pools"
PYG = "torch_geometric.nn.aggr"


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch):
    monkeypatch.setattr(custom, "_REGISTERED", {})


def made(name: str, channels: int = 4, **arguments) -> CustomPool:
    register(name)
    return CustomPool(channels, name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "width"),
    [
        (f"{TOYS}:Weighted", {"power": 2}, 4),
        (f"{TOYS}:Wide", {}, 8),
        (f"{PYG}:MeanAggregation", {}, 4),
        (f"{PYG}:SoftmaxAggregation", {"learn": True}, 4),
        (f"{PYG}:SoftmaxAggregation", {"learn": True, "channels": 4}, 4),
        (f"{PYG}:Set2Set", {"processing_steps": 2}, 8),
        (f"{PYG}:GRUAggregation", {"out_channels": 3}, 3),
        ("gigp.pools.controls:MeanMLP", {"hidden_layers": 1}, 4),
    ],
)
def test_modules_and_aggregations(name, arguments, width):
    pool = made(name, **arguments)
    assert pool.out_channels == width
    feat, pos = torch.randn(3, 5, 4), torch.randn(3, 5, 3)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    assert pool(feat, pos, mask).shape == (3, width)


def test_an_aggregation_pools_the_real_points_alone():
    pool = made(f"{PYG}:SumAggregation")
    feat, mask = torch.randn(2, 3, 4), torch.tensor([[True, True, False], [True, False, False]])
    expected = torch.stack([feat[0, :2].sum(0), feat[1, 0]])
    torch.testing.assert_close(pool(feat, torch.zeros(2, 3, 3), mask), expected)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Weighted", "names no pool; write it as package.module:Class"),
        ("nowhere.at_all:Pool", r"nowhere.at_all cannot be imported \(ModuleNotFoundError"),
        (f"{TOYS}:Missing", "toy_pools has no class or function Missing"),
        (f"{TOYS}:Weihgted", r"no class or function Weihgted\. Did you mean Weighted\?"),
        ("./my/pools.py:Mine", r"names a file; name its module, my\.pools:Mine"),
        (f"{TOYS}:Plain", "made a Plain, not a torch.nn.Module"),
        (f"{TOYS}:Flat", r"returned shape \(2,\) for 2 clouds of 3 points with 4 channels"),
        ("torch.nn:LayerNorm", r"fails on feat \(2, 3, 4\), pos .*TypeError"),
    ],
)
def test_bad_pools_in_one_sentence(name, why):
    with pytest.raises(InputError, match=why) as error:
        made(name)
    assert "\n" not in str(error.value)


def test_wrong_arguments_name_those_that_there_are():
    with pytest.raises(InputError, match="its arguments are: channels, power"):
        made(f"{TOYS}:Weighted", powr=2)


def test_a_configuration_imports_nothing_by_itself(tmp_path, monkeypatch):
    """Not a module that lies ready, either: only the user's own program may name it."""
    (tmp_path / "stranger.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "gigp.pools.custom.CustomPool", "pool": "stranger:Pool"}
    with pytest.raises(InputError, match="stranger:Pool, a module that its user brought"):
        instantiate(OmegaConf.create(node), channels=4)


def test_a_changed_file_is_noticed(tmp_path, monkeypatch):
    source = register(f"{TOYS}:Weighted").source
    CustomPool(4, f"{TOYS}:Weighted", {}, source)
    with pytest.raises(InputError, match="is not the one that the run was trained with"):
        CustomPool(4, f"{TOYS}:Weighted", {}, "0" * 8)
