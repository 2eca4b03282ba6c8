"""Run records as one table of numbers: a row for each metric of each finished run."""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gigp.config.compose import CONFIGS
from gigp.datasets.targets import TARGETS
from gigp.errors import InputError
from gigp.study.experiments import Cell, Experiment, protocol_of, target_rank
from gigp.training.name import further_overrides

INVARIANT = ("dimenet", "schnet", "visnet")  # backbones that are so under SE(3), whatever the group
# then readouts, by name
POOLS = ["gigp", "mean", "sum", "max", "one_orbit", "mean_mlp", "radial_deepsets"]
# what makes two results comparable: all but pool and seed
SETTING = [
    "experiment",
    "data set",
    "backbone",
    "pooled",
    "protocol",
    "backbone run",
    "scale",
    "variant",
    "train",
    "split",
    "source",
    "target",
    "unit",
    "kind",
]
# so is the budget
ALIKE = ("experiment", "scale", "target", "backbone", "pooled", "protocol", "variant")
COLUMNS = [*SETTING, "pool", "seed", "test", "val", "minutes", "cpu minutes", "limit", "name"]
TYPES = {"seed": int, **dict.fromkeys(("test", "val", "minutes", "cpu minutes", "limit"), float)}
MISSING = "missing"
NO_EXPERIMENT = "single runs"
NO_OPTION = object()  # what no value of an option equals


def read_summaries(runs: Path) -> dict[Path, dict[str, Any]]:
    """Records of finished runs that are no debug runs, by folder.

    Raises:
        InputError: a damaged record.
    """
    found = {}
    for path in sorted(runs.glob("*/seed*/summary.json")):
        try:
            record = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}); delete it and run it again.") from error
        if record["choices"]["scale"] != "debug":
            found[path.parent] = record
    return found


def read_records(runs: Path, experiments: dict[str, Experiment]) -> pd.DataFrame:
    """One row for each metric of each finished run.

    Raises:
        InputError: two records claim the same cell of a table.
    """
    rows = [row for record in read_summaries(runs).values() for row in rows_of(record, experiments)]
    records = pd.DataFrame(rows, columns=COLUMNS).astype(TYPES)
    twice = records[records.duplicated([*SETTING, "pool", "seed"], keep=False)]
    if len(twice):
        names = ", ".join(sorted(set(twice["name"])))
        raise InputError(
            f"these runs say the same of themselves and would stand in one cell: {names}."
        )
    return records


def rows_of(record: dict[str, Any], experiments: dict[str, Experiment]) -> Iterable[dict[str, Any]]:
    """One row for each metric of a record."""
    data, choices = record["data"], record["choices"]
    features = data.get("features_of", {})
    overrides = pairs(record.get("overrides", []))
    if not record["name"].startswith(choices["dataset"]):
        overrides["name"] = record["name"]  # which a user gave
    experiment = choices.get("experiment") or NO_EXPERIMENT
    start = features.get("run") or record["init_from"]
    protocol = protocol_of(bool(start), bool(features) or record["frozen_backbone"])
    setting = {
        "experiment": experiment,
        "data set": data["dataset"],
        "backbone": features.get("backbone", record["backbone_group"]),
        "pooled": record["pool_on"],
        "protocol": protocol,
        "backbone run": run_of(start),
        "scale": choices["scale"],
        "variant": variant_of(overrides),
        "train": f"{data['sizes']['train']:,} x {record['epochs']}",
        "split": split_of(data),
        "source": data["source"],
    }
    for name, metric in record["metrics"].items():
        target = data["targets"].get(name, {"kind": "classification"})
        yield setting | {
            "target": name,
            "unit": metric["unit"],
            "kind": target["kind"],
            "pool": pool_label(choices["pool"], overrides, experiments.get(experiment)),
            "seed": record["seed"],
            "test": metric["test"],
            "val": metric["val"],
            "minutes": record["seconds"] / 60,
            "cpu minutes": record.get("cpu_minutes"),
            "limit": data.get("limit", {}).get("mean and sum"),
            "name": record["name"],
        }


def pairs(overrides: Iterable[str]) -> dict[str, str]:
    """Overrides KEY=VALUE as a dictionary."""
    return dict(override.split("=", 1) for override in overrides)


def split_of(data: dict[str, Any]) -> str:
    """Name of a split, and which molecules of it were taken."""
    bounds = data.get("heavy_atoms", {})
    return ", ".join(
        [data["split"], *(f"{part} {n} heavy atoms" for part, n in bounds.items() if n is not None)]
    )


def variant_of(overrides: dict[str, str]) -> str:
    """What a run does differently, but for what has columns of its own: pool, experiment, and where
    it starts.
    """
    own = ("pool_on", "dataset.run", "init_from", "freeze_backbone")
    return ", ".join(
        f"{k}={v}" for k, v in overrides.items() if k not in own and not k.startswith("pool.")
    )


def run_of(path: str | None) -> str:
    """Name of a run from its folder or checkpoint, without its seed."""
    parts = [part for part in Path(path or "").parts if part]
    seeds = [i for i, part in enumerate(parts) if re.fullmatch(r"seed\d+", part)]
    return parts[seeds[-1] - 1] if seeds and seeds[-1] else "/".join(parts)


