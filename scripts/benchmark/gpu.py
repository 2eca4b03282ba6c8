"""What a user with one GPU runs first: `make gpu`, or `python -m scripts.benchmark.gpu`.

Runs the tests that need a GPU, measures rates, launches, memory and parity with the CPU, and says
how many hours each run at scale=paper takes. With --device cpu it does the same in small.
"""

import argparse
import re
import subprocess
import sys
from typing import Any

import torch

from gigp.errors import InputError
from gigp.lab.files import to_path
from gigp.lab.runs.provenance import collect_provenance
from gigp.lab.study.speed import gpu_notes, gpu_rows
from scripts.benchmark import reference
from scripts.benchmark.cases import ROOT
from scripts.benchmark.gpu_measure import measure_all
from scripts.benchmark.machine import processor
from scripts.benchmark.report import console, save, show_rows


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=5, help="no measurement begins later")
    parser.add_argument("--lieconv", metavar="PATH", help="checkout of github.com/mfinzi/LieConv")
    parser.add_argument("--out", type=to_path, help="default: results/benchmarks/<device>.json")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu runs everything in small")
    try:
        reference.check(arguments.lieconv, None)
    except InputError as error:
        parser.error(str(error))
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu-trial"
    folder = "results" if arguments.device == "cuda" else "outputs"  # git ignores outputs
    file = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json"
    arguments.out = arguments.out or ROOT / folder / "benchmarks" / file
    arguments.name = name if arguments.device == "cuda" else processor()
    return arguments


def run_tests() -> str:
    """The last line of the tests that need a GPU; all of it is printed where one fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/test_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else done.stderr.strip()


def show(record: dict[str, Any]) -> None:
    """Print the record as one table, with notes below it."""
    console.print(f"\n{record['device']}")
    if rows := gpu_rows(record):
        show_rows("Training steps, and hours at scale=paper", rows)
    for note in gpu_notes(record):
        console.print(note)


def main() -> None:
    arguments = parse_arguments()
    on_gpu = arguments.device == "cuda"
    record = collect_provenance() | {"device": arguments.name}
    record["tests"] = run_tests() if on_gpu else "not run"
    device = torch.device(arguments.device)
    for measured in measure_all(device, not on_gpu, arguments.minutes, arguments.lieconv):
        save(record | measured, arguments.out)  # as it grows
    show(record | measured)
    console.print(f"record: {arguments.out}")


if __name__ == "__main__":
    main()
