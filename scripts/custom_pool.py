"""Compare a pool of your own with those of the study: `python scripts/custom_pool.py
package.module:MyPool [KEY=VALUE ...]`.

It takes any torch.nn.Module with forward(feat, pos, mask) or any aggregation of PyTorch Geometric,
trains it as the study trains every pool, and prints its row beside the committed ones, with
intervals of the paired differences. docs/custom_pool.md explains it. The module that you name is
executed.
"""

import argparse
import os
import sys
from pathlib import Path

import yaml

from gigp.errors import InputError
from gigp.lab.commands import refuse, tell
from gigp.lab.files import to_path
from gigp.lab.study.custom_pool import PROTOCOLS, CustomRow, compare, train
from gigp.lab.study.custom_pool_checks import find_warnings
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.figures.evidence import draw_errors, draw_forest

ROOT = Path(__file__).resolve().parents[1]


def parse_arguments(pairs: list[str]) -> dict[str, object]:
    """KEY=VALUE as arguments of a class; values are read as YAML."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"{pair!r} is not KEY=VALUE, an argument of the pool's class.")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"the value of {pair!r} is not YAML; put it in quotes.") from None
    return settings


def parse_seeds(text: str) -> list[int]:
    """Seeds separated by commas."""
    return [int(seed) for seed in text.split(",")]


def study(own: CustomRow, protocol: str, arguments: argparse.Namespace) -> None:
    """Train under one protocol; print the tables and draw the pictures."""
    experiment = read_experiments()[PROTOCOLS[protocol]]
    runs, data = arguments.results_dir, arguments.data
    seeds, further = arguments.seeds, arguments.set
    records = train(own, experiment, seeds, runs, data, arguments.backbone, further)
    comparison = compare(own, experiment, records, runs, arguments.root, data)
    print(f"\nProtocol {protocol}\n\n{comparison.results.markdown()}")
    path = arguments.out / f"custom_pool_{protocol}.svg"
    draw_errors(comparison.results.numbers, path, comparison.label)
    written = [path]
    if comparison.paired is not None:
        print(comparison.paired.markdown())
        written.append(arguments.out / f"custom_pool_{protocol}_differences.svg")
        draw_forest(
            {experiment.name: comparison.paired.numbers},
            written[-1],
            comparison.label,
            against=None,
        )
    for note in comparison.notes:
        print(f"Note: {note}")
    print("".join(f"wrote {path}\n" for path in written), end="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", help="package.module:Class")
    parser.add_argument("arguments", nargs="*", metavar="KEY=VALUE", help="arguments of the class")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="one alone; both if not given")
    parser.add_argument("--seeds", type=parse_seeds, default=[0, 1, 2], help="as 0,1,2")
    parser.add_argument(
        "--backbone", type=to_path, help="finished run or model folder, in place of the study's"
    )
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for train.py")
    parser.add_argument("--results-dir", type=to_path, default=Path("results/runs"))
    parser.add_argument("--root", type=to_path, default=ROOT, help="folder with results/records")
    parser.add_argument("--data", type=to_path, default=Path("data"), help="folder of QM9")
    parser.add_argument(
        "--out", type=to_path, default=Path("outputs"), help="folder of the pictures"
    )
    arguments = parser.parse_intermixed_args()
    sys.path.insert(0, os.getcwd())  # where the user's module most likely is
    failed = False
    try:
        own = CustomRow(arguments.pool, parse_arguments(arguments.arguments))
        for warning in find_warnings(own.name, own.arguments):
            tell(f"Warning: {warning}")
    except InputError as error:
        refuse(error)
    for protocol in [arguments.protocol] if arguments.protocol else PROTOCOLS:
        try:
            study(own, protocol, arguments)
        except InputError as error:
            tell(f"Error: protocol {protocol}: {error}")
            failed = True
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
