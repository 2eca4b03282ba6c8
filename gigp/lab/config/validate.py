"""Check a composed configuration before anything is built from it."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, Union, Unpack, get_args, get_origin, get_type_hints

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gigp.errors import InputError, did_you_mean, first_line
from gigp.lab.config.instantiate import PARTS

# settings outside the sections; those in sections have the types that their classes declare
TYPES = {
    "lr": float,
    "warmup": float,
    "compile": bool,
    "freeze_backbone": bool,
    "solve_head": bool,
    "overwrite": bool,
    "pool_inputs": bool,
    "report": bool,
}
OPTIONAL = ("trainer.accumulate_grad_batches",)
MINIMUM = {
    "trainer.accumulate_grad_batches": 1,
    "seed": 0,
    "trainer.max_epochs": 1,
    "batch_norm_clouds": 0,
    "rotations": 0,
}
TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
}
# sections that take further settings with +SECTION.KEY=VALUE; their classes refuse what is unknown
OPEN_SECTIONS = {*PARTS, "trainer", "hydra"}
# arguments of Lightning's Trainer that every run sets itself
FIXED_TRAINER_ARGUMENTS = {
    "callbacks",
    "enable_model_summary",
    "enable_progress_bar",
    "logger",
    "num_sanity_val_steps",
    "plugins",
    "use_distributed_sampler",
}
RESERVED_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}  # Hydra's


def check_settings(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Refuse settings that would fail later, or would be ignored.

    Args:
        cfg: composed configuration.
        overrides: settings of the command line, as KEY=VALUE.

    Raises:
        InputError: a setting is missing, has the wrong type, or is not read by anything; a backbone
            is frozen that was never trained.
    """
    _check_overrides(cfg, overrides)
    missing = sorted(_missing_keys(OmegaConf.to_container(cfg)))
    if missing:
        raise InputError(
            f"{missing[0]} is missing: give {missing[0]}=...; see configs/dataset for its meaning."
        )
    try:
        OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"a setting refers to what there is not: {first_line(error)}.") from error
    for key, kind in TYPES.items():
        _check_type(key, cfg[key], kind)
    for key, minimum in MINIMUM.items():
        value = OmegaConf.select(cfg, key)
        if value is None and key in OPTIONAL:
            continue
        if not _has_type(value, int) or value < minimum:
            raise InputError(f"{key}={value}: it must be a whole number, {minimum} or larger.")
    if cfg.freeze_backbone and not cfg.init_from:
        raise InputError(
            "freeze_backbone=true without init_from would freeze a backbone that was never "
            "trained; name the run to start from, as init_from=results/runs/NAME/seed0, or set "
            "freeze_backbone=false."
        )
    if cfg.solve_head and cfg.pool_on == "outputs":
        raise InputError(
            "solve_head=true fits the head to what the pool returns, and with pool_on=outputs the "
            "head comes before the pool; use pool_on=features."
        )
    for section in PARTS:
        _check_arguments(section, cfg[section])
    _check_trainer(cfg.trainer)
    _check_backbone(cfg.backbone, overrides)


def setting_names(cfg: Mapping[str, Any]) -> list[str]:
    """Names that a user may write before the first dot of an override."""
    internal = {"augment", "choices", "recenter", "hydra", "study"}
    names = {str(key) for key in cfg} | {"experiment", "launcher", *cfg.get("choices", ())}
    return sorted(names - internal)


def _check_overrides(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse `+KEY=VALUE` if nothing reads it, and `~KEY` if the setting is needed."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        section, _, name = key.partition(".")
        if override.startswith("~") and not (name and section in ("trainer", "hydra")):
            raise InputError(
                f"{override} removes a setting that every run needs; leave {override} out."
            )
        adds = override.startswith("+") and not override.startswith("++")
        if adds and not (name and section in OPEN_SECTIONS):
            meant = did_you_mean(key, set(setting_names(cfg)) - {key})
            raise InputError(f"{override} adds a setting that nothing reads.{meant}")


def _check_arguments(section: str, node: DictConfig) -> None:
    """Refuse arguments that a class does not take, or that have another type than it declares."""
    if "_target_" not in node:
        return  # `instantiate` refuses that
    cls = hydra.utils.get_object(node._target_)
    types, takes_any = _argument_types(cls)
    for name in sorted({*map(str, node)} - RESERVED_KEYS):
        if name not in types and not takes_any:
            settings = sorted(types.keys() & node.keys())
            meant = did_you_mean(name, settings)
            raise InputError(
                f"{section}.{name} is not a setting of {cls.__name__}.{meant} "
                f"It has: {', '.join(settings) or 'none'}."
            )
        _check_type(f"{section}.{name}", node[name], types.get(name, object))


def _argument_types(cls: Any) -> tuple[dict[str, Any], bool]:
    """Types of a class's arguments by name, and whether it takes any others.

    `**settings: Unpack[Settings]` are the arguments that the dictionary type Settings lists.
    """
    hints, types, takes_any = get_type_hints(cls.__init__), {}, False
    for name, parameter in signature(cls).parameters.items():
        kind = hints.get(name, object)
        if parameter.kind is not Parameter.VAR_KEYWORD:
            types[name] = kind
        elif get_origin(kind) is Unpack:
            types |= get_type_hints(*get_args(kind))
        else:
            takes_any = True
    return types, takes_any


def _check_trainer(node: DictConfig) -> None:
    """Refuse arguments of Lightning's Trainer that would be ignored."""
    fixed = sorted(FIXED_TRAINER_ARGUMENTS & {*map(str, node)})
    if fixed:
        raise InputError(
            f"trainer.{fixed[0]} cannot be set: every run sets it itself; use logger=csv or "
            "logger=wandb to choose a logger."
            if fixed[0] == "logger"
            else f"trainer.{fixed[0]} cannot be set: every run sets it itself."
        )


def _check_backbone(node: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse settings of another backbone on the command line; data sets and groups may bring some
    along.
    """
    known = signature(hydra.utils.get_class(node._target_)).parameters
    for override in overrides:
        section, _, key = override.lstrip("+").partition("=")[0].partition(".")
        name = key.partition(".")[0]
        if section == "backbone" and name and name not in {*known, "_target_"}:
            settings = ", ".join(sorted({*map(str, node)} & known.keys())) or "none"
            raise InputError(
                f"backbone.{key} is not a setting of this backbone, which has: {settings}."
            )


def _check_type(key: str, value: Any, kind: Any) -> None:
    if not _has_type(value, kind):
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        names = " or ".join(TYPE_NAMES[member] for member in kinds)
        raise InputError(f"{key}={value}: it must be {names}.")


def _has_type(value: Any, kind: Any) -> bool:
    """Whether a value has a plain type; True for other types, which their classes check."""
    if get_origin(kind) in (Union, UnionType):
        return any(_has_type(value, member) for member in get_args(kind))
    if kind not in TYPE_NAMES:
        return True
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)


def _missing_keys(node: Any, path: str = "") -> Iterator[str]:
    """Keys whose value is ???; OmegaConf's own search fails where another value refers to one."""
    if node == "???":
        yield path
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _missing_keys(child, f"{path}.{key}" if path else str(key))
