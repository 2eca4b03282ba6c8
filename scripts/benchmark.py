"""Measure speed and memory: `python scripts/benchmark.py`, and beside the reference code with
--lieconv and --gigp.

Every contestant runs in a process of its own, on the same batches of real molecules and digits,
with the same number of threads; the processes take turns, and the median over the turns counts. The
record goes to results/benchmarks/.
"""

import argparse
import io
import json
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import reference
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from rich.console import Console
from rich.table import Table
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gigp.config.instantiate import instantiate
from gigp.errors import InputError
from gigp.files import write_atomically
from gigp.groups import SO3
from gigp.nn.linear import cpu_supports_bf16
from gigp.pointcloud import PointCloud
from gigp.pools.gigp import GIGP
from gigp.training.build import build_model
from gigp.training.memory import keep_freed_memory, peak_memory_mb, reset_peak_memory
from gigp.training.record import environment
from gigp.training.run import run

ROOT = Path(__file__).resolve().parents[1]
BATCHES = 4  # different batches that every contestant goes through in a turn
console = Console(soft_wrap=True)

EMBEDDED = [
    "dataset.source=embedded",
    *(f"dataset.{part}_size=null" for part in ("train", "val", "test")),
]

# title: overrides of the configuration; the published settings but for what is named
CASES: dict[str, list[str]] = {
    "QM9 T(3), k 256": ["dataset=qm9", "backbone.width=256"],
    "QM9 T(3), k 1536": ["dataset=qm9"],
    "QM9 SE(3), 4 lifts, nbhd 25, k 256": ["dataset=qm9", "group=SE3", "backbone.width=256"],
    "rotated MNIST SO(2), k 128": ["dataset=rotmnist", *EMBEDDED],
    "rotated MNIST SE(2), 2 lifts, k 128": ["dataset=rotmnist", *EMBEDDED, "group=SE2"],
}
# cases that also run in mixed precision, where the CPU knows bf16; others take minutes
BF16 = ("QM9 T(3), k 1536",)
POOL = "GIGP layer, 64 clouds x 128 points x 64 channels, K 50"
KINDS = {  # operations by what they spend their time on
    "matrix products": (
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
        "mkldnn_convolution",
        "convolution_backward",
    ),
    "batch norm": ("native_batch_norm", "native_batch_norm_backward", "var_mean"),
    "sums and products by element": (
        "sum",
        "mean",
        "add",
        "add_",
        "sub",
        "mul",
        "mul_",
        "div",
        "addcmul",
        "addcmul_",
        "square",
        "pow",
        "sqrt",
        "rsqrt",
        "atan2",
        "neg",
        "reciprocal",
        "mse_loss",
        "abs",
    ),
    "swish": ("silu", "silu_", "silu_backward"),
    "copies and gathers": (
        "copy_",
        "cat",
        "index",
        "index_select",
        "index_copy_",
        "index_add_",
        "_index_put_impl_",
        "fill_",
        "zero_",
        "embedding_dense_backward",
        "gather",
        "scatter_add_",
    ),
    "choice of neighbors": (
        "topk",
        "uniform_",
        "sort",
        "where",
        "nonzero",
        "le",
        "argmax",
        "minimum",
    ),
    "optimizer": ("_fused_adam_", "Optimizer.step#Adam.step"),
}


@dataclass
class BenchModel:
    """A model with its batches, ready to train and to evaluate."""

    model: torch.nn.Module
    batches: list[Any]
    loss: Callable[[Any, Any], torch.Tensor]  # of output and batch
    size: int  # samples in a batch
    autocast: bool = False

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)

    def step(self, i: int) -> None:
        batch = self.batches[i % len(self.batches)]
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if self.autocast else nullcontext():
            output = self.model(batch[0])
        self.loss(output, batch[1]).backward()
        self.optimizer.step()

    @torch.no_grad()
    def evaluate(self, i: int) -> None:
        with torch.autocast("cpu", torch.bfloat16) if self.autocast else nullcontext():
            self.model(self.batches[i % len(self.batches)][0])

    def turn(self, what: str) -> float:
        """Seconds per batch of training or evaluation."""
        self.model.train(what == "train")
        work = self.step if what == "train" else self.evaluate
        work(0)
        start = time.perf_counter()
        for i in range(len(self.batches)):
            work(i)
        return (time.perf_counter() - start) / len(self.batches)


