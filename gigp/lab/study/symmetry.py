"""How far the predictions of a trained model move when its test clouds or digits are turned."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gigp.groups import SO2, SO3
from gigp.lab.images.clouds import turn_images
from gigp.lab.training.load import load_trained
from gigp.pointcloud import PointCloud

Row = dict[str, Any]


@torch.no_grad()
def measure_invariance(
    folder: Path, turns: int, clouds: int, step: int
) -> tuple[list[Row], list[Row]]:
    """Rows for the table of invariance and for that of errors by angle; the latter for digits only.

    Args:
        folder: folder of a run with its checkpoints.
        turns: random motions of every cloud or digit.
        clouds: number of clouds of the test set.
        step: between angles, in degrees.
    """
    cfg, data, task = load_trained(folder)
    names = {
        "run": f"{folder.parent.name}/{folder.name}",
        "data set": data.description["dataset"],
        "group": str(task.model.backbone.group),
        "pool": cfg.choices.pool,
        "augmented": bool(data.augment),
    }
    indices = data.indices["test"][:clouds]
    if data.grid is None:
        shift = data.description["dataset"] == "qm9" and not cfg.recenter
        return [names | row for row in of_clouds(data, task, indices, turns, shift)], []
    rows, by_angle = of_digits(data, task, indices, turns, step)
    source = {"source": data.description["source"]}
    return [names | row for row in rows], [names | source | row for row in by_angle]


def of_clouds(data: Any, task: Any, indices: Tensor, turns: int, shift: bool) -> list[Row]:
    """One row for each target, in its unit."""
    group, generator = (SO3() if data.dim == 3 else SO2()), torch.Generator().manual_seed(0)
    still, moved, truth = [], [], []
    for part in indices.split(data.eval_batch_size):
        cloud, target = data.prepare_batch(data.get_batch(part), augment=False)
        still.append(task(cloud))
        truth.append(target)
        moved.append(
            torch.stack([task(move(cloud, group, shift, generator)) for _ in range(turns)])
        )
    # (B, T), (turns, B, T), (B, T)
    at_rest, in_motion, targets = torch.cat(still), torch.cat(moved, 1), torch.cat(truth)
    change = (in_motion - at_rest).abs().mean((0, 1)) / at_rest.std(0)
    motion = f"random turn{' and shift' if shift else ''}"
    return [
        {
            "motion": motion,
            "target": target.name,
            "unit": target.unit,
            "error": float((at_rest - targets).abs().mean(0)[t]) * target.factor,
            "error_moved": float((in_motion - targets).abs().mean((0, 1))[t]) * target.factor,
            "relative_change": float(change[t]),
        }
        for t, target in enumerate(data.targets)
    ]


def move(
    cloud: PointCloud, group: SO2 | SO3, shift: bool, generator: torch.Generator
) -> PointCloud:
    """Turn every cloud by an element of its own, and shift it by 1 Angstrom or so."""
    turn = group.random(len(cloud.pos), generator=generator, dtype=cloud.pos.dtype)
    pos = cloud.pos @ turn.mT
    if shift:
        pos = pos + torch.randn(len(pos), 1, pos.shape[-1], generator=generator, dtype=pos.dtype)
    return cloud._replace(pos=pos)


def of_digits(
    data: Any, task: Any, indices: Tensor, turns: int, step: int
) -> tuple[list[Row], list[Row]]:
    """Turns by 90 degrees, exact, and by random angles, resampled; and the error for every
    angle.
    """
    generator, labels = torch.Generator().manual_seed(0), data.labels[indices]

    def classes(turn: Callable[[Tensor], Tensor]) -> Tensor:
        batches = []
        for part in indices.split(data.eval_batch_size):
            images, target = data.get_batch(part)
            cloud, _ = data.prepare_batch((turn(images.float()), target), augment=False)
            batches.append(task(cloud).argmax(1))
        return torch.cat(batches)

    def error(predicted: Tensor) -> float:
        return 100 * float((predicted != labels).float().mean())

    still = classes(lambda images: images)
    quarters = [classes(partial(torch.rot90, k=k, dims=(1, 2))) for k in (1, 2, 3)]
    random = [
        classes(
            lambda images: turn_images(images, 360 * torch.rand(len(images), generator=generator))
        )
        for _ in range(turns)
    ]
    rows = [
        {
            "motion": motion,
            "target": "error",
            "unit": "%",
            "error": error(still),
            "error_moved": sum(map(error, moved)) / len(moved),
            "relative_change": sum(100 * float((m != still).float().mean()) for m in moved)
            / len(moved),
        }
        for motion, moved in (("turn by 90°, exact", quarters), ("random turn, resampled", random))
    ]
    angles = {angle: torch.tensor(float(angle)) for angle in range(0, 360, step)}
    by_angle = [
        {"angle": angle, "error": error(classes(partial(turn_images, degrees=a)))}
        for angle, a in angles.items()
    ]
    return rows, by_angle
