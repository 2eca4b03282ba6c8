"""Targets of molecules of one's own, by the names of their properties."""

from collections.abc import Mapping, Sequence
from typing import Literal

from gigp.errors import InputError
from gigp.lab.data.targets import Target

OF_ATOMS = ("force", "forces", "stress", "virial", "virials", "gradient", "gradients")


def make_targets(
    names: str | Sequence[str], unit: str | Mapping[str, str], extensive: bool | Mapping[str, bool]
) -> tuple[Target, ...]:
    """Targets by name, in the unit of their file.

    Raises:
        InputError: a name twice, or a unit or an answer for none of them.
    """
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if not names or len(set(names)) < len(names) or "loss" in names:
        raise InputError(
            f"target={names}: name one property or several different ones, as target=[energy,gap]; "
            "none may be called loss."
        )
    if forces := [name for name in names if name.lower() in OF_ATOMS]:
        raise InputError(
            f"target={forces[0]}: forces and stresses are not trained on, nor are periodic cells; "
            "docs/examples.md has the layer in a network with forces."
        )
    for setting, value in (("unit", unit), ("extensive", extensive)):
        if isinstance(value, Mapping) and (unknown := sorted(set(value) - set(names))):
            raise InputError(
                f"dataset.{setting} names {', '.join(unknown)}; targets are {', '.join(names)}."
            )
    targets = []
    for name in names:
        its_unit = unit.get(name, "") if isinstance(unit, Mapping) else unit
        grows = extensive.get(name, False) if isinstance(extensive, Mapping) else extensive
        kind: Literal["intensive", "extensive"] = "extensive" if grows else "intensive"
        targets.append(Target(name, name, its_unit, 1.0, its_unit, 1.0, kind))
    return tuple(targets)
