"""Every example of docs/examples.md runs, is short, and does what its text says."""

import re

import pytest
import torch

from gigp.groups import SO3
from gigp.testing import random_element
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "examples.md").read_text()
EXAMPLES = re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", TEXT, flags=re.DOTALL | re.MULTILINE)


def names_of(title: str) -> dict:
    names: dict = {}
    exec(dict(EXAMPLES)[title], names)
    return names


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_is_short(title, code):
    lines = [line for line in code.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 15


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
    answer = lambda pos: n["head"](n["pool"](n["encoder"](torch.ones(8, 20, 1)), pos, n["mask"]))  # noqa: E731
    torch.testing.assert_close(answer(n["pos"] @ turn.T), answer(n["pos"]), rtol=1e-4, atol=1e-4)
    assert (torch.autograd.grad(answer(n["pos"]).sum(), n["pos"])[0][n["mask"]] != 0).any()


def test_images():
    n = names_of("In an image CNN")
    torch.testing.assert_close(n["logits"], n["head"](n["feat"].mean(1)))
    for parameter in n["pool"].parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    # of the feature map
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
