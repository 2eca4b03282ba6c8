"""What a pool must not depend on: the frame, the order of atoms, padding."""

from collections.abc import Mapping
from typing import Any

import torch

from gigp.groups import SO3
from gigp.pools.custom import CHANNELS, CustomPool, register

TOLERANCE = 1e-3  # relative change of an output in single precision


@torch.no_grad()
def find_warnings(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """What changes the output of a pool and should not, a sentence each.

    Measured on random clouds with random parameters: many pools start where they ignore
    positions.

    Args:
        name: `package.module:Class`; its module is executed.
        arguments: arguments of its class, besides the number of channels.

    Raises:
        InputError: it cannot be built, see `CustomPool`.
    """
    register(name)
    given = [arguments[key] for key in CHANNELS if key in arguments]
    channels = given[0] if given else 64
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pool = CustomPool(channels, name, dict(arguments)).eval()
        for parameter in pool.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        feat, pos = torch.randn(4, 6, channels), torch.randn(4, 6, 3)
        mask = torch.arange(6) < torch.tensor([[6], [5], [4], [3]])
        turn, order = SO3().random(1, dtype=pos.dtype)[0], torch.arange(5, -1, -1)
    masses = {"mass": 1 + torch.arange(24.0).view(4, 6)} if pool.needs_mass else {}
    reordered = {key: value[:, order] for key, value in masses.items()}
    padded = torch.where(mask[..., None], feat, 7.0)
    expected = pool(feat, pos, mask, **masses)
    cases = {
        "a molecule is rotated, so its predictions depend on orientation": pool(
            feat, pos @ turn.mT, mask, **masses
        ),
        "a molecule is shifted, so its predictions depend on the origin": pool(
            feat, pos + 1, mask, **masses
        ),
        "atoms are put in another order": pool(
            feat[:, order], pos[:, order], mask[:, order], **reordered
        ),
        "padding (mask False) holds other features; leave it out": pool(
            padded, pos, mask, **masses
        ),
    }
    scale = float(expected.abs().max().clamp(min=1e-12))
    changes = {what: float((out - expected).abs().max()) / scale for what, out in cases.items()}
    return [
        f"the output of {name} changes by {100 * change:.2g}% when {what}."
        for what, change in changes.items()
        if not change <= TOLERANCE
    ]
