"""Every example of docs/examples.md runs, is short, and gives the result of its text."""

import re
import sys
from types import ModuleType

import pytest
import torch
from omegaconf import OmegaConf

from gigp.groups import SE3, SO3
from gigp.lab.config.compose import compose_config
from gigp.lab.config.instantiate import instantiate
from gigp.lab.training.run import run
from gigp.pools import MeanPool
from gigp.testing import assert_invariant, random_element
from tests.conftest import ROOT, tiny
from tests.groups import test_groups
from tests.groups.common import GROUPS
from tests.pools import test_pools
from tests.pools.common import SPHERES, cloud, trained

TEXT = (ROOT / "docs" / "examples.md").read_text()
SECTIONS = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)
CODE = {
    title: "".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    for title, text in SECTIONS
}


def names_of(title: str) -> dict:
    names: dict = {"__name__": "example"}
    exec(CODE[title], names)
    return names


@pytest.mark.parametrize("title", [title for title in CODE if title.startswith(("In ", "The "))])
def test_is_short(title):
    lines = CODE[title].splitlines()
    work = [line for line in lines if line and not line.startswith(("import", "from"))]
    assert len(work) <= 15


def test_graphs():
    n = names_of("In a PyTorch Geometric model")
    mean = torch.stack([x.mean(0) for x in n["x"].split([9, 5, 12])])
    torch.testing.assert_close(n["out"], n["head"](mean))


def test_point_clouds():
    n = names_of("In a point-cloud model")
    assert n["forces"].shape == (8, 20, 3)
    assert n["forces"].isfinite().all()
    for parameter in n["pool"].parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    turn = random_element(SO3(), 1)[0].float()

    def predict(pos: torch.Tensor) -> torch.Tensor:
        return n["head"](n["pool"](n["feat"].detach(), pos, n["mask"]))

    expected = predict(n["pos"])
    torch.testing.assert_close(predict(n["pos"] @ turn.T), expected, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(expected.sum(), n["pos"])
    assert (gradient[n["mask"]] != 0).any()


def test_images():
    n = names_of("In an image CNN")
    torch.testing.assert_close(n["logits"], n["head"](n["feat"].mean(1)))
    for parameter in n["pool"].parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    # the feature map, turned by 90 degrees
    quarter = n["feat"].unflatten(1, (12, 12)).rot90(dims=(1, 2)).flatten(1, 2)
    everywhere = torch.ones(1, 144, dtype=torch.bool)
    shuffled = n["feat"][:, torch.randperm(144)]
    out = [n["pool"](feat, n["grid"][None], everywhere) for feat in (n["feat"], quarter, shuffled)]
    torch.testing.assert_close(out[1], out[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(out[2], out[0], rtol=1e-4, atol=1e-4)


def test_backbone():
    n = names_of("The backbone alone")
    assert n["feat"].shape == (3, 24, 32)
    assert n["mask"].sum(1).tolist() == [18, 10, 24]


def test_beside_other_aggregations():
    n = names_of("In a PyTorch Geometric model, beside other aggregations")
    assert n["out"].shape == (3, 1)
    mean = torch.stack([x.mean(0) for x in n["batch"].x.split([9, 5, 12])])
    torch.testing.assert_close(n["others"][:, :8], mean)


def test_own_backbone():
    n = names_of("A backbone of your own")
    feat, mask = n["cloud"].feat, n["cloud"].mask

    def predict(pos: torch.Tensor) -> torch.Tensor:
        points = n["net"](n["PointCloud"](pos, feat, mask))
        return n["pool"](points.feat, points.pos, points.mask)

    assert n["out"].shape == (2, 32)
    assert_invariant(predict, SE3(), n["cloud"].pos)


CHECKING = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "checking.md").read_text(), flags=re.DOTALL
)


@pytest.mark.parametrize("code", CHECKING, ids=["schnet", "images", "own"])
def test_checks_of_models(code, capsys):
    torch.manual_seed(0)
    exec(code, {"__name__": "page"})
    for line in capsys.readouterr().out.splitlines():
        holds = line.startswith(("SchNet", "GIGP"))
        assert f" is {'invariant, up to rounding' if holds else 'not invariant'}: 4 random" in line


def example_of(title: str, monkeypatch: pytest.MonkeyPatch) -> tuple:
    """The config of an example as YAML, whose module is there as if it were a file."""
    (text,) = (text for name, text in SECTIONS if name == title)
    (config,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    target = re.search(r"_target_: ([\w.]+)\.\w+", config).group(1)
    assert target.replace(".", "/") + ".py" in text, "the file that the text names is the target"
    module = ModuleType(target)
    exec(CODE[title], module.__dict__)
    monkeypatch.setitem(sys.modules, target, module)
    parent, _, name = target.rpartition(".")
    monkeypatch.setattr(sys.modules[parent], name, module, raising=False)
    return config, OmegaConf.create(config)


def test_own_pool(monkeypatch):
    config, cfg = example_of("A pool of your own", monkeypatch)
    assert config.startswith("# ")
    pool = instantiate(OmegaConf.create({"orbits": SPHERES, "pool": cfg}).pool, channels=4).double()
    pos, feat, mask, *_ = cloud()
    torch.testing.assert_close(pool(feat, pos, mask), MeanPool(4)(feat, pos, mask))
    assert_invariant(lambda pos: trained(pool)(feat, pos, mask), SE3(), pos)
    for check in (
        test_pools.test_padding_and_its_content,
        test_pools.test_batch_equals_single,
        test_pools.test_shared_positions,
        test_pools.test_empty_cloud_gives_zero,
        test_pools.test_gradients_are_finite,
        test_pools.test_nan_position_gives_nan,
    ):
        check(pool)


def test_own_data_set(monkeypatch, tmp_path):
    """Trained by the real configuration, as its own file would be."""
    config, _ = example_of("A data set of your own", monkeypatch)
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "dipoles.yaml").write_text(config)
    small = tiny(epochs=1, train=40, val=20, test=20)
    where = [f"hydra.searchpath=[file://{tmp_path}]", f"results_dir={tmp_path}", "logger=csv"]
    record = run(compose_config(["dataset=dipoles", *small, *where]))
    assert record.metrics["dipole"].unit == "D"
    assert record.data["sizes"] == {"train": 40, "val": 20, "test": 20}


def test_own_group(monkeypatch):
    config, cfg = example_of("A group of your own", monkeypatch)
    assert config.startswith("# @package _global_\n# ")
    group = instantiate(cfg.group)
    assert str(group) not in map(str, GROUPS)
    for magnitude in (1e-9, 1.0, 3.0):
        test_groups.test_exp_and_log_agree_with_scipy(group, magnitude)
    for check in (
        test_groups.test_axioms,
        test_groups.test_relative,
        test_groups.test_relative_and_distance_are_invariant,
        test_groups.test_lifts_reach_the_point,
        test_groups.test_orbits,
        test_groups.test_gradients_are_finite_where_formulas_divide_by_zero,
        test_groups.test_single_precision_agrees,
        test_groups.test_nan_stays_nan,
        test_groups.test_names_and_bad_values,
    ):
        check(group)
