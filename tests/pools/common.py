"""Clouds and pools that the tests of pools share."""

from functools import cache

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from gigp.groups import SO3
from gigp.lab.config.instantiate import instantiate
from gigp.pointcloud import PointCloud
from gigp.pools import GIGP, Pool
from tests.conftest import ROOT

CONFIGS = ROOT / "configs"
NAMES = sorted(path.stem for path in (CONFIGS / "pool").glob("*.yaml"))
SPHERES = {"group": {"_target_": "gigp.groups.SO3"}, "center": "centroid"}


@cache
def config_of(name: str) -> DictConfig:
    """The pool of configs/pool/NAME.yaml, composed by Hydra, with spheres about the centroid."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(f"pool/{name}")
    return OmegaConf.merge({"orbits": SPHERES, "pool": {}}, OmegaConf.to_container(cfg))


def make(name: str, channels: int = 4, **options) -> Pool:
    """The pool of configs/pool/NAME.yaml, fitted, in double precision, ready to evaluate."""
    torch.manual_seed(0)
    cfg = OmegaConf.merge(config_of(name), {"pool": options})
    pool = instantiate(cfg.pool, channels=channels).double().eval()
    pool.fit([cloud(channels=channels), cloud((4, 8), channels, seed=1)])
    return pool


def trained(pool: Pool, std: float = 0.3) -> Pool:
    """Move the parameters away from their start."""
    torch.manual_seed(0)
    for parameter in pool.double().parameters():
        torch.nn.init.normal_(parameter, std=std)
    return pool


def cloud(sizes=(5, 9, 1), channels=4, dim=3, seed=0) -> PointCloud:
    """Random clouds of given sizes, with masses."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(sizes), max(sizes))
    pos = 2 * torch.randn(*shape, dim, dtype=torch.float64, generator=generator)
    feat = torch.randn(*shape, channels, dtype=torch.float64, generator=generator)
    mass = 1 + 15 * torch.rand(shape, dtype=torch.float64, generator=generator)
    return PointCloud(pos, feat, torch.arange(max(sizes)) < torch.tensor(sizes)[:, None], mass=mass)


def gigp(channels=4, group=None, *, moved=True, clouds=None, **options) -> GIGP:
    """A fitted GIGP; `moved` moves the parameters away from their start, where it is mean
    pooling.
    """
    torch.manual_seed(0)
    options = {"orbits": 12, "hidden_channels": 16, **options}
    pool = GIGP(channels, group or SO3(), **options).double()
    pool.fit([clouds or cloud(channels=channels, dim=pool.group.dim)])
    return trained(pool, 0.5) if moved else pool
