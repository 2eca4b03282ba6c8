"""From a node of the configuration to the object it describes."""

from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from gigp.errors import InputError


def instantiate(node: DictConfig, **arguments: Any) -> Any:
    """`hydra.utils.instantiate`, but a user's mistake stays an `InputError` rather than hide in Hydra's own error."""
    try:
        return hydra.utils.instantiate(node, **arguments)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
