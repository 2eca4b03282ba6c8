"""Draw the figures of README.md and results/ from real molecules and run records: `python
scripts/make_figures.py`.
"""

import argparse
from pathlib import Path

import pandas as pd

from gigp.datasets import QM9
from gigp.pointcloud import center_points
from gigp.study.experiments import read_experiments
from gigp.study.figures.learned import draw_learned, draw_learned_on, read_learned
from gigp.study.figures.molecule import draw_idea
from gigp.study.figures.records import draw_angles, draw_cost, draw_curves, draw_effects
from gigp.study.report import families, family
from gigp.study.runs import NO_EXPERIMENT, read_records

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", default=str(ROOT / "data"), help="folder of the caches of QM9 and of the digits"
    )
    parser.add_argument(
        "--molecule", type=int, default=100_000, help="index of the molecule in QM9"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results", help="folder with runs and studies"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "figures")
    arguments = parser.parse_args()
    data, out, runs = arguments.data, arguments.out, arguments.results / "runs"
    qm9 = QM9(root=data, cache=data)
    qm9.setup()
    mask = qm9.mask[arguments.molecule]
    pos = center_points(qm9.positions[arguments.molecule][mask][None], mask[mask][None])[0].numpy()
    draw_idea(pos, qm9.charges[arguments.molecule][mask].numpy(), out / "idea.svg")
    drawn, experiments = {"idea"}, read_experiments()
    records = read_records(runs, experiments)
    for table, members in families(records, experiments).items():
        if NO_EXPERIMENT in members:
            continue
        mine = family(records, members, experiments)
        drawn |= (
            {f"curves_{table}"} if draw_curves(mine, runs, out / f"curves_{table}.svg") else set()
        )
        drawn |= {f"effects_{table}"} if draw_effects(mine, out / f"effects_{table}.svg") else set()
        drawn |= {f"cost_{table}"} if draw_cost(mine, out / f"cost_{table}.svg") else set()
    learned = read_learned(runs, experiments)
    drawn |= {"learned_orbits"} if draw_learned(learned, out / "learned_orbits.svg") else set()
    on = out / "learned_on.svg"
    drawn |= {"learned_on"} if draw_learned_on(learned, on, data, arguments.molecule) else set()
    angles = arguments.results / "studies" / "rotation_angle.csv"
    if angles.exists():
        draw_angles(pd.read_csv(angles), out / "rotation_angle.svg")
        drawn.add("rotation_angle")
    print(f"drew {', '.join(sorted(drawn))} in {out}")


if __name__ == "__main__":
    main()
