"""From a node of the configuration to the object it describes."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.errors import InstantiationException
from lightning import LightningDataModule
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from gigp.errors import InputError
from gigp.groups import Group

PARTS = ("dataset", "group", "backbone", "pool")  # of a configuration, that become objects

# what `_target_` may name: a configuration may come with somebody else's run folder
TRUSTED = ("gigp", "torch_geometric.nn", "lightning.Trainer")


def instantiate(node: DictConfig, **arguments: Any) -> Any:
    """`hydra.utils.instantiate` of trusted classes; a user's mistake stays an `InputError` rather than hide in Hydra's.

    Raises:
        InputError: no `_target_`, or one that is no class of `TRUSTED`, or whatever the class says of its arguments.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise InputError(f"{str(node)[:200]!r} describes no object: it has no _target_. Is config.yaml whole?")
    for target in _targets(OmegaConf.to_container(node, resolve=True)):
        check_target(target)
    try:
        return hydra.utils.instantiate(node, **arguments)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


def load_config(folder: Path) -> DictConfig:
    """The configuration of a run, which may come from anyone: it can name models and data sets, and nothing else.

    Raises:
        InputError: there is none in the folder, it is damaged, or names something else to call.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise InputError(f"there is no run in {folder}: config.yaml is missing.{_hint(folder)}")
    try:
        cfg = OmegaConf.load(path)
        parts = [OmegaConf.to_container(cfg[part], resolve=True) for part in PARTS]
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0][:100]
        raise InputError(f"{path} is damaged or not the config.yaml of a run ({reason}).") from error
    for part in parts:
        _check_targets(part, path)
    return cfg


def _check_targets(node: Any, path: Path) -> None:
    """Refuse every `_target_` that is no model, data set or group: Hydra would call any function of any module."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _check_targets(value, path)
    if not isinstance(node, dict) or "_target_" not in node:
        return
    target = str(node["_target_"])
    try:
        known = hydra.utils.get_object(target) if target.startswith(("gigp.", "torch_geometric.")) else None
    except Exception:  # whatever the lookup of a wrong name ends in
        known = None
    if not (isinstance(known, type) and issubclass(known, nn.Module | LightningDataModule | Group)):
        raise InputError(f"{path} asks for {target!r}, which is no model, data set or group of this project.")


def _hint(folder: Path) -> str:
    """The run that was probably meant."""
    if seeds := sorted(folder.glob("seed*/config.yaml")):
        return f" Did you mean {seeds[0].parent}?"
    near = {str(path.parent): path.parent for path in folder.parent.parent.glob("*/seed*/config.yaml")}
    near |= {str(path.parent.parent): path.parent for path in folder.parent.glob("*/seed*/config.yaml")}
    close = get_close_matches(str(folder), near, n=1, cutoff=0.8)
    return f" Did you mean {near[close[0]]}?" if close else " Give the folder as results/runs/NAME/seed0."


def check_target(target: object) -> None:
    """Refuse a `_target_` unless it names a class that a trusted package itself defines.

    The path alone does not tell: `gigp.records.subprocess.run` begins with a trusted name.

    Raises:
        InputError: for all else, and for classes that are not there.
    """
    path = str(target)
    if any(path == trusted or path.startswith(f"{trusted}.") for trusted in TRUSTED):
        try:
            found = hydra.utils.get_object(path)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(f"_target_={path} cannot be found: {str(error).splitlines()[0]}") from error
        if isinstance(found, type) and (path in TRUSTED or _within(found.__module__)):
            return
    raise InputError(
        f"_target_={path} is refused: a configuration may only build classes of {', '.join(TRUSTED)}. "
        "If the run folder is not yours, do not use it."
    )


def _within(module: str) -> bool:
    return any(module == trusted or module.startswith(f"{trusted}.") for trusted in TRUSTED)


def _targets(node: Any) -> Iterator[object]:
    """Every `_target_` at any depth."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)
