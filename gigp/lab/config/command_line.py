"""The command line of `train.py`: options in any order, and messages about mistakes."""

import re
from collections.abc import Iterator, Sequence
from typing import cast

from hydra._internal.utils import get_args_parser
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gigp.errors import InputError, closest, did_you_mean
from gigp.lab.config.compose import CONFIGS
from gigp.lab.config.instantiate import PARTS
from gigp.lab.config.validate import RESERVED_KEYS, setting_names

# options of Hydra that exclude each other; `info` needs no value
ACTIONS = ("run", "multirun", "cfg", "info")
SEVERAL_VALUES = re.compile(r"Ambiguous value for argument '([^=]+)=(.*)'$", re.MULTILINE)
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def options_first(arguments: Sequence[str]) -> list[str]:
    """A command line with its options first, as Hydra wants it, wherever the user has put them.

    Raises:
        InputError: an option that Hydra does not have, as `--pool gigp`; two options that exclude
            each other; or `null` in place of a choice.
    """
    arguments = list(_complete_info(arguments))
    known, others = get_args_parser().parse_known_args(arguments)
    unknown = [argument for argument in others if argument.startswith("-")]
    if unknown:
        raise InputError(
            f"{unknown[0]} is not an option; settings are written KEY=VALUE, without dashes, as in "
            "pool=gigp."
        )
    asked = [name for name in ACTIONS if getattr(known, name)]
    if len(asked) > 1:
        raise InputError(
            f"--{asked[0]} and --{asked[1]} ask for different things; give one of them."
        )
    overrides = [*known.overrides, *others]
    for override in overrides:
        _check_choice_is_given(override)
    return [*(argument for argument in arguments if argument not in overrides), *overrides]


def _complete_info(arguments: Sequence[str]) -> Iterator[str]:
    """Give `--info` its default value; argparse would take the next setting for its value."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        yield argument
        if argument in ("--info", "-i") and following not in INFO:
            yield "all"


def _check_choice_is_given(override: str) -> None:
    """Refuse `pool=null` and `~pool`, which Hydra answers with a traceback."""
    key, _, value = override.lstrip("+~").partition("=")
    folder = CONFIGS / key
    if not folder.is_dir() or "/" in key:
        return
    options = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    if override.startswith("~") or value == "null":
        without = " Leave it out for none." if key == "experiment" else ""
        raise InputError(f"{override}: {key} needs a choice out of {options}.{without}")


def format_hydra_error(error: ConfigCompositionException | OverrideParseException) -> str:
    """Hydra's error about a command line, with the value, what is allowed, and what was
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
        meant = did_you_mean(name, error.options)
        return f"{group}={name} is unknown.{meant} Choose from {', '.join(error.options)}."
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
        return _unknown_setting(str(cause.full_key), cause.parent_node)
    if several := SEVERAL_VALUES.search(str(error)):
        key, value = several.groups()
        return (
            f"{key}={value} has several values: add -m to run each of them; a list for one run is "
            f"written {key}=[{value}]."
        )
    return " ".join(str(error).split())


def _unknown_setting(key: str, parent: DictConfig) -> str:
    section, _, name = key.rpartition(".")
    known = sorted({*map(str, parent)} - RESERVED_KEYS) if section else setting_names(parent)
    has = f"{section} has: {', '.join(known)}" if known else f"This {section} has no settings"
    if not section:
        has = f"There are: {', '.join(known)}"
    places = _places_of_settings(cast(DictConfig, parent._get_root()))
    meant = "" if name in places else did_you_mean(name, known)
    if not meant and (similar := closest(name, places)):
        meant = f" Did you mean {places[similar]}?"
    return f"{key} is not a setting.{meant} {has}."


def _places_of_settings(cfg: DictConfig) -> dict[str, str]:
    """Full names of settings by their last part: `trainer.max_epochs` for `max_epochs`. Of several
    settings with the same last part, the shortest name counts.
    """
    sections = [name for name in (*PARTS, "trainer") if isinstance(cfg.get(name), DictConfig)]
    names = [f"{name}.{key}" for name in sections for key in {*map(str, cfg[name])} - RESERVED_KEYS]
    names += setting_names(cfg)
    return {name.rpartition(".")[2]: name for name in sorted(names, key=len, reverse=True)}
