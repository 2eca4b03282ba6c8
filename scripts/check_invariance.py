"""How invariant is a trained model? `python scripts/check_invariance.py results/runs/NAME/seed0
[...]`

Clouds are turned by random elements of SO(d) about the origin, and moved by a random shift where
the data set is not fixed to an origin; digits are turned by 90 degrees, exactly, and by other
angles, resampled. A table for each run is printed; with --out its rows are also written to
invariance.csv, and errors of digits by angle to rotation_angle.csv.
"""

import argparse

import pandas as pd

from gigp.errors import InputError
from gigp.lab.commands import refuse
from gigp.lab.files import to_path, write_atomically
from gigp.lab.study.symmetry import measure_invariance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=to_path, help="run folders that hold a checkpoint")
    parser.add_argument("--turns", type=int, default=4, help="random motions of every test cloud")
    parser.add_argument("--clouds", type=int, default=1000, help="test clouds")
    parser.add_argument(
        "--step", type=int, default=15, help="degrees between the angles that digits are turned by"
    )
    parser.add_argument("--out", type=to_path, help="folder of the CSV files")
    arguments = parser.parse_args()
    tables: dict[str, list[dict]] = {"invariance": [], "rotation_angle": []}
    for run in arguments.runs:
        try:
            rows, by_angle = measure_invariance(
                run, arguments.turns, arguments.clouds, arguments.step
            )
        except InputError as error:
            refuse(error)
        shown = pd.DataFrame(rows).drop(columns="data set")
        print(shown.to_string(index=False, float_format="%.4g"), flush=True)
        tables["invariance"] += rows
        tables["rotation_angle"] += by_angle
    for name, rows in tables.items():
        if arguments.out and rows:
            arguments.out.mkdir(parents=True, exist_ok=True)
            text = pd.DataFrame(rows).to_csv(index=False, float_format="%.4g")
            write_atomically(arguments.out / f"{name}.csv", text)
            print(f"wrote {arguments.out / f'{name}.csv'}")


if __name__ == "__main__":
    main()
