"""What the paper's released code takes for the orbit of an atom, checked on a checkout of it.

    git clone https://github.com/YonatanGideoni/gigp released; pip install h5py torchdiffeq
    python -m scripts.check_released_code released

The pool of the checkout gets random clouds lifted by the checkout's own groups. What follows is in
docs/released_code.md.
"""

import argparse
import warnings
from typing import Any

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.commands import refuse
from gigp.pools.released import ReleasedGIGP
from scripts.benchmark.reference import check, load_module

ATOMS, CHANNELS = 18, 12


def molecules(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random centered positions (B, N, 3) as wide as QM9's, features (B, N, c) and mask (B, N)."""
    generator = torch.Generator().manual_seed(0)
    pos = 1.6 * torch.randn(count, ATOMS, 3, generator=generator)
    feat = torch.randn(count, ATOMS, CHANNELS, generator=generator)
    return pos - pos.mean(1, keepdim=True), feat, torch.ones(count, ATOMS).bool()


def released_pool(path: str) -> Any:
    """The pool as documented for QM9: 50 orbits, balls of 0.5, their centers fed to phi."""
    return load_module(path, "architectures.baselines").LieConvGIGP(
        in_dim=CHANNELS,
        out_dim=CHANNELS,
        hidden_dim=2 * CHANNELS,
        orbs_agg_dist=0.5,
        agg="weighted_sum",
        use_orbits_data=True,
    )


def pool_of_ours(theirs: Any) -> ReleasedGIGP:
    """`pool=gigp_released` with the centers and weights of a released pool."""
    ours = ReleasedGIGP(CHANNELS, hidden_channels=2 * CHANNELS)
    ours.orbits.fit(float(theirs.orbs[0]), float(theirs.orbs[-1]))
    linears = [m for m in ours.phi.modules() if isinstance(m, torch.nn.Linear)]
    for mine, other in zip(linears, theirs.gigp_orb_mlp[::2], strict=True):
        mine.load_state_dict(other.state_dict())
    ours.weight.data = theirs.gigp_lin_layer.weight.data[0].clone()
    return ours


def turn() -> Tensor:
    """A rotation by 90 degrees about the x axis."""
    return torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@torch.no_grad()
def measure_released_pool(path: str) -> dict[str, float]:
    """The figures of docs/released_code.md, by name."""
    groups = load_module(path, "architectures.LieConv.lie_conv.lieGroups")
    pos, feat, mask = molecules(64)

    def lifted(pos: Tensor, feat: Tensor = feat) -> tuple[Tensor, Tensor, Tensor]:
        return groups.T(3).lift((pos, feat, mask), 1)

    coordinate = lifted(pos)[0][:, :, 1, 1]
    y, radius = pos[..., 1] - pos[:, 1:2, 1], pos.norm(dim=-1)
    pixels = 5 * torch.randn(64, ATOMS, 2, generator=torch.Generator().manual_seed(1))
    images = groups.SO2(alpha=0.2).lift((pixels, feat, mask), 1)[0]
    pool = released_pool(path)
    at_start = (pool(lifted(pos)) - feat.mean(1)).abs().mean() / feat.mean(1).std(0).mean()
    for parameter in pool.parameters():  # as if trained
        parameter += 0.1 * torch.randn_like(parameter)
    out = pool(lifted(pos))
    spread = out.std(0).mean()
    swapped = torch.tensor([1, 0, *range(2, ATOMS)])
    inside = (coordinate[..., None] - pool.orbs).abs() <= 0.5
    different = {
        "a shift of all atoms by 1": pool(lifted(pos + 1)),
        "a rotation by 90 degrees": pool(lifted(pos @ turn())),
        "an exchange of atoms 0 and 1": pool(lifted(pos[:, swapped], feat[:, swapped])),
        "pool=gigp_released in place of it": pool_of_ours(pool)(feat, pos, mask),
    }
    return {
        "T(3): largest | coordinate - (y_i - y_1) |": float(
            torch.minimum((coordinate - y).abs().max(), (coordinate + y).abs().max())
        ),
        "T(3): correlation of | coordinate | and radius": correlation(coordinate.abs(), radius),
        "SO(2): largest | coordinate - radius |": float(
            (images[:, :, 1, 1] - pixels.norm(dim=-1)).abs().max()
        ),
        "orbits that count an atom, mean": float(inside.sum(-1).float().mean()),
        "at its start: | output - mean pooling | / spread": float(at_start),
        **{
            f"{name}: | change of output | / spread": float((other - out).abs().mean() / spread)
            for name, other in different.items()
        },
    }


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", help="folder of the released code")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # on old syntax in the checkout
    try:
        check(None, arguments.checkout)
    except InputError as error:
        refuse(error)
    torch.manual_seed(0)
    for name, value in measure_released_pool(arguments.checkout).items():
        print(f"{name:70} {value:.2g}")


if __name__ == "__main__":
    main()
