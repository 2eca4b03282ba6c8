"""The comparisons at the published settings: commands, what they should cost, and which have been
run.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from gigp.config.compose import composed
from gigp.study.experiments import base_of
from gigp.study.formatting import Section, Table
from gigp.study.tables import BUDGET, NOT_ASKED

# in the order in which to run them: overrides, the data set first, pools, and the benchmark's case
COMPARISONS = [
    (["dataset=qm9", "target=homo"], ("mean", "gigp", "one_orbit"), "QM9 T(3), k 1536"),
    (["dataset=rotmnist", "group=SO2"], ("mean", "gigp", "sum"), "rotated MNIST SO(2), k 128"),
    (["dataset=rotmnist", "group=SE2"], ("mean", "gigp"), "rotated MNIST SE(2), 2 lifts, k 128"),
    (["dataset=qm9", "target=r2"], ("mean", "gigp", "one_orbit"), "QM9 T(3), k 1536"),
    (
        ["dataset=qm9", "target=homo", "group=SE3"],
        ("mean", "gigp"),
        "QM9 SE(3), 4 lifts, nbhd 25, k 1536",
    ),
]
SEEDS = "0,1,2"


def paper_table(root: Path, records: pd.DataFrame, benchmark: dict[str, Any] | None) -> Table:
    """One command for each comparison, with estimates of its cost and the results that are
    there.
    """
    gpu, rows = gpu_estimates(root / "docs" / "speed.md"), []
    for overrides, pools, case in COMPARISONS:
        base = (overrides[0], "scale=paper")
        train, val, epochs = budget_of(base)
        for pool in pools:
            command = (*overrides, f"pool={pool}", "scale=paper")
            name = base_of(base).cell("", command).name
            sides = ((benchmark or {}).get("cases", {}).get(case) or {}).get("sides", {})
            hours = NOT_ASKED
            if sides:
                rate = sides["gigp"]
                seconds = epochs * (train / rate["train"] + val / rate["eval"])
                hours = f"{seconds / 3600:.0f}"
            done = records[(records["name"] == name) | records["name"].str.startswith(f"{name}_")]
            rows.append(
                {
                    "command": f"`python train.py -m {' '.join(command)} seed={SEEDS}`",
                    BUDGET: f"{train:,} x {epochs}",
                    "hours a seed on two CPU cores (estimate)": hours,
                    "a seed on a GPU (estimate)": gpu.get(case, NOT_ASKED),
                    "benchmark": case if sides else NOT_ASKED,
                    "run": ", ".join(map(describe_run, done.to_dict("records"))) or "not run",
                }
            )
    threads = f"{benchmark['threads']} threads" if benchmark else "no record"
    note = (
        "Estimates, not measurements: for a CPU, samples of all epochs, training and validation, "
        f"over the rates of the benchmark ({threads}); for a GPU, what docs/speed.md expects. "
        f"{NOT_ASKED}: no estimate."
    )
    return Table("paper_scale", [note], [Section([], pd.DataFrame(rows))])


def describe_run(run: dict[str, Any]) -> str:
    """Result of a run in words, with what it did differently."""
    return f"seed {run['seed']}: {run['test']:.4g} {run['unit']}" + (
        f" ({run['variant']})" if run["variant"] else ""
    )


@cache
def budget_of(overrides: tuple[str, ...]) -> tuple[int, int, int]:
    """Sizes of training and validation set, and epochs."""
    cfg = composed(overrides)
    return cfg.dataset.train_size, cfg.dataset.val_size, cfg.trainer.max_epochs


def gpu_estimates(path: Path) -> dict[str, str]:
    """Expected time of a run on a GPU by case of the benchmark, from the table of docs/speed.md."""
    found: dict[str, str] = {}
    if not path.exists():
        return found
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if len(cells) > 2 and re.search(r"\d+ epochs", cells[0]):
            found[re.sub(r", \d+ epochs.*", "", cells[0])] = cells[-1]
    return found
