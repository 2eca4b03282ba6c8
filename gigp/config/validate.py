"""What a user may set: values of the right kind, under names that something reads, and what to say
otherwise.
"""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gigp.config.instantiate import PARTS
from gigp.errors import InputError

GENERAL = {
    "lr": float,
    "warmup": float,
    **dict.fromkeys(("compile", "freeze_backbone", "overwrite"), bool),
}
KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
}
LEAST = {"seed": 0, "trainer.max_epochs": 1, "recalibrate": 0}
# sections to which settings may be added: whoever takes them checks them
OPEN = {*PARTS, "trainer", "hydra"}
OF_HYDRA = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def check_settings(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Refuse what would fail later in words of a library, or do something else than the user
    thinks.

    Args:
        cfg: composed configuration.
        overrides: of the command line, as KEY=VALUE.

    Raises:
        InputError: a setting without a value, of another kind or that nothing reads, a frozen
            backbone that nobody trained, or an override that the backbone does not know.
    """
    if missing := sorted(_missing(OmegaConf.to_container(cfg))):
        raise InputError(
            f"{missing[0]} is missing: give {missing[0]}=...; configs/dataset says what it is."
        )
    _check_additions(cfg, overrides)
    for key, kind in GENERAL.items():
        _check_kind(key, cfg[key], kind)
    for key, least in LEAST.items():
        value = OmegaConf.select(cfg, key)
        if not _is(value, int) or value < least:
            raise InputError(f"{key}={value}: it must be a whole number, {least} or larger.")
    if cfg.freeze_backbone and not cfg.init_from:
        raise InputError(
            "freeze_backbone=true without init_from would freeze a backbone that was never "
            "trained; name the run to start from, as init_from=results/runs/NAME/seed0, or set "
            "freeze_backbone=false."
        )
    for part in PARTS:
        _check_arguments(part, cfg[part])
    _check_backbone(cfg.backbone, overrides)


def _check_arguments(part: str, node: DictConfig) -> None:
    """Refuse arguments that a class does not take, or that are of another kind than it says."""
    if "_target_" not in node:
        return  # which instantiate says better
    built = hydra.utils.get_object(node._target_)
    known, kinds = signature(built).parameters, get_type_hints(built.__init__)
    anything = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in known.values())
    for name in sorted(node.keys() - OF_HYDRA):
        if name not in known and not anything:
            settings = sorted(known.keys() & node.keys())
            raise InputError(
                f"{part}.{name} is no setting of "
                f"{built.__name__}.{did_you_mean(name, settings)}{_has(settings)}"
            )
        _check_kind(f"{part}.{name}", node[name], kinds.get(name, object))


def _check_backbone(node: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse settings of another backbone where the user asks for them; data sets and groups bring
    theirs along.
    """
    known = signature(hydra.utils.get_class(node._target_)).parameters
    given = [override.lstrip("+~").partition("=")[0].partition(".") for override in overrides]
    for key in (name for section, _, name in given if section == "backbone" and name):
        if key != "_target_" and key.partition(".")[0] not in known:
            settings = ", ".join(sorted(node.keys() & known.keys())) or "none"
            raise InputError(
                f"backbone.{key} is no setting of this backbone, which has: {settings}."
            )


def _check_additions(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse +KEY=VALUE where nothing would read it."""
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        section, _, name = key.partition(".")
        if (
            override.startswith("+")
            and not override.startswith("++")
            and not (name and section in OPEN)
        ):
            raise InputError(
                f"{override} adds a setting that nothing "
                f"reads.{did_you_mean(key, set(settings_of(cfg)) - {key})}"
            )


def _check_kind(key: str, value: Any, kind: Any) -> None:
    if not _is(value, kind):
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        raise InputError(f"{key}={value}: it must be {' or '.join(KINDS[k] for k in kinds)}.")


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is what an annotation of plain types says; others are left to whoever gets
    the value.
    """
    if get_origin(kind) in (Union, UnionType):
        return any(_is(value, k) for k in get_args(kind))
    if kind not in KINDS:
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _missing(node: Any, path: str = "") -> Iterator[str]:
    """Keys whose value is ???; OmegaConf's own search fails where another value refers to one."""
    if node == "???":
        yield path
    for key, child in node.items() if isinstance(node, dict) else ():
        yield from _missing(child, f"{path}.{key}" if path else str(key))


def settings_of(cfg: DictConfig) -> list[str]:
    """What a user may write before the first dot of an override."""
    own = {"choices", "recenter", "hydra", "study"}
    return sorted(
        ({str(key) for key in cfg} | {"experiment", "launcher", *cfg.get("choices", ())}) - own
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What was probably meant."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _has(settings: Sequence[str]) -> str:
    return f" It has: {', '.join(settings) or 'none'}."


def options_first(arguments: Sequence[str]) -> list[str]:
    """A command line with its options first, as Hydra wants it, wherever the user has put them.

    Raises:
        InputError: an option that Hydra does not know, as `--pool gigp`, or two of which each asks
            for another thing.
    """
    known, others = get_args_parser().parse_known_args(list(arguments))
    unknown = [argument for argument in others if argument.startswith("-")]
    if unknown:
        raise InputError(
            f"{unknown[0]} is no option; settings are written KEY=VALUE, without dashes, as in "
            "pool=gigp."
        )
    if (
        len(asked := [name for name in ("run", "multirun", "cfg", "info") if getattr(known, name)])
        > 1
    ):
        raise InputError(
            f"--{asked[0]} and --{asked[1]} ask for different things; give one of them."
        )
    overrides = [*known.overrides, *others]
    return [*(argument for argument in arguments if argument not in overrides), *overrides]


def format_hydra_error(error: ConfigCompositionException | OverrideParseException) -> str:
    """What Hydra finds wrong with a command line, with the value, what is allowed, and what was
    probably meant.
    """
    cause = error.__cause__
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} is not of the form KEY=VALUE; put values with spaces or signs "
            "into quotes."
        )
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        choices = ", ".join(error.options)
        return (
            f"{group}={name} is unknown.{did_you_mean(name, error.options)} Choose from {choices}."
        )
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
        section, _, name = str(cause.full_key).rpartition(".")
        known = (
            sorted({*map(str, cause.parent_node)} - OF_HYDRA)
            if section
            else settings_of(cause.parent_node)
        )
        where = f"{section} has" if section else "There are"
        meant = did_you_mean(name, known)
        return f"{cause.full_key} is no setting.{meant} {where}: {', '.join(known)}."
    return " ".join(str(error).split())
