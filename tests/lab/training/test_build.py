"""Models that differ in their pool alone start from the same backbone and head."""

import re

import lightning as L
import pytest
import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.config.instantiate import instantiate
from gigp.lab.training.load import build_model
from tests.conftest import tiny

CLOUDS = (
    "dataset=orbits",
    *tiny(epochs=1, train=10, val=5, test=5),
    "backbone=lieconv",
    "backbone.width=8",
    "backbone.blocks=1",
)


@pytest.fixture
def parameters(configure):
    """Parameters of a new model, by name, for some overrides."""

    def make(*overrides: str) -> dict[str, Tensor]:
        cfg = configure(*CLOUDS, *overrides)
        L.seed_everything(cfg.seed, verbose=False)
        data = instantiate(cfg.dataset)
        data.setup()
        return build_model(cfg, data).state_dict()

    return make


@pytest.mark.parametrize("pool", ["sum", "gigp", "deepsets", "set_transformer"])
def test_one_seed_gives_every_pool_the_same_backbone_and_head(parameters, pool):
    mean, other = parameters("pool=mean"), parameters(f"pool={pool}")
    shared = [name for name in mean if name.startswith(("backbone.", "head."))]
    assert "head.weight" in shared
    for name in shared:
        assert torch.equal(mean[name], other[name]), name


def test_the_pool_follows_the_seed(parameters):
    first, again, second = (parameters("pool=deepsets", f"seed={seed}") for seed in (0, 0, 1))
    drawn = [name for name in first if name.startswith("pool.") and name.endswith("weight")]
    assert drawn
    for name in drawn:
        assert torch.equal(first[name], again[name]), name
    assert not all(torch.equal(first[name], second[name]) for name in drawn)


@pytest.mark.parametrize("layout", ["auto", "packed", "padded"])
def test_the_layout_is_a_setting(configure, qm9, layout):
    cfg = configure(f"backbone.layout={layout}", *CLOUDS[1:4], "backbone.width=8")
    assert build_model(cfg, qm9).backbone.geometry.layout == layout


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("dataset=qm9", "backbone.layout=rows"), "layout='rows' is unknown; choose one of auto,"),
        (("dataset=rotmnist", "backbone.layout=padded"), "one layout; use layout=auto."),
    ],
)
def test_layouts_that_do_not_exist_are_refused(configure, qm9, digits, overrides, message):
    cfg = configure(*overrides, *CLOUDS[1:4], "backbone.width=8")
    with pytest.raises(InputError, match=re.escape(message)):
        build_model(cfg, digits if "dataset=rotmnist" in overrides else qm9)
