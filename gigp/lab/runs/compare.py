"""Compare finished runs: one table by pool for all runs that differ in pool and seed alone."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from rich.table import Table

from gigp.errors import InputError
from gigp.lab.runs.console import HEADS, TextConsole, console
from gigp.lab.runs.record import Record, read_record

Runs = dict[str, dict[int, Record]]  # by pool and seed


def read_runs(folders: Iterable[Path]) -> list[Record]:
    """The records of finished runs.

    Args:
        folders: folders of runs, .../NAME/seedK.

    Raises:
        InputError: a folder holds no finished run, or a damaged record.
    """
    records = []
    for folder in folders:
        path = folder / "summary.json"
        if not path.exists():
            raise InputError(
                f"{folder} holds no finished run; give folders as results/runs/NAME/seed0."
            )
        records.append(read_record(path))
    return records


def find_runs(results_dir: Path) -> list[Path]:
    """Folders of the finished runs in results/runs, or of those of one name, a seed each; not
    copies, as `seed0 (copy)`.
    """
    records = [*results_dir.glob("*/seed*/summary.json"), *results_dir.glob("seed*/summary.json")]
    folders = (path.parent for path in records)
    return sorted(folder for folder in folders if re.fullmatch(r"seed\d+", folder.name))


def print_comparison(records: Sequence[Record], console: TextConsole = console) -> None:
    """Print one table for all runs that differ in pool and seed alone.

    Args:
        records: records of runs; pools keep their order, and are compared with the
            first.
        console: console to print on.
    """
    for setting, runs in group_runs(records).items():
        console.print(comparison_table(setting, runs))


def group_runs(records: Sequence[Record]) -> dict[str, Runs]:
    """Runs by common settings, then by pool, then by seed."""
    groups: dict[str, Runs] = {}
    for record in records:
        runs = groups.setdefault(shared_settings(record), {})
        by_seed = runs.setdefault(pool_of(record), {})
        by_seed[record.seed] = record
    return groups


def pool_of(record: Record) -> str:
    """The pool with the settings that the command line gave it."""
    own = [override for override in record.overrides if override.startswith("pool.")]
    return pool_label(str(record.choices["pool"]), own)


def pool_label(pool: str, overrides: Iterable[str]) -> str:
    """A pool with settings, as `gigp, orbits=5`."""
    return ", ".join([pool, *(override.removeprefix("pool.") for override in overrides)])


def shared_settings(record: Record) -> str:
    """The settings that two runs must share to be compared: all but pool and seed."""
    data, choices = record.data, record.choices
    others = [o for o in record.overrides if not o.startswith("pool.")]
    budget = f"{data['sizes']['train']:,} samples x {record.epochs} epochs"
    start = str(record.init_from or "").replace(f"/seed{record.seed}", "")
    parts = [
        str(data["dataset"]),
        f"split {data.get('split_hash')}",
        f"backbone {record.backbone_group}",
        f"pool_on {record.pool_on}",
        budget,
        f"scale {choices['scale']}",
        f"experiment {choices['experiment']}" if choices.get("experiment") else "",
        f"from {start}" if start else "",
        "frozen backbone" if record.frozen_backbone else "",
        *others,
    ]
    return ", ".join(part for part in parts if part)


def comparison_table(title: str, runs: Runs) -> Table:
    """A row for each metric and pool: mean and spread over the seeds, and the paired difference to
    the first pool; above them the baselines of a set of one's own, which its records have.
    """
    first, *_ = runs
    data = next(iter(runs[first].values())).data
    names = dict.fromkeys(
        name for by_seed in runs.values() for run in by_seed.values() for name in run.metrics
    )
    columns = ("metric", "unit", "pool", "test", "seeds", f"minus {first}", "minutes")
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for name in names:
        for baseline, errors in data.get("baselines", {}).items():
            table.add_row(name, "", f"no network: {HEADS[baseline]}", f"{errors[name]:.4g}")
        for pool, by_seed in runs.items():
            mine = {s: run.metrics[name] for s, run in by_seed.items() if name in run.metrics}
            if not mine:
                continue
            base = {
                s: run.metrics[name].test for s, run in runs[first].items() if name in run.metrics
            }
            pairs = [mine[seed].test - base[seed] for seed in mine.keys() & base.keys()]
            minutes = [run.seconds / 60 for run in by_seed.values()]
            unit = next(iter(mine.values())).unit
            difference = "" if pool == first else difference_text(pairs)
            table.add_row(
                name,
                unit,
                pool,
                with_spread([metric.test for metric in mine.values()]),
                ",".join(map(str, sorted(mine))),
                difference,
                f"{mean(minutes):.2g}",
            )
        table.add_section()
    return table


def with_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation; the mean alone of a single value."""
    return with_error(mean(values), stdev(values) if len(values) > 1 else math.nan)


def with_error(mean: float, std: float) -> str:
    """A mean to two digits of its standard deviation, but to five of its own at most; to four where
    there is none.
    """
    if math.isnan(std):
        return f"{mean:.4g}"
    if std == 0:
        return f"{mean:.4g} ± 0"
    decimals = 1 - math.floor(math.log10(std))
    if mean:
        decimals = min(decimals, 4 - math.floor(math.log10(abs(mean))))
    decimals = max(0, decimals)
    return f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def difference_text(pairs: Sequence[float]) -> str:
    """Mean of differences seed by seed, with their spread; nothing where no seed is shared."""
    if not pairs:
        return "no common seed"
    spread = f" ± {stdev(pairs):.2g}" if len(pairs) > 1 else ""
    return f"{mean(pairs):+.3g}{spread} ({len(pairs)} {'pairs' if len(pairs) > 1 else 'pair'})"