def compose_config(overrides: list[str]) -> Any:
    """The configuration of `python train.py` with these overrides."""
    places = [f"dataset.root={ROOT}/data", f"dataset.cache={ROOT}/data", "logger=csv"]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose(
            "config", ["scale=paper", "pool=mean", *overrides, *places], return_hydra_config=True
        )
    HydraConfig.instance().set_config(cfg.copy())  # which choices.* refer to
    with open_dict(cfg):
        del cfg["hydra"]
    OmegaConf.resolve(cfg)
    return cfg


def output_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The loss that the data set trains with; standardized targets make no difference to the
    time.
    """
    return (
        (output - target).abs().mean()
        if target.is_floating_point()
        else F.cross_entropy(output, target)
    )


@dataclass
class BenchInputs:
    """What every side of a case is built from: a configuration, real batches, and what a net asks
    of a data set.
    """

    cfg: Any
    batches: list[tuple[PointCloud, torch.Tensor]]
    in_channels: int
    out_dim: int
    grid: torch.Tensor | None = None
    disk: torch.Tensor | None = None


def prepare(title: str) -> BenchInputs | None:
    """Compose the configuration of a case and fetch its first training batches."""
    if title == POOL:
        return None
    cfg, data = load_data(CASES[title])
    chosen = data.indices["train"][: BATCHES * data.batch_size].split(data.batch_size)
    batches = [data.prepare_batch(data.get_batch(indices), augment=True) for indices in chosen]
    return BenchInputs(
        cfg, batches, data.in_channels, data.out_dim, data.grid, getattr(data, "disk", None)
    )


def load_data(overrides: list[str]) -> tuple[Any, Any]:
    """A configuration and its data module, set up."""
    cfg = compose_config(overrides)
    data = instantiate(cfg.dataset)
    data.setup()
    return cfg, data


def make_contestant(material: BenchInputs | None, side: str, paths: dict[str, str]) -> BenchModel:
    """Build one side of a case: `gigp`, `gigp bf16`, or `reference` from a checkout."""
    if material is None:
        return make_pool(side, paths)
    batches = material.batches
    size = len(batches[0][1])
    if side == "reference":
        net = reference.build_net(paths["lieconv"], material.cfg, material)
        return BenchModel(
            net, [(net.prepare(cloud), target) for cloud, target in batches], output_loss, size
        )
    model = build_model(material.cfg, material)
    model.calibrate([batches[0][0]])
    return BenchModel(model, batches, output_loss, size, autocast=side == "gigp bf16")


def make_pool(side: str, paths: dict[str, str], points: int = 128, orbits: int = 50) -> BenchModel:
    """The pool alone, forward and backward to the features, on random clouds."""
    generator = torch.Generator().manual_seed(0)
    pos = torch.randn(64, points, 3, generator=generator)
    feat = torch.randn(64, points, 64, generator=generator, requires_grad=True)
    mask = torch.ones(64, points, dtype=torch.bool)
    if side == "reference":
        layer = reference.build_gigp(paths["gigp"], channels=64, orbits=orbits)
    else:
        layer = _OnTuple(GIGP(64, SO3(), orbits=orbits, hidden_channels=128))
        layer.pool.orbits.fit(0.0, 4.0)
    return BenchModel(
        layer, [((pos, feat, mask), None)], lambda output, _: output.square().sum(), 64
    )


class _OnTuple(torch.nn.Module):
    """A pool that takes one tuple, as the reference does."""

    def __init__(self, pool: torch.nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, cloud: tuple[torch.Tensor, ...]) -> torch.Tensor:
        pos, feat, mask = cloud
        return self.pool(feat, pos, mask)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write."""

    moved = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not (func.is_view or func.name().startswith(("aten::detach", "aten::_unsafe_view"))):
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
            self.moved += sum(
                x.numel() * x.element_size() for x in leaves if isinstance(x, torch.Tensor)
            )
        return out


