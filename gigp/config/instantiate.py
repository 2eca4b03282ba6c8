"""From a node of the configuration to the object it describes."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.errors import InstantiationException
from lightning import LightningDataModule, Trainer
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from gigp.errors import InputError
from gigp.groups import Group

PARTS = ("dataset", "group", "backbone", "pool")  # of a configuration, that become objects

# what `_target_` may name, for a configuration may come with somebody else's run folder: classes
# that these define. Not all of torch_geometric.nn: its Sequential makes Python code of its
# arguments and executes it
TRUSTED = ("gigp", "torch_geometric.nn.aggr", "lightning.Trainer")
KINDS = (nn.Module, LightningDataModule, Group, Trainer)


def instantiate(node: DictConfig, **arguments: Any) -> Any:
    """`hydra.utils.instantiate` of trusted classes; a user's mistake stays an `InputError` rather
    than hide in Hydra's.

    Raises:
        InputError: no `_target_`, or one that `check_targets` refuses, or whatever the class says
            of its arguments.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise InputError(
            f"{str(node)[:200]!r} describes no object: it has no _target_. Is config.yaml whole?"
        )
    check_targets(OmegaConf.to_container(node, resolve=True), "the configuration")
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
    """The configuration of a run, which may come from anyone: it can name models and data sets, and
    nothing else.

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
        raise InputError(
            f"{path} is damaged or not the config.yaml of a run ({reason})."
        ) from error
    for part in parts:
        check_targets(part, str(path))
    return cfg


def check_targets(node: Any, where: str) -> None:
    """Refuse a configuration that would call anything else than a model, data set or group, at any
    depth.

    Args:
        node: resolved, of dictionaries and lists.
        where: what to call it in the message.

    Raises:
        InputError: naming the first such `_target_`.
    """
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        check_targets(child, where)
    if isinstance(node, dict) and "_target_" in node and not _trusted(str(node["_target_"])):
        raise InputError(
            f"{where} asks for {str(node['_target_'])!r}, which is no model, data set or group of "
            "this project and no aggregation of PyTorch Geometric. If it came from somebody else, "
            "do not use it; else mend its _target_."
        )


def _trusted(target: str) -> bool:
    """Whether a path names a class that a trusted package itself defines, of a kind that
    configurations may build.

    The path alone does not tell: `gigp.training.folder.subprocess.Popen` begins with a trusted
    name.
    """
    if not _within(target):
        return False
    try:
        found = hydra.utils.get_object(target)
    except Exception:  # whatever the lookup of a wrong name ends in
        return False
    return (
        isinstance(found, type)
        and issubclass(found, KINDS)
        and (target in TRUSTED or _within(found.__module__))
    )


def _within(path: str) -> bool:
    return any(path == trusted or path.startswith(f"{trusted}.") for trusted in TRUSTED)


def _hint(folder: Path) -> str:
    """The run that was probably meant."""
    if seeds := sorted(folder.glob("seed*/config.yaml")):
        return f" Did you mean {seeds[0].parent}?"
    if within := [parent for parent in [*folder.parents][:2] if (parent / "config.yaml").exists()]:
        return f" Did you mean {within[0]}?"
    near = {
        str(path.parent): path.parent for path in folder.parent.parent.glob("*/seed*/config.yaml")
    }
    near |= {
        str(path.parent.parent): path.parent for path in folder.parent.glob("*/seed*/config.yaml")
    }
    close = get_close_matches(str(folder), near, n=1, cutoff=0.8)
    return (
        f" Did you mean {near[close[0]]}?"
        if close
        else " Give the folder as results/runs/NAME/seed0."
    )
