"""From a node of the configuration to the object it describes."""

from collections.abc import Iterator
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from gigp.errors import InputError

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
