"""How invariant is a trained model? `python scripts/check_invariance.py results/runs/NAME/seed0
[...]`

Clouds are turned by random elements of SO(d) about the origin, and moved by a random shift where
the data set is not fixed to an origin; digits are turned by 90 degrees, exactly, and by other
angles, resampled. Rows for each run and target go to results/studies/invariance.csv, errors of
digits by angle to rotation_angle.csv; rows of other runs stay.
"""

import argparse
from pathlib import Path

import pandas as pd

from gigp.files import write_atomically
from gigp.study.symmetry import measure

ROOT = Path(__file__).resolve().parents[1]


def keep(rows: list[dict], path: Path) -> None:
    """Put rows into a CSV file in place of older ones of the same runs."""
    new = pd.DataFrame(rows)
    if path.exists():
        old = pd.read_csv(path)
        new = pd.concat([old[~old["run"].isin(new["run"])], new])
    path.parent.mkdir(parents=True, exist_ok=True)
    new = new.sort_values("run", kind="stable")
    write_atomically(path, new.to_csv(index=False, float_format="%.4g"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders that hold a checkpoint")
    parser.add_argument("--turns", type=int, default=4, help="random motions of every test cloud")
    parser.add_argument("--clouds", type=int, default=1000, help="test clouds")
    parser.add_argument(
        "--step", type=int, default=15, help="degrees between the angles that digits are turned by"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "studies", help="folder of the CSV files"
    )
    arguments = parser.parse_args()
    for run in arguments.runs:
        rows, by_angle = measure(run, arguments.turns, arguments.clouds, arguments.step)
        print(
            pd.DataFrame(rows).drop(columns="data set").to_string(index=False, float_format="%.4g"),
            flush=True,
        )
        keep(rows, arguments.out / "invariance.csv")
        if by_angle:
            keep(by_angle, arguments.out / "rotation_angle.csv")


if __name__ == "__main__":
    main()
