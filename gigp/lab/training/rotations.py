"""Test predictions averaged over rotations: how much of an error is the orientation of a molecule,
for networks that are not exactly invariant.
"""

from itertools import permutations, product

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from gigp.groups import SO3
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.runs.summary import Averaged
from gigp.lab.training.module import LitModule


def cube_rotations() -> Tensor:
    """The 24 rotations that map a cube to itself, the identity first, (24, 3, 3)."""
    eye = torch.eye(3, dtype=torch.float64)
    signs = [torch.tensor(s, dtype=torch.float64) for s in product((1.0, -1.0), repeat=3)]
    every = [sign[:, None] * eye[list(p)] for p in permutations(range(3)) for sign in signs]
    return torch.stack([turn for turn in every if torch.linalg.det(turn) > 0])


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
    module.eval()
    generator, metric = torch.Generator().manual_seed(0), module.make_metrics().to(module.device)
    cube, spreads = cube_rotations()[:rotations], []
    for indices in data.indices["test"].split(data.eval_batch_size):
        own = SO3().random(len(indices), generator=generator, dtype=torch.float64)  # (B, 3, 3)
        outputs = []
        for turn in cube:
            cloud, target = data.turned_batch(indices, turn @ own)
            outputs.append(module(move_data_to_device(cloud, module.device)))
        every = torch.stack(outputs)  # (rotations, B, T)
        metric.update(every.mean(0), target.to(module.device))
        spreads.append(every.std(0))
    errors = module.metric_dict(metric.compute())
    spread = module.metric_dict(torch.cat(spreads).mean(0))
    return {name: (float(errors[name]), float(spread[name])) for name in errors}
