"""What the config.yaml of a run or a model may hold; it may come from anyone."""

import json
from inspect import Parameter, signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import nn

from gigp.errors import InputError
from gigp.groups import Group
from gigp.lab.config.instantiate import MARKS
from gigp.lab.lightning_bases import LightningDataModule

# classes that the sections of a configuration become
KINDS = {"dataset": LightningDataModule, "group": Group, "backbone": nn.Module, "pool": nn.Module}
LOOSE = ConfigDict(arbitrary_types_allowed=True)

Section = dict[str, Any]


class Settings(BaseModel):
    """The settings that a model is built by; others are about how and where it was trained."""

    model_config = ConfigDict(strict=True)
    dataset: Section
    group: Section
    backbone: Section
    pool: Section
    pool_on: Literal["outputs", "features"]
    pool_inputs: bool
    lr: Annotated[float, Field(gt=0, lt=1e6)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    choices: dict[str, str | None]


def check_settings_of_model(cfg: dict[str, Any]) -> None:
    """Refuse a configuration without the settings of a model, or with some of another kind.

    Raises:
        ValueError: naming the setting.
    """
    try:
        Settings.model_validate(cfg)
    except ValidationError as error:
        raise ValueError(_problem("", error)) from None


def check_sections(cfg: dict[str, Any], path: Path) -> None:
    """Refuse sections that become something else than their name says, and arguments that their
    classes do not take. Whether the classes are trusted has been checked.

    Raises:
        InputError: naming the setting.
    """
    for section, kind in KINDS.items():
        try:
            _check_node(cfg[section], section, kind)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is not the config.yaml of a run: {error}.") from None


def _check_node(node: Section, name: str, kind: type = object) -> None:
    """Check a class and its arguments, and those of the classes within."""
    if "_target_" not in node:
        raise ValueError(f"{name} has no _target_")
    cls = resolve_name(node["_target_"])
    if not issubclass(cls, kind):
        raise ValueError(f"{name} is {cls.__name__}, which is no {kind.__name__}")
    parameters = signature(cls).parameters
    types: dict[str, Any] = {}
    for base in reversed(cls.__mro__):  # which may take further arguments
        if "__init__" in vars(base) and base.__module__.startswith("gigp."):
            types |= get_type_hints(base.__init__)
    takes_any = any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())
    for key, value in node.items():
        where = f"{name}.{str(key)[:40]}"
        if isinstance(value, dict) and "_target_" in value:
            _check_node(value, where)
        elif key not in (*MARKS, *parameters) and not takes_any:
            raise ValueError(f"{where} is not a setting of {cls.__name__}")
        elif key in types:
            try:
                adapter: TypeAdapter = TypeAdapter(types[key], config=LOOSE)
                adapter.validate_json(json.dumps(value, default=str), strict=True)
            except ValidationError as error:
                raise ValueError(_problem(where, error)) from None


def _problem(where: str, error: ValidationError) -> str:
    """The first problem: the setting, what is wrong, and its value."""
    first = error.errors(include_url=False)[0]
    name = where or ".".join(map(str, first["loc"]))
    given = "" if first["type"] == "missing" else f", not {first['input']!r:.60}"
    return f"{name}: {first['msg']}{given}"
