"""The benchmark's record: printed as it grows, and kept as JSON."""

import json
import math
from pathlib import Path
from typing import Any

from rich.table import Table

from gigp.lab.files import write_atomically
from gigp.lab.runs.console import console


def show_case(title: str, result: dict[str, Any]) -> None:
    """Print a case as a table, and each side's bounds below it."""
    columns = ("", "train/s", "eval/s", "peak MB", "GFLOP/s", "of matrix rate")
    table = Table(*columns, title=title, title_justify="left")
    for side, entry in result["sides"].items():
        work = ["", ""]
        if "gflop" in entry:
            rate = entry["gflop"] / entry["step_seconds"]
            work = [f"{rate:.0f}", f"{entry['share_of_matrix_rate']:.0%}"]
        speed = [f"{entry[mode]:.4g}" for mode in ("train", "eval")]
        table.add_row(side, *speed, f"{entry['peak_mb']:.0f}", *work)
    for side, entry in result["sides"].items():
        if "ratios" in entry:
            ratios = [f"{ratio:.2f}x" for ratio in entry["ratios"].values()]
            table.add_row(f"{side} / reference", *ratios)
    console.print(table)
    for side, entry in result["sides"].items():
        if "time_shares" in entry:
            show_bounds(side, entry)


def show_bounds(side: str, entry: dict[str, Any]) -> None:
    """Print a step's time, its bounds, and the operations it is spent on."""
    step, arithmetic, traffic = (
        1e3 * entry[f"{key}_seconds"] for key in ("step", "arithmetic", "traffic")
    )
    console.print(
        f"{side}: {step:.4g} ms a step; its arithmetic at the matrix rate {arithmetic:.4g} ms, its "
        f"bytes at the copy rate {traffic:.4g} ms"
    )
    shares = sorted(entry["time_shares"].items(), key=lambda item: -item[1])
    console.print("  " + ", ".join(f"{kind} {share:.0%}" for kind, share in shares) + "\n")


def show_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        values = row.values()
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values))
    console.print(table)


def save(record: dict[str, Any], path: Path) -> None:
    """Write a record with four significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(rounded(record), indent=1) + "\n")


def rounded(x: Any) -> Any:
    """Round all numbers of a record to four significant digits."""
    if isinstance(x, dict):
        return {key: rounded(value) for key, value in x.items()}
    if isinstance(x, list):
        return [rounded(value) for value in x]
    return float(f"{x:.4g}") if isinstance(x, float) and math.isfinite(x) else x
