"""From a node of the configuration to the object it describes.

Reading a configuration loads no PyTorch, so that mistakes are told at once; building from it does.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from gigp.errors import InputError, did_you_mean, first_line
from gigp.lab.files import read_bytes

MARKS = ("_target_", "_partial_", "_convert_")  # keys that are no arguments
PARTS = ("dataset", "group", "backbone", "pool")  # of a configuration, that become objects

# A configuration may come with a stranger's run folder, so `_target_` may name only classes that
# these packages define. Not all of torch_geometric.nn: its Sequential makes Python code from its
# arguments and executes it.
TRAINER = "lightning.Trainer"
TRUSTED = ("gigp", "torch_geometric.nn.aggr", TRAINER)
# of the configuration in a stranger's run folder
YAML_ERRORS = (yaml.YAMLError, ValueError, OSError, RecursionError)
MAX_BYTES = 20_000
MAX_WIDTH = 5_000  # largest number in backbone, group and pool
MAX_SAMPLES = 10_000_000  # largest number in dataset
MAX_CHAIN = 4  # runs on features of other runs
MAX_PARAMETERS = 500_000_000


def instantiate(node: DictConfig, **arguments: Any) -> Any:
    """The object that a section of the configuration describes, as `hydra.utils.instantiate` makes
    it; predictions need no Hydra.

    Args:
        node: section of the configuration, with a `_target_`.
        arguments: further arguments of the class.

    Raises:
        InputError: `_target_` is missing or refused by `check_targets`, or the class refuses its
            arguments.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise InputError(
            f"{str(node)[:200]!r} has no _target_, so the class to build is missing. Is "
            "config.yaml complete?"
        )
    settings = OmegaConf.to_container(node, resolve=True)
    check_targets(settings, "the configuration")
    return _build(settings, **arguments)


def _build(node: Any, **arguments: Any) -> Any:
    """Objects in place of all dictionaries with a `_target_`, innermost first."""
    if isinstance(node, list):
        return [_build(child) for child in node]
    if not isinstance(node, dict):
        return node
    values = {key: _build(child) for key, child in node.items() if key not in MARKS}
    if "_target_" not in node:
        return values
    make = resolve_name(node["_target_"])
    values |= arguments
    return partial(make, **values) if node.get("_partial_") else make(**values)


def load_config(folder: Path) -> DictConfig:
    """Read the configuration of a run, which may come from a stranger.

    It can name models and data sets, and nothing else: values that refer to this machine
    (`${oc.env:...}`) are refused, and the folders of data sets are replaced by `data`.

    Raises:
        InputError: config.yaml is missing, damaged, too large, or names something else to call.
    """
    from gigp.lab.config.schema import check_sections

    cfg = _read_config(folder)
    path = folder / "config.yaml"
    for section in PARTS:
        check_targets(cfg[section], str(path))
        _check_sizes(cfg[section], section, path)
    check_sections(cfg, path)
    _check_chain(cfg, folder)
    for key in ("root", "cache"):
        if key in cfg["dataset"]:
            cfg["dataset"][key] = "data"
    return OmegaConf.create(cfg)


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can make a small file expand without bound."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases")
        return super().compose_node(parent, index)


