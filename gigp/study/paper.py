"""The comparisons at the published settings: commands, what they should cost, and which have been run."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from gigp.study.experiments import base_of, compose_config
from gigp.study.formatting import Section, Table
from gigp.study.tables import BUDGET, NOT_ASKED

# in the order in which to run them: overrides, pools, and the benchmark's case
COMPARISONS = [
    (["dataset=qm9", "target=homo"], ("mean", "gigp", "one_orbit"), "QM9 T(3), k 1536"),
    (["dataset=rotmnist", "group=SO2"], ("mean", "gigp", "sum"), "rotated MNIST SO(2), k 128"),
    (["dataset=rotmnist", "group=SE2"], ("mean", "gigp"), "rotated MNIST SE(2), 2 lifts, k 128"),
    (["dataset=qm9", "target=r2"], ("mean", "gigp", "one_orbit"), "QM9 T(3), k 1536"),
    (["dataset=qm9", "target=homo", "group=SE3"], ("mean", "gigp"), "QM9 SE(3), 4 lifts, nbhd 25, k 1536"),
]
SEEDS = "0,1,2"


def paper_table(root: Path, records: pd.DataFrame, benchmark: dict[str, Any] | None) -> Table:
    """One command for each comparison, with estimates of its cost and the results that are there."""
    gpu, rows = gpu_estimates(root / "docs" / "speed.md"), []
    for overrides, pools, case in COMPARISONS:
        for pool in pools:
            command = [*overrides, f"pool={pool}", "scale=paper"]
            cfg = compose_config(command)
            name = base_of(tuple(command)).cell("", tuple(command)).name
            data, epochs = cfg.dataset, cfg.trainer.max_epochs
            sides = ((benchmark or {}).get("cases", {}).get(case) or {}).get("sides", {})
            hours = NOT_ASKED
            if sides:
                rate = sides["gigp"]
                seconds = epochs * (data.train_size / rate["train"] + data.val_size / rate["eval"])
                hours = f"{seconds / 3600:.0f}"
            done = records[(records["name"] == name)]
            rows.append({
                "command": f"`python train.py -m {' '.join(command)} seed={SEEDS}`",
                BUDGET: f"{data.train_size:,} x {epochs}", "hours a seed on two CPU cores (estimate)": hours,
                "a seed on a GPU (estimate)": gpu.get(case, NOT_ASKED), "benchmark": case if sides else NOT_ASKED,
                "run": ", ".join(f"seed {s}: {t:.4g} {u}" for s, t, u in done[["seed", "test", "unit"]].to_numpy())
                or "not run",
            })  # fmt: skip
    threads = f"{benchmark['threads']} threads" if benchmark else "no record"
    note = ("Estimates, not measurements: for a CPU, samples of all epochs, training and validation, over the rates of "
            f"the benchmark ({threads}); for a GPU, what docs/speed.md expects. {NOT_ASKED}: no estimate.")  # fmt: skip
    return Table("paper_scale", [note], [Section([], pd.DataFrame(rows))])


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
