"""Compose the configuration of `python train.py` from overrides."""

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

PACKAGE = Path(__file__).resolve().parents[1]
# in a wheel configs lies within the package, in a checkout beside it
CONFIGS = next(
    folder
    for folder in (PACKAGE / "configs", PACKAGE.parent / "configs")
    if (folder / "config.yaml").is_file()
)


@cache
def project_hydra() -> Any:
    """Hydra on the folder configs, made once: making it takes a quarter of a composition."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return GlobalHydra.instance().hydra


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The configuration of `python train.py` with these overrides."""
    GlobalHydra.instance().hydra = project_hydra()
    try:
        cfg = compose("config", list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().clear()
    HydraConfig.instance().set_config(cfg.copy())  # which choices.* refer to
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


@lru_cache(maxsize=1)
def composed(overrides: tuple[str, ...]) -> DictConfig:
    """The same, kept for who asks next for the same; not to be changed."""
    cfg = compose_config(overrides)
    # now; later they would be those of another one
    cfg.choices = OmegaConf.to_container(cfg.choices, resolve=True)
    return cfg