def _read_config(folder: Path) -> dict[str, Any]:
    """The configuration as plain dictionaries and lists."""
    from gigp.lab.config.schema import check_settings_of_model

    path = folder / "config.yaml"
    if not path.exists():
        raise InputError(f"there is no run in {folder}: config.yaml is missing.{_hint(folder)}")
    try:
        if path.is_symlink():
            raise ValueError("it is a link, not a regular file")
        cfg = read_mapping(path)
        check_settings_of_model(cfg)
        if any("${" in text for text in _texts(cfg)):
            raise ValueError("refers to other values with ${...}")
    except YAML_ERRORS as error:
        reason = f"is damaged or not the config.yaml of a run ({first_line(error)})"
        raise InputError(f"{path} {reason}.") from error
    return cfg


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a file of YAML, which may come from a stranger.

    Raises:
        YAML_ERRORS: it is not a regular file of at most `MAX_BYTES`, is damaged, or no mapping.
    """
    content = PlainLoader(read_bytes(path, MAX_BYTES).decode()).get_single_data()
    if not isinstance(content, dict):
        raise ValueError("not a mapping")
    return content


def _texts(node: Any) -> Iterator[str]:
    """All keys and values that are text."""
    if isinstance(node, str):
        yield node
    for child in _children(node):
        yield from _texts(child)
    if isinstance(node, dict):
        yield from (key for key in node if isinstance(key, str))


def _check_sizes(node: Any, name: str, path: Path) -> None:
    """Refuse numbers that would make a model or data set of absurd size."""
    limit = MAX_SAMPLES if name.startswith("dataset") else MAX_WIDTH
    if isinstance(node, int | float) and not abs(node) <= limit and not name.endswith(".seed"):
        raise InputError(f"{path} sets {name}={str(node)[:20]}, which is more than {limit:,}.")
    items = node.items() if isinstance(node, dict) else enumerate(_children(node))
    for key, child in items:
        _check_sizes(child, f"{name}.{key}", path)


def _check_chain(cfg: dict[str, Any], folder: Path) -> None:
    """Refuse a run on features of a run on features of ... itself."""
    seen = {folder.resolve()}
    while isinstance(cfg["dataset"].get("run"), str):
        following = Path(cfg["dataset"]["run"])
        if following.resolve() in seen or len(seen) > MAX_CHAIN:
            raise InputError(
                f"{folder / 'config.yaml'}: dataset.run leads back to itself or through more than "
                f"{MAX_CHAIN} runs."
            )
        seen.add(following.resolve())
        if not (following / "config.yaml").exists():
            return  # the data set refuses that
        cfg = _read_config(following)


@contextmanager
def limit_parameters(limit: int = MAX_PARAMETERS) -> Iterator[None]:
    """Refuse to build models with more parameters inside the block.

    Raises:
        InputError: the parameters built so far exceed the limit.
    """
    from torch.nn.modules.module import register_module_parameter_registration_hook

    total = 0

    def count(module: Any, name: str, parameter: Any) -> None:
        nonlocal total
        total += 0 if parameter is None else parameter.numel()
        if total > limit:
            raise InputError(f"the configuration asks for more than {limit:,} parameters.")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def check_targets(node: Any, where: str) -> None:
    """Refuse a configuration that names anything but a model, data set or group to build, at any
    depth.

    Args:
        node: resolved configuration, made of dictionaries and lists.
        where: name of the configuration in the message.

    Raises:
        InputError: such a `_target_`, named in the message.
    """
    for child in _children(node):
        check_targets(child, where)
    if isinstance(node, dict) and "_target_" in node and not _trusted(str(node["_target_"])):
        raise InputError(
            f"{where} asks for {str(node['_target_'])[:80]!r}, which is not a model, data set or "
            "group of this project, nor an aggregation of PyTorch Geometric. If you did not write "
            "it, do not use it; if an earlier version of gigp did, train it again; else correct "
            "its _target_."
        )


def _trusted(target: str) -> bool:
    """Whether a path names a class that a trusted package itself defines, of a kind that
    configurations may build.

    The path alone does not tell: `gigp.lab.runs.provenance.subprocess.Popen` begins with a trusted
    name.
    """
    if not _within(target):
        return False
    from gigp.lab.config.schema import KINDS  # which loads PyTorch

    try:
        cls = resolve_name(target)
    except Exception:  # the lookup of a wrong name may raise any error
        return False
    if not isinstance(cls, type):
        return False
    return target == TRAINER or (issubclass(cls, (*KINDS.values(),)) and _within(cls.__module__))


def _within(path: str) -> bool:
    return any(path == trusted or path.startswith(f"{trusted}.") for trusted in TRUSTED)


def _hint(folder: Path) -> str:
    """The run that was probably meant."""
    if seeds := sorted(folder.glob("seed*/config.yaml")):
        return f" Did you mean {seeds[0].parent}?"
    for parent in [*folder.parents][:2]:
        if (parent / "config.yaml").exists():
            return f" Did you mean {parent}?"
    runs = [*folder.parent.parent.glob("*/seed*"), *folder.parent.glob("*/seed*")]
    known = {str(run) for run in runs if (run / "config.yaml").exists()}
    return did_you_mean(str(folder), known, cutoff=0.8) or (
        " Give the folder as results/runs/NAME/seed0."
    )
