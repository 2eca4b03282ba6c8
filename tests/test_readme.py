"""README.md is right: its example runs, and its commands and files exist."""

import re

import pytest
import torch

from gigp.lab.config.compose import compose_config
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_example_runs_and_starts_as_the_mean():
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict = {}
    exec(code, names)
    feat, mask = names["feat"], names["mask"].unsqueeze(-1)
    torch.testing.assert_close(names["out"], (feat * mask).sum(1) / mask.sum(1))


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE)
    assert {"train", "test"} <= set(targets)
    for target in targets:
        assert f"\n{target}:" in makefile, target


def test_the_first_page_is_short():
    assert len(README.splitlines()) <= 160


@pytest.mark.parametrize(
    "line", re.findall(r"^python train\.py (?!--help).*$", README, flags=re.MULTILINE)
)
def test_commands_compose(line):
    """Every command line of the README is accepted by Hydra."""
    arguments = line.partition("#")[0].split()[2:]
    first = [a.partition(",")[0] for a in arguments if a != "-m"]  # of every list of a sweep
    assert compose_config(first).pool
