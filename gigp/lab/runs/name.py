"""The name of a run's folder, which follows from its configuration."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf

from gigp.errors import InputError
from gigp.lab.config.compose import CONFIGS, compose_config
from gigp.lab.config.identity import LOCATION_KEYS, NOT_IDENTITY
from gigp.lab.hashing import hash_text

LONGEST = 100  # characters in a folder's name; file systems allow 255 bytes
DIGEST = 8  # characters of the hash that replaces the end of a name that is too long
ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# settings that have a fixed place in the name, or none
EXCLUDED_FROM_NAME = (
    "dataset",
    "group",
    "pool",
    "scale",
    "target",
    "seed",
    "logger",
    "experiment",
    *LOCATION_KEYS,
    *NOT_IDENTITY,
)


def run_name(config: dict[str, Any], overrides: Sequence[str]) -> str:
    """Name of a run: its choices, then every other override that changes something, in alphabetical
    order.

    How a value was written makes no difference (`True`, `true`), nor does a default that is
    written out.

    Args:
        config: resolved configuration; `name`, `choices` and `target` are enough.
        overrides: further words of the command line, as KEY=VALUE.

    Raises:
        InputError: the user has given a name that is not allowed.
    """
    if config["name"]:
        return _checked(str(config["name"]))
    choices, target = config["choices"], config["target"]
    parts = [choices["dataset"], choices["group"], choices["pool"], choices["scale"]]
    if target and choices["dataset"] != "rotmnist":  # which has but one
        parts.insert(1, target if isinstance(target, str) else "-".join(target))
    changes = _changes(choices, [o for o in overrides if _sets_apart(o)])
    parts += [f"{key}={_text(value)}" for key, value in sorted(changes.items())]
    if choices["experiment"]:
        parts.append(f"experiment={choices['experiment']}")
    return folder_name("_".join(str(part) for part in parts if part))


def group_name(config: dict[str, Any], overrides: Sequence[str]) -> str:
    """The part of a name that runs share which differ in pool and seed alone."""
    choices = config["choices"] | {"pool": None}
    others = [override for override in overrides if not override.lstrip("+~").startswith("pool.")]
    return run_name(config | {"choices": choices}, others)


def further_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides that set a run apart beyond its choices, target and seed, in alphabetical
    order.
    """
    split = [override.lstrip("+~").partition("=") for override in filter(_sets_apart, overrides)]
    return sorted(f"{key}={_unquoted(value)}" for key, _, value in split)


def folder_name(text: str) -> str:
    """A name of at most 100 letters, digits, `.`, `_` and `-`; where that loses something, a hash
    stands for it.
    """
    plain = text.replace("=", "-")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    if name == plain and len(name) <= LONGEST:
        return name
    digest = hash_text(text)[:DIGEST]
    return f"{name[: LONGEST - DIGEST - 1].rstrip('-._')}-{digest}"


def _checked(name: str) -> str:
    """The name that a user has given.

    Raises:
        InputError: it is too long or holds other characters.
    """
    if not ALLOWED.fullmatch(name) or len(name) > LONGEST:
        raise InputError(
            f"name={name[:200]!r}: a name holds letters, digits, '.', '_' and '-' only, begins "
            f"with a letter or digit, and has at most {LONGEST} characters."
        )
    return name


def _sets_apart(override: str) -> bool:
    """Whether an override is part of a run's name beyond the choices."""
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return key not in EXCLUDED_FROM_NAME and not key.startswith(("logger.", "hydra"))


def _changes(choices: dict[str, str | None], overrides: Sequence[str]) -> dict[str, Any]:
    """The values of overrides that differ from those of the choices alone."""
    if not overrides:
        return {}
    parser = OverridesParser.create()
    parsed = [parser.parse_override(override) for override in overrides]
    chosen = tuple(f"{group}={name}" for group, name in choices.items() if name)
    _, implied = _defaults(chosen)
    changes = {
        override.key_or_group: override.value()
        for override in parsed
        if _is_choice(override) and override.value() != implied.get(override.key_or_group)
    }
    defaults, _ = _defaults(chosen + tuple(f"{key}={name}" for key, name in changes.items()))
    for override in parsed:
        if _is_choice(override):
            continue
        key, value = override.key_or_group, override.value()
        default = OmegaConf.select(defaults, key, throw_on_missing=False)
        if OmegaConf.is_config(default):
            default = OmegaConf.to_container(default, resolve=True)
        # repr distinguishes 1 and true, which are different runs
        if repr(_number(value)) != repr(_number(default)):
            changes[key] = value
    return changes


def _is_choice(override: Override) -> bool:
    """Whether an override chooses one of the files of a folder of configs."""
    return (CONFIGS / override.key_or_group).is_dir() and isinstance(override.value(), str)


@cache
def _defaults(chosen: tuple[str, ...]) -> tuple[DictConfig, dict[str, str]]:
    """The configuration that choices give, and the choices that they imply."""
    before = Singleton.get_state()  # of the configuration that Hydra is composing
    try:
        cfg = compose_config(chosen)
        implied: Any = OmegaConf.to_container(HydraConfig.get().runtime.choices)
        cfg.choices = OmegaConf.to_container(cfg.choices, resolve=True)
    finally:
        Singleton.set_state(before)
    return cfg, implied


def _number(value: Any) -> Any:
    """Numbers as one type, so that 1 and 1.0 are the same."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else value


def _text(value: Any) -> str:
    """A value as part of a name, independent of how it was written."""
    if isinstance(value, dict):
        return ",".join(f"{key}={_text(child)}" for key, child in sorted(value.items()))
    if isinstance(value, list):
        return ",".join(map(_text, value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _unquoted(value: str) -> str:
    """A value of the command line without the quotes around it."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
