"""What makes two configurations those of one run."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gigp.lab.hashing import hash_text

# settings that may change when a run is resumed
NOT_IDENTITY = ("name", "results_dir", "overwrite", "report", "logger", "scale", "study")
# number of devices, launcher, folders of data, layout: a run may resume on another machine
LOCATION_KEYS = (
    "backbone.layout",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "launcher",
    "dataset.root",
    "dataset.cache",
)


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that may not change when a run is resumed.

    Args:
        config: resolved configuration.
    """
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    kept.setdefault("matmul_precision", "highest")  # runs from before the setting
    for section, _, name in (key.partition(".") for key in LOCATION_KEYS):
        if isinstance(kept.get(section), dict):
            kept[section] = {key: value for key, value in kept[section].items() if key != name}
    return kept


def identity_digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity."""
    return hash_text(json.dumps(identity, sort_keys=True))


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Lines `key: old -> new` for all leaves that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for k in old.keys() | new.keys():
            yield from differences(old.get(k), new.get(k), f"{key}.{k}" if key else str(k))
    elif old != new and key not in LOCATION_KEYS:
        yield f"{key}: {old!s:.80} there, {new!s:.80} now"
