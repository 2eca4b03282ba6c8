"""Sides of a case take turns, each in a process of its own."""

import multiprocessing
import os
import statistics
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from gigp.lab.runs.memory import (
    keep_freed_memory,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
)
from scripts.benchmark.machine import measure_rates
from scripts.benchmark.models import BenchModel
from scripts.benchmark.profile import count_work, time_shares

MakeModel = Callable[[], BenchModel]  # must be picklable: functools.partial of a plain function


class Worker:
    """A model in a process of its own that answers questions.

    Args:
        make: builds the model; None for a process that measures the machine.
        threads: number of threads of PyTorch.
        keep_memory: keep freed memory, as training does.
    """

    def __init__(self, make: MakeModel | None, threads: int, keep_memory: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, make, threads, keep_memory), daemon=True
        )
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def ask(self, question: str, *arguments: Any) -> Any:
        self.pipe.send((question, arguments))
        return self.pipe.recv()

    def stop(self) -> None:
        self.pipe.send(("stop", ()))
        self.process.join()


def serve(pipe: Connection, make: MakeModel | None, threads: int, keep_memory: bool) -> None:
    """Build a model and answer requests of the parent process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    answers: dict[str, Callable[..., Any]] = {"rates": measure_rates}
    if make is not None:
        if keep_memory:
            keep_freed_memory()
        reset_peak_memory()
        before = peak_memory_mb()
        model = make()
        answers = {
            "size": lambda: model.size,
            "time": model.time,
            "peak_mb": lambda: peak_memory_mb() - before,
            "work": lambda: count_apart(model),
            "time_shares": lambda: time_shares(model),
        }
    pipe.send("ready")
    while True:
        question, arguments = pipe.recv()
        if question == "stop":
            # skip exit handlers, of which some of the reference's libraries take seconds
            os._exit(0)
        pipe.send(answers[question](*arguments))


def count_apart(model: BenchModel) -> dict[str, Any]:
    """The work of a step, which is counted in plain PyTorch; the memory that this takes is not that
    of the model.
    """
    work = count_work(model)
    release_memory()
    reset_peak_memory()
    return work


def compare(
    sides: dict[str, MakeModel], threads: int, repeats: int, clock: str = "wall"
) -> dict[str, Any]:
    """Let the sides of a case take turns.

    Args:
        sides: commands that build each model, by name; `reference` is not profiled.
        repeats: turns of every side; medians over them count.
        clock: see `scripts.benchmark.models.CLOCKS`.

    Returns:
        `machine`: its rates; `sides`: for each side samples per second, peak memory, work, bounds.
    """
    machine = Worker(None, threads)
    workers = {
        side: Worker(make, threads, keep_memory=side != "reference") for side, make in sides.items()
    }
    seconds: dict[str, dict[str, list[float]]] = {side: {"train": [], "eval": []} for side in sides}
    work = {side: worker.ask("work") for side, worker in workers.items() if side != "reference"}
    products = [shape for entry in work.values() for shape in entry.pop("products")]
    rates = []
    peaks = {}
    for mode in ("train", "eval"):
        for _ in range(repeats):
            rates.append(machine.ask("rates", products))
            for side, worker in workers.items():
                seconds[side][mode].append(worker.ask("time", mode, clock))
        if mode == "train":
            peaks = {side: worker.ask("peak_mb") for side, worker in workers.items()}
    # a bound: the best that was seen, not the median
    rate = {name: max(r[name] for r in rates) for name in rates[0]}
    entries: dict[str, dict[str, Any]] = {}
    for side, worker in workers.items():
        entry = summarize(worker.ask("size"), seconds[side]) | {"peak_mb": peaks[side]}
        if side in work:
            entry |= work[side] | {"time_shares": worker.ask("time_shares")}
            entry |= bounds(entry, rate, "bf16" if side.endswith("bf16") else "fp32")
        entries[side] = entry
    add_ratios(entries)
    for worker in (machine, *workers.values()):
        worker.stop()
    return {"machine": rate, "sides": entries}


def summarize(size: int, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Samples per second, by the median turn and turn by turn."""
    entry: dict[str, Any] = {}
    for mode, turns in seconds.items():
        entry[mode] = size / statistics.median(turns)
        entry[f"{mode}_turns"] = [size / turn for turn in turns]
    return entry | {"step_seconds": statistics.median(seconds["train"])}


def bounds(entry: dict[str, Any], rate: dict[str, float], precision: str) -> dict[str, float]:
    """Seconds that arithmetic and memory traffic of a step take at the machine's rates."""
    arithmetic = entry["gflop"] / rate[precision]
    return {
        "arithmetic_seconds": arithmetic,
        "traffic_seconds": entry["gbyte"] / rate["copy"],
        "share_of_matrix_rate": arithmetic / entry["step_seconds"],
    }


def add_ratios(entries: dict[str, dict[str, Any]]) -> None:
    """Add to every side its ratios to the reference."""
    reference = entries.get("reference")
    for side, entry in entries.items():
        if reference and side != "reference":
            entry["ratios"] = {
                key: entry[key] / reference[key] for key in ("train", "eval", "peak_mb")
            }
