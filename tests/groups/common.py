"""The groups of configs/group; a new one is found by its config."""

import torch
from omegaconf import OmegaConf

from gigp.groups import E3, SE3, Group
from gigp.lab.config.instantiate import instantiate
from gigp.testing import random_element
from tests.conftest import ROOT

FILES = sorted((ROOT / "configs" / "group").glob("*.yaml"))
GROUPS: list[Group] = [instantiate(OmegaConf.load(path).group) for path in FILES]


def rotations(group: Group) -> list[int]:
    """Indices of the generators that turn."""
    turns = [bool(a.any()) and torch.equal(a, -a.T) for a in group.generators()]
    return [i for i, turn in enumerate(turns) if turn]


def leaves_out_the_origin(group: Group) -> bool:
    """True for groups of scalings, which act on space without its origin."""
    d = group.dim
    return any(float(a[:d, :d].trace()) != 0 for a in group.generators())


def connected_element(group: Group, num: int, seed: int = 0) -> torch.Tensor:
    """Random elements that have a logarithm: those of E(3) without reflections."""
    return random_element(SE3() if isinstance(group, E3) else group, num, seed=seed)
