"""Growth of time with points and orbits, with mixed sizes, and outside of training steps."""

import io
import statistics
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from gigp.lab.runs.memory import keep_freed_memory
from gigp.lab.training.load import build_model
from gigp.lab.training.run import run
from scripts.benchmark.cases import CASES, compose_case, load_data
from scripts.benchmark.models import BenchModel, make_pool, output_loss


def pool_growth(threads: int) -> dict[str, list[dict[str, float]]]:
    """Milliseconds of the pool, forward and backward, as points and orbits grow."""
    torch.set_num_threads(threads)
    keep_freed_memory()

    def row(points: int, orbits: int) -> dict[str, float]:
        pool = make_pool("gigp", points=points, orbits=orbits)
        seconds = statistics.median(pool.time("train") for _ in range(7))
        return {"points": points, "orbits": orbits, "ms": 1e3 * seconds}

    return {
        "points": [row(points, 50) for points in (32, 128, 512, 1024, 2048, 4096)],
        "orbits": [row(512, orbits) for orbits in (10, 25, 50, 100, 200)],
    }


def mixed_sizes(threads: int, repeats: int) -> list[dict[str, Any]]:
    """Time for each pair of real atoms in batches of equal and of mixed molecules."""
    torch.set_num_threads(threads)
    cfg, data = load_data(CASES["QM9 T(3), k 256"])
    model = build_model(cfg, data)
    model.calibrate(data.train_clouds())
    train, num = data.indices["train"], data.batch_size
    masks = data.prepare_batch(data.get_batch(train[:20_000]), augment=False)[0].mask
    sizes, order = masks.sum(1).sort(stable=True)
    extremes = torch.cat([order[: num // 2], order[-(num - num // 2) :]])
    chosen = {
        "as drawn": train[:num],
        "all of 18 atoms": train[order[sizes == 18][:num]],
        "half of the smallest, half of the largest": train[extremes],
    }
    models = {}
    for name, indices in chosen.items():
        batch = data.prepare_batch(data.get_batch(indices), augment=True)
        models[name] = BenchModel(model, [batch], output_loss, num)
    turns: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(repeats):
        for name, bench_model in models.items():
            turns[name].append(bench_model.time("train"))
    rows = []
    for name, bench_model in models.items():
        mask = bench_model.batches[0][0].mask
        real, padded = int(mask.sum(1).square().sum()), mask.shape[0] * mask.shape[1] ** 2
        microseconds = 1e6 * statistics.median(turns[name]) / real
        rows.append(
            {
                "batch": name,
                "padded_per_real_pair": padded / real,
                "us_per_real_pair": microseconds,
            }
        )
    return rows


def training_overhead(threads: int) -> dict[str, float]:
    """Fraction of a run's training time at scale=small outside its steps: loader, callbacks,
    logging, Lightning.
    """
    torch.set_num_threads(threads)
    options = ["scale=small", "dataset=qm9", "pool=gigp", "batch_norm_clouds=75"]
    options += ["dataset.train_size=7500", "dataset.val_size=75", "dataset.test_size=75"]
    options += ["trainer.max_epochs=2", "trainer.accelerator=cpu"]
    starts: list[float] = []
    ends: list[float] = []
    hooks = [
        # called before forward and backward, which run inside optimizer.step(closure)
        register_optimizer_step_pre_hook(lambda *_: starts.append(time.perf_counter())),
        register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter())),
    ]
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        run(compose_case([*options, f"results_dir={folder}"]))
        history = pd.read_csv(next(Path(folder).rglob("metrics.csv")))
    for hook in hooks:
        hook.remove()
    steps = len(starts) // len(history)
    inside = sum(ends[-steps:]) - sum(starts[-steps:])
    epoch = float(history["train_seconds"].iloc[-1])
    return {
        "steps": steps,
        "epoch_seconds": epoch,
        "in_steps_seconds": inside,
        "overhead": 1 - inside / epoch,
    }
