"""Predictions averaged over rotations: how much of an error is the orientation of a molecule, for
networks that are not exactly invariant.
"""

from collections.abc import Sequence
from itertools import permutations, product

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.groups import SO3
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.progress import track
from gigp.lab.runs.record import Averaged
from gigp.lab.training.module import LitModule

MOST_ROTATIONS = 24  # those of a cube


def check_rotations(rotations: int) -> None:
    """Refuse numbers of orientations over which nothing can be averaged.

    Raises:
        InputError: it is not 0, nor 2 to 24.
    """
    if not (rotations == 0 or 2 <= rotations <= MOST_ROTATIONS):
        raise InputError(
            f"rotations={rotations}: it must be 0, or 2 to {MOST_ROTATIONS}, the rotations of a "
            "cube."
        )


def cube_rotations() -> Tensor:
    """The 24 rotations that map a cube to itself, the identity first, (24, 3, 3)."""
    eye = torch.eye(3, dtype=torch.float64)
    signs = [torch.tensor(s, dtype=torch.float64) for s in product((1.0, -1.0), repeat=3)]
    every = [sign[:, None] * eye[list(p)] for p in permutations(range(3)) for sign in signs]
    return torch.stack([turn for turn in every if torch.linalg.det(turn) > 0])


def mean_and_spread(predictions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean of several predictions of the same, and their standard deviation (n - 1); 0 of one.

    Args:
        predictions: by orientation or model, (B, T) each.
    """
    every = torch.stack([*predictions])
    return every.mean(0), every.std(0, correction=min(1, len(every) - 1))


@torch.no_grad()
def average_rotations(data: PointCloudDataModule, module: LitModule, rotations: int) -> Averaged:
    """Test every cloud in several orientations: those of the cube, turned by one random rotation
    for each cloud, the same for every model.

    Args:
        data: data set in space, set up.
        module: trained model.
        rotations: number of orientations, 2 to 24.

    Returns:
        For every metric the error of the predictions averaged over the orientations, and the mean
        over the clouds of their standard deviation over the orientations, in the units of tables.
    """
    from lightning.fabric.utilities import move_data_to_device

    module.eval()
    generator, metric = torch.Generator().manual_seed(0), module.make_metrics().to(module.device)
    cube, spreads = cube_rotations()[:rotations], []
    batches = data.indices["test"].split(data.eval_batch_size)
    for indices in track(batches, "Testing over rotations", len(batches)):
        own = SO3().random(len(indices), generator=generator, dtype=torch.float64)  # (B, 3, 3)
        outputs = []
        for turn in cube:
            cloud, target = data.turned_batch(indices, turn @ own)
            outputs.append(module(move_data_to_device(cloud, module.device)))
        mean, spread = mean_and_spread(outputs)  # (B, T)
        metric.update(mean, target.to(module.device))
        spreads.append(spread)
    errors = module.metric_dict(metric.compute())
    widths = module.metric_dict(torch.cat(spreads).mean(0))
    return {name: (float(errors[name]), float(widths[name])) for name in errors}