def inspect(subject: BenchModel) -> dict[str, Any]:
    """Operations, bytes, and where the time of a training step goes."""
    subject.model.train()
    with FlopCounterMode(display=False) as flops:
        subject.step(0)
    with Traffic() as traffic:
        subject.step(0)
    # the profiler, too, warms up
    warm = torch.profiler.schedule(wait=0, warmup=BATCHES, active=BATCHES, repeat=1)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], schedule=warm
    ) as profile:
        for i in range(2 * BATCHES):
            subject.step(i)
            profile.step()
    spent = {
        event.key.removeprefix("aten::"): event.self_cpu_time_total
        for event in profile.key_averages()
    }
    total = sum(spent.values())
    shares = {
        kind: sum(spent.get(name, 0) for name in names) / total for kind, names in KINDS.items()
    }
    shares["everything else"] = 1 - sum(shares.values())
    return {
        "gflop": flops.get_total_flops() / 1e9,
        "gbyte": traffic.moved / 1e9,
        "time_shares": shares,
    }


def processor() -> str:
    """What the times depend on most: the processor, and the vectors that PyTorch uses of it."""
    model = platform.machine()
    with suppress(OSError, StopIteration):  # not on Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return f"{model} with {torch.backends.cpu.get_cpu_capability()}"


def measure_machine() -> dict[str, float]:
    """GFLOP/s of matrix products and GB/s of a copy, here and now."""
    a, big = torch.randn(2048, 2048), torch.randn(32 * 2**20)
    out, into = torch.empty_like(a), torch.empty_like(big)
    low, low_out = a.bfloat16(), out.bfloat16()
    flop, byte = 2 * 2048**3 / 1e9, 2 * big.numel() * 4 / 1e9
    work = {
        "fp32": (flop, partial(torch.mm, a, a, out=out)),
        "copy": (byte, partial(into.copy_, big)),
    }
    if cpu_supports_bf16():
        work["bf16"] = flop, partial(torch.mm, low, low, out=low_out)
    rates = {}
    for name, (amount, do) in work.items():
        do()
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            do()
            seconds.append(time.perf_counter() - start)
        rates[name] = amount / min(seconds)
    return rates


