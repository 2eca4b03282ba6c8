"""From the folders of finished runs to the evidence of the study."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gigp.errors import InputError, printable
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.record import Provenance, Record, read_record
from gigp.lab.runs.samples import read_samples
from gigp.lab.study.experiments import Experiment
from gigp.lab.study.records import (
    Key,
    Samples,
    read_all_samples,
    read_experiment_records,
    record_key,
    samples_path,
    write_records,
    write_samples_of,
)
from gigp.lab.study.tables.results import make_rows


@dataclass(frozen=True)
class Collected:
    """The result of a collection.

    Attributes:
        added: runs whose records are new or changed.
        unchanged: number of runs that the evidence held already.
        refused: why, by folder.
    """

    added: list[Path]
    unchanged: int
    refused: dict[Path, str]


def check_evidence(record: Record, experiments: dict[str, Experiment]) -> None:
    """Refuse a run that is not evidence.

    Raises:
        InputError: a debug run, one of changed or unknown code, or of no experiment of the study.
    """
    experiment = record.choices.get("experiment")
    if record.choices.get("scale") == "debug":
        raise InputError("scale=debug only shows that code runs")
    if experiment is None:
        raise InputError("it belongs to no experiment (experiment=NAME)")
    if experiment not in experiments:
        raise InputError(f"there is no experiment {experiment} in the study")
    processes: list[Record | Provenance] = [record, *(record.earlier or [])]
    if any(each.git_commit is None for each in processes):
        raise InputError("its code is unknown: it ran outside a git checkout")
    if any(each.git_dirty for each in processes):
        raise InputError("its code was changed and not committed; commit, and run it again")


def collect(
    folders: Iterable[Path], records: Path, experiments: dict[str, Experiment]
) -> Collected:
    """Add finished runs to the evidence; a run that is there already is replaced. The results of
    some of its test samples are kept where tables need them (`needed_samples`); of others the
    record alone remains.

    Args:
        folders: folders of the runs.
        records: folder of the evidence, results/records.
        experiments: experiments of the study.
    """
    refused: dict[Path, str] = {}
    by_experiment: dict[str, dict[Key, tuple[Path, Record, Samples]]] = {}
    for folder in folders:
        try:
            run = RunFolder(folder.parents[1], folder.parent.name, _read_seed(folder))
            record = read_record(run.record_path)
            check_evidence(record, experiments)
            if record_key(record) != (run.name, run.seed):
                raise InputError(f"its record is of {record.name}, seed {record.seed}")
            headline = experiments[str(record.choices["experiment"])].study.headline
            samples = select_targets(read_samples(run.samples), list(record.metrics), headline)
        except InputError as error:
            refused[folder] = str(error)
            continue
        mine = by_experiment.setdefault(str(record.choices["experiment"]), {})
        mine[record_key(record)] = folder, record, samples
    added: list[Path] = []
    for experiment, runs in by_experiment.items():
        added += _add(records, experiments[experiment], runs)
    unchanged = sum(map(len, by_experiment.values())) - len(added)
    return Collected(added, unchanged, refused)


def select_targets(samples: Samples, targets: Sequence[str], wanted: Sequence[str]) -> Samples:
    """Errors on the wanted targets alone, which keeps the evidence small.

    Args:
        samples: results of the test samples of a run; classes are left as they are.
        targets: targets of its errors, (n, T).
        wanted: targets to keep; none, or none of these: all.
    """
    columns = [i for i, target in enumerate(targets) if target in wanted]
    if "error" not in samples or not columns:
        return samples
    kept = np.array([targets[i] for i in columns])
    return {"error": samples["error"][:, columns], "targets": kept}


def _read_seed(folder: Path) -> int:
    """The seed in the name of a run's folder."""
    digits = folder.name.removeprefix("seed")
    if not digits.isdecimal():
        raise InputError("it is not the folder of a run, .../NAME/seedK")
    return int(digits)


def _add(
    records: Path, experiment: Experiment, runs: dict[Key, tuple[Path, Record, Samples]]
) -> list[Path]:
    """Write the runs of one experiment into its files; folders of those that are new or changed."""
    path = records / f"{experiment.name}.jsonl"
    held = {record_key(r): r for r in read_experiment_records(path)} if path.exists() else {}
    changed = {key for key, (_, record, _) in runs.items() if held.get(key) != record}
    held |= {key: runs[key][1] for key in changed}
    there = read_all_samples(records, experiment.name).keys()
    kept = needed_samples(experiment, held.values())
    new = (runs.keys() & kept) - (there - changed)
    write_samples_of(records, experiment.name, {key: runs[key][2] for key in new})
    for key in there - kept:
        samples_path(records, experiment.name, key).unlink(missing_ok=True)
    if changed:
        write_records(path, held.values())
    return [runs[key][0] for key in runs if key in changed]


def needed_samples(experiment: Experiment, records: Iterable[Record]) -> set[Key]:
    """The runs whose test samples tables need: of the first seed of each row that with the settings
    that validation chose, and, until it has run with all of them, those with the others, which it
    may yet choose.
    """
    records = list(records)
    rows = make_rows(experiment, records)
    firsts = [runs[min(runs)] for row in rows for runs in row.runs.values() if runs]
    undecided = {row.label for row in rows if row.untried}
    by_label: dict[str, list[Record]] = {}
    for record in records:
        by_label.setdefault(experiment.find_cell(record).label, []).append(record)
    for label in undecided:
        first = min((record.seed for record in by_label.get(label, ())), default=0)
        firsts += [record for record in by_label.get(label, ()) if record.seed == first]
    return {record_key(record) for record in firsts}


def describe(collected: Collected, root: Path) -> Sequence[str]:
    """Summary of a collection, line by line."""
    lines = [f"left out {_short(run, root)}: {why}" for run, why in collected.refused.items()]
    lines += [f"added {_short(folder, root)}" for folder in collected.added]
    lines.append(
        f"{len(collected.added)} added, {collected.unchanged} unchanged, "
        f"{len(collected.refused)} left out."
    )
    return [*map(printable, lines)]


def _short(folder: Path, root: Path) -> str:
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)
