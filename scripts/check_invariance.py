"""How invariant is a trained model? `python scripts/check_invariance.py results/runs/NAME/seed0 [...]`

Every test cloud is turned by random elements of SO(d) about the origin, and moved by a random shift where the data set
is not fixed to a grid. Printed for each run, and with --out written as CSV: the error as it is in the record, the error
on the moved clouds, and how far predictions move, relative to the spread of the predictions.
"""

import argparse
import csv
import io
from pathlib import Path

import torch

from gigp.groups import SO2, SO3
from gigp.pointcloud import PointCloud
from gigp.records import write_atomically
from gigp.run import load_trained


@torch.no_grad()
def invariance(folder: Path, turns: int, clouds: int) -> dict[str, float | str | int]:
    """One row for a run; see the head of this file."""
    cfg, data, task = load_trained(folder)
    if data.grid is not None:
        raise SystemExit(f"{folder}: images are turned pixel by pixel, not point by point; give runs of qm9 or orbits.")
    group, generator = (SO3() if data.dim == 3 else SO2()), torch.Generator().manual_seed(0)
    shift = cfg.dataset._target_.endswith("QM9") and not cfg.recenter
    chosen = data.indices["test"][:clouds].split(data.eval_batch_size)
    still, moved, truth = [], [], []
    for indices in chosen:
        cloud, target = data.finish(data.fetch(indices), augment=False)
        still.append(task(cloud))
        truth.append(target)
        moved.append(torch.stack([task(move(cloud, group, shift, generator)) for _ in range(turns)]))
    still, moved, truth = torch.cat(still), torch.cat(moved, 1), torch.cat(truth)
    error = {"error": (still - truth).abs().mean(), "error_moved": (moved - truth).abs().mean()}
    change = (moved - still).abs().mean() / still.std(0).mean()
    group_name = str(task.model.backbone.group)
    names = {"run": f"{folder.parent.name}/{folder.name}", "group": group_name, "pool": cfg.choices.pool}
    return names | {key: float(value) for key, value in (error | {"relative_change": change}).items()}


def move(cloud: PointCloud, group: SO2 | SO3, shift: bool, generator: torch.Generator) -> PointCloud:
    """Turn every cloud by an element of its own, and shift it by 1 Angstrom or so."""
    turn = group.random(len(cloud.pos), generator=generator, dtype=cloud.pos.dtype)
    pos = cloud.pos @ turn.mT
    if shift:
        pos = pos + torch.randn(len(pos), 1, pos.shape[-1], generator=generator, dtype=pos.dtype)
    return cloud._replace(pos=pos)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders that hold a checkpoint")
    parser.add_argument("--turns", type=int, default=4, help="random motions of every test cloud")
    parser.add_argument("--clouds", type=int, default=1000, help="test clouds")
    parser.add_argument("--out", type=Path, help="CSV file to write")
    arguments = parser.parse_args()
    rows = [invariance(run, arguments.turns, arguments.clouds) for run in arguments.runs]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    print(text.getvalue(), end="")
    if arguments.out:
        write_atomically(arguments.out, text.getvalue())


if __name__ == "__main__":
    main()
