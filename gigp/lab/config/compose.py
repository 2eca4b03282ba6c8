"""Compose the configuration of `python train.py` from overrides."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gigp.errors import InputError, needs_extra

with needs_extra("train"):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig, OmegaConf, open_dict

from gigp.lab.config.paths import quote_paths, trained_network

OmegaConf.register_new_resolver("trained", trained_network, replace=True)

LAB = Path(__file__).resolve().parents[1]
# in a wheel configs lies in this folder, in a checkout next to the package
CONFIGS = next(
    folder
    for folder in (LAB / "configs", LAB.parents[1] / "configs")
    if (folder / "config.yaml").is_file()
)


@cache
def project_hydra() -> Any:
    """Hydra on the folder configs, made once: making it takes a quarter of a composition."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return GlobalHydra.instance().hydra


def _compose(overrides: Sequence[str]) -> DictConfig:
    """The configuration with Hydra's own section."""
    GlobalHydra.instance().hydra = project_hydra()
    try:
        return compose("config", list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().clear()


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The configuration of `python train.py` with these overrides; paths may hold anything."""
    cfg = _compose(quote_paths(overrides))
    HydraConfig.instance().set_config(cfg.copy())  # which choices.* refer to
    with open_dict(cfg):
        del cfg["hydra"]
        # now; later they would be those of the configuration that is composed next
        cfg.choices = OmegaConf.to_container(cfg.choices, resolve=True)
    return cfg


def read_sweep(
    experiment: str,
) -> tuple[dict[str, Any] | None, dict[str, str], dict[str, str]]:
    """The settings of an experiment under `study`, the values of its sweep by key, pool and scale.

    They are read from its file, as composing it takes a quarter of a second.

    Raises:
        InputError: its defaults list more than choices.
    """
    path = CONFIGS / "experiment" / f"{experiment}.yaml"
    own, base = (_read_yaml(file) for file in (path, CONFIGS / "config.yaml"))
    chosen: dict[str, str] = {}
    for entry in (*base["defaults"], *own.get("defaults", ())):
        if isinstance(entry, dict):
            ((key, choice),) = entry.items()
            chosen[key.removeprefix("override ").removeprefix("/")] = choice
        elif entry != "_self_":
            raise InputError(f"{path}: defaults list {entry}; they take `override /GROUP: CHOICE`.")
    params = own.get("hydra", {}).get("sweeper", {}).get("params")
    sweep = {key: str(value) for key, value in (params or {}).items()}
    return own.get("study"), sweep, {key: chosen[key] for key in ("pool", "scale")}


def _read_yaml(path: Path) -> Any:
    """The content of a file, read as Hydra does."""
    return OmegaConf.to_container(OmegaConf.load(path))
