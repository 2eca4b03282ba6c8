"""Measure speed and memory: `python -m scripts.benchmark`, and of the reference code, too, with
--lieconv and --gigp.

Every model runs in a process of its own, on the same batches of real molecules and digits, with the
same number of threads; the processes take turns, and the median over the turns counts. The record
goes to outputs/benchmarks/, which git ignores, or to the file given by --out.
"""

import argparse
from functools import partial
from typing import Any

import torch

from gigp.backbones.lieconv.native import native_status
from gigp.errors import InputError
from gigp.lab.files import to_path
from gigp.lab.runs.provenance import collect_provenance
from gigp.nn.linear import cpu_supports_bf16
from scripts.benchmark import reference
from scripts.benchmark.cases import (
    AGGREGATIONS,
    BESIDE,
    BF16_CASES,
    CASES,
    MEASURED_AGGREGATIONS,
    MEASURED_POOLS,
    POOL,
    POOLS,
    ROOT,
    TITLES,
    load_inputs,
)
from scripts.benchmark.growth import mixed_sizes, pool_growth, training_overhead
from scripts.benchmark.machine import processor
from scripts.benchmark.models import (
    CLOCKS,
    make_aggregation,
    make_model,
    make_pool,
    make_pool_on_molecules,
)
from scripts.benchmark.report import console, save, show_case, show_rows
from scripts.benchmark.workers import MakeModel, compare


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lieconv", metavar="PATH", help="checkout of github.com/mfinzi/LieConv")
    parser.add_argument("--gigp", metavar="PATH", help="checkout of github.com/YonatanGideoni/gigp")
    parser.add_argument("--cases", default="", help="only cases whose title contains this")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7, help="turns of every model")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor time, for --threads 1 on a machine that also does other work",
    )
    parser.add_argument("--out", type=to_path, default=ROOT / "outputs" / "benchmarks" / "cpu.json")
    arguments = parser.parse_args()
    arguments.titles = [title for title in TITLES if arguments.cases in title]
    if arguments.clock == "cpu" and arguments.threads != 1:
        parser.error("--clock cpu adds the time of all threads; use it with --threads 1")
    if not arguments.titles:
        parser.error(f"no case contains {arguments.cases!r}; the cases are: {', '.join(TITLES)}")
    try:
        reference.check(arguments.lieconv, arguments.gigp)
    except InputError as error:
        parser.error(str(error))
    return arguments


def make_sides(title: str, lieconv: str | None, gigp: str | None) -> dict[str, MakeModel]:
    """What builds each model of a case."""
    if title == POOL:
        names = ["gigp", *(["reference"] if gigp else [])]
        return {side: partial(make_pool, side, gigp) for side in names}
    if title == POOLS:
        inputs = load_inputs(["dataset=qm9"])
        return {pool: partial(make_pool_on_molecules, inputs, pool) for pool in MEASURED_POOLS}
    if title == AGGREGATIONS:
        inputs = load_inputs(["dataset=qm9"])
        return {name: partial(make_aggregation, inputs, name) for name in MEASURED_AGGREGATIONS}
    bf16 = title in BF16_CASES and cpu_supports_bf16()
    if title in BESIDE:
        both = {"gigp": title, BESIDE[title]: BESIDE[title]}
        return {
            side: partial(make_model, load_inputs(CASES[case]), "gigp")
            for side, case in both.items()
        }
    names = ["gigp", *(["gigp bf16"] if bf16 else []), *(["reference"] if lieconv else [])]
    inputs = load_inputs(CASES[title])
    return {side: partial(make_model, inputs, side, lieconv) for side in names}


def main() -> None:
    arguments = parse_arguments()
    threads, repeats = arguments.threads, arguments.repeats
    torch.set_num_threads(threads)
    record: dict[str, Any] = collect_provenance() | {
        "threads": threads,
        "repeats": repeats,
        "clock": arguments.clock,
    }
    record["native"] = native_status()
    record |= {"processor": processor(), "cases": {}}
    if arguments.lieconv:
        record["parity"] = reference.parity(arguments.lieconv)
        for name, difference in record["parity"].items():
            console.print(f"largest relative difference to the reference, {name}: {difference:.1e}")
    for title in arguments.titles:
        sides = make_sides(title, arguments.lieconv, arguments.gigp)
        record["cases"][title] = compare(sides, threads, repeats, arguments.clock)
        show_case(title, record["cases"][title])
        save(record, arguments.out)  # after every case: an interruption loses at most one
    if not arguments.cases:
        record["pool_growth"] = pool_growth(threads)
        record["mixed_sizes"] = mixed_sizes(threads, repeats)
        record["training_overhead"] = training_overhead(threads)
        for name, rows in (*record["pool_growth"].items(), ("mixed sizes", record["mixed_sizes"])):
            show_rows(f"growth: {name}", rows)
        overhead = record["training_overhead"]["overhead"]
        console.print(f"loader, callbacks and logging at scale=small: {overhead:.1%}")
        save(record, arguments.out)
    console.print(f"record: {arguments.out}")


if __name__ == "__main__":
    main()
