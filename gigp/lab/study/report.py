"""Every generated file: tables, results/README.md, the block of README.md, whose numbers come from
the records alone.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gigp.lab.progress import track
from gigp.lab.runs.record import Record
from gigp.lab.study.baselines import baseline_errors
from gigp.lab.study.experiments import Experiment, read_experiments, table_members
from gigp.lab.study.guide import make_guide
from gigp.lab.study.records import read_all_samples, read_experiment_records
from gigp.lab.study.speed import hours_table, speed_report
from gigp.lab.study.tables.claims import claims_table
from gigp.lab.study.tables.differences import changes_table, differences, differences_table
from gigp.lab.study.tables.front_page import front_page
from gigp.lab.study.tables.missing import missing_table
from gigp.lab.study.tables.noise import noise_table
from gigp.lab.study.tables.published import Published, published_row, read_published
from gigp.lab.study.tables.results import Baselines, TableRow, make_rows, results_table
from gigp.lab.study.tables.table import Table, fill
from gigp.lab.study.tolerance import same_drawing, same_text

START, END = "<!-- results: make_tables.py -->", "<!-- end of results -->"
REPORTS = {
    "results.md.j2": "results/README.md",
    "tables.md.j2": "results/tables/README.md",
    "paper_scale.md.j2": "results/paper_scale.md",
    "which_readout.md.j2": "docs/which_readout.md",
}
MAIN = ("homo", "mu", "alpha", "U0", "r2")  # targets of the tables in the report
CONTEXT = "backbone before"


@dataclass(frozen=True)
class Evidence:
    """All records of the study, and the numbers that they are compared with.

    Attributes:
        records: records by experiment.
        baselines: fits by least squares on QM9.
        published: figures of others.
        folder: results/records.
    """

    records: Mapping[str, list[Record]]
    baselines: Baselines
    published: Published
    folder: Path

    def entries(self, experiment: Experiment) -> list[TableRow]:
        """The rows of an experiment."""
        return make_rows(experiment, self.records.get(experiment.name, []))

    def by_table(self) -> dict[str, list[TableRow]]:
        """The rows of every table."""
        members = table_members(read_experiments())
        return {
            name: [entry for member in experiments for entry in self.entries(member)]
            for name, experiments in members.items()
        }


def read_evidence(root: Path, data: Path, baselines: Baselines | None = None) -> Evidence:
    """The evidence below a root that holds results.

    Args:
        root: folder of the checkout.
        data: folder of the data sets, from which the baselines are computed.
        baselines: fits by least squares in place of those of the file.
    """
    folder = root / "results" / "records"
    records = {path.stem: read_experiment_records(path) for path in sorted(folder.glob("*.jsonl"))}
    fits = baseline_errors(data) if baselines is None else baselines
    return Evidence(records, fits, read_published(root / "results" / "published.yaml"), folder)


def make_tables(evidence: Evidence) -> dict[str, Table]:
    """All tables by name: results and differences of every table, and the claims."""
    experiments = read_experiments()
    tables: dict[str, Table] = {}
    pairs: dict[str, pd.DataFrame] = {}
    rows, every = evidence.by_table(), table_members(experiments)
    for name, members in track(every.items(), "Comparing pools", len(every)):
        own = rows[name]
        context = context_rows(own, members, evidence, experiments)
        rows[name] = [*context, *own]
        title, headline = members[-1].study.title, members[-1].study.headline
        fits = evidence.baselines if name.startswith("qm9") else {}
        tables[name] = results_table(name, title, own, fits, context)
        samples: dict[Any, Any] = {}
        for source in {entry.experiment for entry in rows[name]}:
            samples |= read_all_samples(evidence.folder, source)
        pairs[name] = differences(rows[name], samples, headline)
        if len(pairs[name]):
            tables[f"{name}_differences"] = differences_table(name, pairs[name], headline)
    beaten = {name: beaten_targets(rows[name], evidence.baselines) for name in rows}
    tables["claims"] = claims_table(rows, pairs, beaten)
    tables["noise"] = noise_table(rows)
    return tables


def context_rows(
    rows: list[TableRow],
    members: list[Experiment],
    evidence: Evidence,
    experiments: Mapping[str, Experiment],
) -> list[TableRow]:
    """The networks that the experiments of a table start from, as rows of it.

    Where the table has no other mean pooling, such a network is the row of mean pooling: on frozen
    outputs mean pooling has nothing to train.
    """
    has_mean = any(entry.label == "mean" for entry in rows)
    names = dict.fromkeys(
        member.study.starts_from for member in members if member.study.starts_from
    )
    networks = []
    for name in names:
        for entry in evidence.entries(experiments[name]):
            networks.append(replace(entry, label=CONTEXT if has_mean else entry.label))
    return networks


def beaten_targets(entries: list[TableRow], baselines: Baselines) -> set[str]:
    """Targets on which GIGP has a lower error than every baseline."""
    ours = [entry for entry in entries if entry.label == "gigp"]
    targets = set()
    for entry in ours:
        for target in entry.runs:
            best = min((fit[target] for fit in baselines.values() if target in fit), default=None)
            if best is not None and entry.summarize(target).mean < best:
                targets.add(target)
    return targets


def main_table(tables: Mapping[str, Table], published: Published) -> Table:
    """Protocol P on the primary targets and r2, baselines first, and a published network last."""
    table = tables["qm9_outputs"].only(MAIN)
    row = published_row(published, "qm9", "T(3)", list(table.shown.columns)[1:])
    return replace(table, shown=pd.concat([table.shown, pd.DataFrame([row])], ignore_index=True))


def shown_tables(evidence: Evidence, tables: Mapping[str, Table]) -> list[Table]:
    """The tables that have records; of QM9 the primary targets and r2."""
    members = table_members(read_experiments())
    with_records = [
        name
        for name, experiments in members.items()
        if any(evidence.records.get(experiment.name) for experiment in experiments)
    ]
    return [tables[n].only(MAIN) if n.startswith("qm9") else tables[n] for n in with_records]


def differences_of(tables: Mapping[str, Table]) -> dict[str, pd.DataFrame]:
    """The differences of pools by the name of the table that they belong to."""
    return {
        name.removesuffix("_differences"): table.numbers
        for name, table in tables.items()
        if name.endswith("_differences") and table.numbers is not None
    }


def variants_of_gigp(tables: Mapping[str, Table]) -> dict[str, Table]:
    """How its settings change GIGP, for the tables that have several: the ablations."""
    numbers = differences_of(tables)
    tables = {name: changes_table(name, mine, MAIN) for name, mine in numbers.items()}
    return {name: table for name, table in tables.items() if len(table.shown) > 1}


def learned_weights(entries: Iterable[TableRow]) -> tuple[float, float] | None:
    """The smallest and the largest weight that GIGP learned for an orbit, means over
    seeds; None without such runs.
    """
    for entry in entries:
        runs = next(iter(entry.runs.values()), {})
        learned = [run.learned["weight"] for run in runs.values() if "weight" in run.learned]
        if entry.label == "gigp" and learned:
            weights = np.mean(learned, axis=0)
            return float(weights.min()), float(weights.max())
    return None


def on_gpus(records: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, int]]:
    """Number of runs of each experiment by GPU."""
    parameters: dict[str, dict[str, int]] = {}
    for name, runs in records.items():
        for device, number in Counter(run.device for run in runs).items():
            if device.startswith("NVIDIA"):
                parameters.setdefault(device, {})[name] = number
    return parameters


def make(
    root: Path, evidence: Evidence, tables: Mapping[str, Table], figures: Mapping[str, str]
) -> dict[Path, str]:
    """Every generated file with its text.

    Args:
        root: folder that holds README.md, docs and results.
        evidence: the records.
        tables: made from them.
        figures: text of the figures by name of the file.
    """
    results = root / "results"
    files = {
        results / "tables" / f"{table.name}.csv": table.csv()
        for table in tables.values()
        if table.numbers is None or len(table.numbers)  # else no run yet
    }
    readme = root / "README.md"
    block = front_page(tables, differences_of(tables), len(evidence.baselines))
    files[readme] = fill(readme.read_text(), START, END, block, "README.md")
    measured = [json.loads(p.read_text()) for p in sorted((results / "benchmarks").glob("*.json"))]
    environment = Environment(
        loader=FileSystemLoader(root / "docs" / "report"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for template, report in REPORTS.items():
        files[root / report] = environment.get_template(template).render(
            tables=tables,
            main=main_table(tables, evidence.published),
            invariant=tables["qm9_e3_outputs"].only(MAIN),
            shown=shown_tables(evidence, tables),
            changes=variants_of_gigp(tables),
            gpus=on_gpus(evidence.records),
            counts={name: len(records) for name, records in evidence.records.items()},
            figures={Path(name).stem for name in figures},
            hours=hours_table(measured),
            missing=missing_table({n: evidence.entries(e) for n, e in read_experiments().items()}),
            weights=learned_weights(evidence.entries(read_experiments()["qm9_outputs"])),
            **make_guide(evidence.by_table()),
        )
    if measured:
        files[results / "tables" / "speed.md"] = "\n".join(map(speed_report, measured))
    return files | {results / "figures" / name: text for name, text in figures.items()}


def stale_files(root: Path, wanted: Mapping[Path, str]) -> list[Path]:
    """Files that are missing, differ by more than rounding, or should not be there.

    A figure goes by itself. Of the texts one that differs by more brings all that differ, since a
    number may stand in several.
    """
    present = {path: path.read_text() for path in wanted if path.exists()}
    differ = [path for path, text in wanted.items() if present.get(path) != text]
    figures = [path for path in differ if path.suffix == ".svg"]
    stale = [p for p in figures if p not in present or not same_drawing(present[p], wanted[p])]
    texts = [path for path in differ if path.suffix != ".svg"]
    if not all(path in present and same_text(present[path], wanted[path]) for path in texts):
        stale += texts
    results = root / "results"
    there = {*(results / "tables").glob("*.*"), *(results / "figures").glob("*.svg")}
    return stale + sorted(there - wanted.keys())