@cache
def pool_defaults(pool: str) -> dict[str, Any]:
    """Options of a pool as configs/pool has them."""
    options = yaml.safe_load((CONFIGS / "pool" / f"{pool}.yaml").read_text())
    for other in options.pop("defaults", []):
        options = pool_defaults(other) | options
    return options


def pool_label(pool: str, overrides: dict[str, str], experiment: Experiment | None) -> str:
    """Name of a pool with those options that differ from its defaults."""
    given = {
        key.removeprefix("pool."): value
        for key, value in overrides.items()
        if key.startswith("pool.")
    }
    fixed = pool_defaults(pool) | (experiment.pool_options if experiment else {})
    differ = {
        key: value for key, value in given.items() if fixed.get(key, NO_OPTION) != read_value(value)
    }
    options = [f"{key}={value.lower()}" for key, value in differ.items()]
    return ", ".join([pool, *options])


@cache
def read_value(text: str) -> Any:
    """The value that an override gives: the same few over a thousand records."""
    return yaml.safe_load(text)


def pool_order(labels: Iterable[str]) -> list[str]:
    """Pools in the order of tables: the method, what it is compared with, its controls; each with
    its variants.
    """

    def place(label: str) -> tuple:
        pool = label.partition(",")[0]
        return ("," in label, POOLS.index(pool) if pool in POOLS else len(POOLS), natural(label))

    return sorted(set(labels), key=place)


@cache
def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """Sorting key by which 5 comes before 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return tuple((1, float(part), "") if i % 2 else (0, 0.0, part) for i, part in enumerate(parts))


def with_missing(
    records: pd.DataFrame, cells: list[Cell], experiments: dict[str, Experiment]
) -> pd.DataFrame:
    """The records and, without results, every metric of the cells that have none; in the order of
    tables.

    What a cell cannot tell of its run (split, source, budget) is taken from another run of the same
    experiment.
    """
    have = set(zip(records["name"].str.lower(), records["seed"], strict=True))
    exact, near = {}, {}
    for row in reversed(records.to_dict("records")):
        near[row["experiment"], row["scale"], row["target"]] = row
        exact[tuple(row[key] for key in ALIKE)] = row
    rows = []
    for cell in cells:
        if cell.key in have:
            continue
        known = cell_metadata(cell, experiments[cell.experiment])
        of_experiment = [t for e, s, t in near if (e, s) == (cell.experiment, known["scale"])]
        for target in cell.targets or of_experiment:
            row = known | unit_of(target) | {"target": target}
            like = near.get((cell.experiment, row["scale"], target), {})
            row = (
                {key: MISSING for key in SETTING}
                | {k: v for k, v in like.items() if k in SETTING}
                | row
            )
            same = exact.get(tuple(row[key] for key in ALIKE))
            rows.append(row | {"train": same["train"] if same else MISSING})
    missing = pd.DataFrame(rows, columns=COLUMNS).astype(TYPES)
    both = pd.concat(
        [part for part in (records, missing) if len(part)] or [records], ignore_index=True
    )
    # run under another name
    both = both.drop_duplicates([*SETTING, "pool", "seed"], ignore_index=True)
    keys = {key: both[key].map(natural) for key in ("backbone", "protocol", "variant", "train")}
    pooled = both["pooled"].map(["outputs", "features"].index)
    keys = pd.DataFrame(
        {"experiment": both["experiment"], "scale": both["scale"], "pooled": pooled, **keys}
    )
    order = (
        keys.assign(target=both["target"].map(target_rank))
        .sort_values([*keys, "target"], kind="stable")
        .index
    )
    return both.loc[order].reset_index(drop=True)


def cell_metadata(cell: Cell, experiment: Experiment) -> dict[str, Any]:
    """What a cell tells of its run before it has run."""
    overrides, dataset = pairs(further_overrides(list(cell.overrides))), cell.choices["dataset"]
    known = {
        "experiment": cell.experiment,
        "scale": cell.choices["scale"],
        "pooled": cell.pool_on,
        "protocol": cell.protocol,
        "variant": variant_of(overrides),
        "pool": pool_label(cell.choices["pool"], overrides, experiment),
        "seed": cell.seed,
        "name": cell.name,
    }
    if "dataset.run" in overrides or "init_from" in overrides:
        known["backbone run"] = run_of(overrides.get("dataset.run", overrides.get("init_from")))
    if dataset == "features":  # then these are of the run that it starts from
        return known
    return known | {
        "data set": dataset,
        "backbone": symmetry_of(cell.choices["group"], overrides.get("backbone")),
    }


def unit_of(target: str) -> dict[str, str]:
    """Unit and kind of a metric."""
    if target in TARGETS:
        return {"unit": TARGETS[target].unit, "kind": TARGETS[target].kind}
    return (
        {"unit": "%", "kind": "classification"}
        if target == "error"
        else {"unit": "1", "kind": "intensive"}
    )


def symmetry_of(group: str, backbone: str | None) -> str:
    """How records write the symmetry of a backbone: its own where it has one, else that of the file
    in configs/group.

    Said without importing either, which takes as long as all tables; a test holds it to the
    classes.
    """
    return (
        "SE(3)"
        if backbone in INVARIANT
        else re.sub(r"(\d)", r"(\1)", group).replace("RxSO", "R*xSO")
    )