def serve(
    pipe: Any, material: BenchInputs | None, side: str, threads: int, paths: dict[str, str]
) -> None:
    """Answer what the parent process asks about one contestant, or about the machine."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if side == "machine":
        answers: dict[str, Callable[[], Any]] = {"rates": measure_machine}
    else:
        if side != "reference":
            keep_freed_memory()
        reset_peak_memory()
        before = peak_memory_mb()
        subject = make_contestant(material, side, paths)
        answers = {
            "size": lambda: subject.size,
            "train": lambda: subject.turn("train"),
            "eval": lambda: subject.turn("eval"),
            "peak_mb": lambda: peak_memory_mb() - before,
            "inspect": lambda: inspect(subject),
        }
    pipe.send("ready")
    while (question := pipe.recv()) != "stop":
        pipe.send(answers[question]())
    os._exit(0)  # without the farewells of libraries that were only looked at


class Side:
    """A contestant in a process of its own."""

    def __init__(
        self, material: BenchInputs | None, side: str, threads: int, paths: dict[str, str]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, material, side, threads, paths), daemon=True
        )
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def ask(self, question: str) -> Any:
        self.pipe.send(question)
        return self.pipe.recv()

    def stop(self) -> None:
        self.pipe.send("stop")
        self.process.join()


def compare(
    title: str, sides: list[str], threads: int, repeats: int, paths: dict[str, str]
) -> dict[str, Any]:
    """Let all sides of a case take turns."""
    material = prepare(title)
    machine = Side(None, "machine", threads, paths)
    racers = {side: Side(material, side, threads, paths) for side in sides}
    seconds: dict[str, dict[str, list[float]]] = {side: {"train": [], "eval": []} for side in sides}
    rates = []
    for what in ("train", "eval"):
        for _ in range(repeats):
            rates.append(machine.ask("rates"))
            for side, racer in racers.items():
                seconds[side][what].append(racer.ask(what))
        if what == "train":
            peaks = {side: racer.ask("peak_mb") for side, racer in racers.items()}
    rate = {name: statistics.median(r[name] for r in rates) for name in rates[0]}
    result: dict[str, Any] = {"machine": rate, "sides": {}}
    for side, racer in racers.items():
        size, found = racer.ask("size"), {} if side == "reference" else racer.ask("inspect")
        medians = {what: statistics.median(values) for what, values in seconds[side].items()}
        entry = {what: size / value for what, value in medians.items()}
        entry |= {
            f"{what}_turns": [size / s for s in seconds[side][what]] for what in ("train", "eval")
        }
        entry |= {"step_seconds": medians["train"], "peak_mb": peaks[side], **found}
        if found:
            arithmetic = found["gflop"] / rate["bf16" if side == "gigp bf16" else "fp32"]
            traffic = found["gbyte"] / rate["copy"]
            entry |= {"arithmetic_seconds": arithmetic, "traffic_seconds": traffic}
            entry["share_of_matrix_rate"] = arithmetic / medians["train"]
        result["sides"][side] = entry
    for racer in (machine, *racers.values()):
        racer.stop()
    return result


def pool_growth(threads: int) -> dict[str, list[dict[str, float]]]:
    """Milliseconds of the pool, forward and backward, as points and orbits grow."""
    torch.set_num_threads(threads)
    keep_freed_memory()

    def milliseconds(points: int, orbits: int) -> float:
        subject = make_pool("gigp", {}, points, orbits)
        return 1e3 * statistics.median(subject.turn("train") for _ in range(7))

    return {
        "points": [
            {"points": n, "orbits": 50, "ms": milliseconds(n, 50)}
            for n in (32, 128, 512, 1024, 2048, 4096)
        ],
        "orbits": [
            {"points": 512, "orbits": k, "ms": milliseconds(512, k)} for k in (10, 25, 50, 100, 200)
        ],
    }


def mixed_sizes(threads: int, repeats: int) -> list[dict[str, Any]]:
    """Time for each pair of real atoms in batches of equal and of mixed molecules."""
    torch.set_num_threads(threads)
    cfg, data = load_data(CASES["QM9 T(3), k 256"])
    model = build_model(cfg, data)
    model.calibrate(data.train_clouds())
    train = data.indices["train"]
    masks = data.prepare_batch(data.get_batch(train[:20_000]), augment=False)[0].mask
    sizes, order = masks.sum(1).sort(stable=True)
    num = data.batch_size
    picks = {
        "as drawn": train[:num],
        "all of 18 atoms": train[order[sizes == 18][:num]],
        "half of the smallest, half of the largest": train[
            torch.cat([order[: num // 2], order[-(num - num // 2) :]])
        ],
    }
    subjects, rows = {}, []
    for name, indices in picks.items():
        batch = data.prepare_batch(data.get_batch(indices), augment=True)
        subjects[name] = BenchModel(model, [batch], output_loss, num)
    turns = {name: [] for name in picks}
    for _ in range(repeats):
        for name, subject in subjects.items():
            turns[name].append(subject.turn("train"))
    for name, subject in subjects.items():
        mask = subject.batches[0][0].mask
        real, padded = int(mask.sum(1).square().sum()), mask.shape[0] * mask.shape[1] ** 2
        seconds = statistics.median(turns[name])
        rows.append(
            {
                "batch": name,
                "padded_per_real_pair": padded / real,
                "us_per_real_pair": 1e6 * seconds / real,
            }
        )
    return rows


def training_overhead(threads: int) -> dict[str, float]:
    """Share of a run's training time at scale=small outside its steps: loader, callbacks, logging,
    Lightning.
    """
    torch.set_num_threads(threads)
    sizes = [
        "dataset.train_size=7500",
        "dataset.val_size=75",
        "dataset.test_size=75",
        "recalibrate=75",
    ]
    options = [
        "scale=small",
        "dataset=qm9",
        "pool=gigp",
        *sizes,
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
    ]
    starts, ends = [], []
    hooks = [
        # before forward and backward
        register_optimizer_step_pre_hook(lambda *_: starts.append(time.perf_counter())),
        register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter())),
    ]
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        run(compose_config([*options, f"results_dir={folder}"]))
        history = pd.read_csv(next(Path(folder).rglob("metrics.csv")))
    for hook in hooks:
        hook.remove()
    steps = len(starts) // len(history)
    inside = sum(ends[-steps:]) - sum(starts[-steps:])
    whole = float(history["train_seconds"].iloc[-1])
    return {
        "steps": steps,
        "epoch_seconds": whole,
        "in_steps_seconds": inside,
        "overhead": 1 - inside / whole,
    }


def show(title: str, result: dict[str, Any]) -> None:
    """Print a case as tables."""
    table = Table(
        "",
        "train/s",
        "eval/s",
        "peak MB",
        "GFLOP/s",
        "of matrix rate",
        title=title,
        title_justify="left",
    )
    for side, entry in result["sides"].items():
        work = ["", ""]
        if "gflop" in entry:
            work = [
                f"{entry['gflop'] / entry['step_seconds']:.0f}",
                f"{entry['share_of_matrix_rate']:.0%}",
            ]
        table.add_row(
            side, f"{entry['train']:.4g}", f"{entry['eval']:.4g}", f"{entry['peak_mb']:.0f}", *work
        )
    reference_side = result["sides"].get("reference")
    for side, entry in result["sides"].items():
        if reference_side and side != "reference":
            ratios = {
                what: entry[what] / reference_side[what] for what in ("train", "eval", "peak_mb")
            }
            table.add_row(f"{side} / reference", *(f"{ratio:.2f}x" for ratio in ratios.values()))
            entry["ratios"] = ratios
    console.print(table)
    for side, entry in result["sides"].items():
        if "time_shares" in entry:
            shares = sorted(entry["time_shares"].items(), key=lambda item: -item[1])
            step, arithmetic, traffic = (
                1e3 * entry[f"{key}_seconds"] for key in ("step", "arithmetic", "traffic")
            )
            console.print(
                f"{side}: {step:.4g} ms a step; its arithmetic at the matrix rate {arithmetic:.4g} "
                f"ms, its bytes at the copy rate {traffic:.4g} ms"
            )
            console.print("  " + ", ".join(f"{kind} {share:.0%}" for kind, share in shares) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--lieconv", metavar="PATH", help="checkout of github.com/mfinzi/LieConv to run beside"
    )
    parser.add_argument(
        "--gigp", metavar="PATH", help="checkout of github.com/YonatanGideoni/gigp to run beside"
    )
    parser.add_argument("--cases", default="", help="only cases whose title contains this")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7, help="turns of every contestant")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "cpu.json")
    arguments = parser.parse_args()
    paths = {name: path for name in ("lieconv", "gigp") if (path := getattr(arguments, name))}
    titles = [title for title in (*CASES, POOL) if arguments.cases in title]
    if not titles:
        parser.error(
            f"no case contains {arguments.cases!r}; the cases are: {', '.join((*CASES, POOL))}"
        )
    try:
        reference.check(paths)
    except InputError as error:
        parser.error(str(error))
    torch.set_num_threads(arguments.threads)
    record: dict[str, Any] = environment() | {
        "threads": arguments.threads,
        "repeats": arguments.repeats,
    }
    record |= {"processor": processor(), "cases": {}}
    if "lieconv" in paths:
        record["parity"] = reference.parity(paths["lieconv"])
        for name, difference in record["parity"].items():
            console.print(f"largest relative difference to the reference, {name}: {difference:.1e}")
    for title in titles:
        beside = ["reference"] if ("gigp" if title == POOL else "lieconv") in paths else []
        sides = ["gigp", *(["gigp bf16"] if title in BF16 and cpu_supports_bf16() else []), *beside]
        record["cases"][title] = compare(title, sides, arguments.threads, arguments.repeats, paths)
        show(title, record["cases"][title])
        save(record, arguments.out)  # what has been measured is kept, whatever comes after it
    if not arguments.cases:
        record["pool_growth"] = pool_growth(arguments.threads)
        record["mixed_sizes"] = mixed_sizes(arguments.threads, arguments.repeats)
        record["training_overhead"] = training_overhead(arguments.threads)
        console.print(
            "loader, callbacks and logging at scale=small: "
            f"{record['training_overhead']['overhead']:.1%}"
        )
        for name, rows in (*record["pool_growth"].items(), ("mixed sizes", record["mixed_sizes"])):
            table = Table(*rows[0], title=f"growth: {name}", title_justify="left")
            for row in rows:
                table.add_row(
                    *(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
                )
            console.print(table)
    save(record, arguments.out)
    console.print(f"record: {arguments.out}")


def save(record: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(rounded(record), indent=1) + "\n")


def rounded(x: Any) -> Any:
    """A record with four significant digits."""
    if isinstance(x, dict):
        return {key: rounded(value) for key, value in x.items()}
    if isinstance(x, list):
        return [rounded(value) for value in x]
    return float(f"{x:.4g}") if isinstance(x, float) and math.isfinite(x) else x


if __name__ == "__main__":
    main()
