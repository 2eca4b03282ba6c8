"""A pool of the user's under the protocols P and F of the study, beside the committed rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import open_dict

from gigp.errors import InputError
from gigp.lab.config.compose import CONFIGS, compose_config
from gigp.lab.config.paths import trained_network
from gigp.lab.runs.checkpoints import find_checkpoint
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.name import folder_name
from gigp.lab.runs.record import Record
from gigp.lab.runs.samples import read_samples
from gigp.lab.study.baselines import baseline_errors
from gigp.lab.study.experiments import Experiment, read_experiments
from gigp.lab.study.records import Samples, read_all_samples, record_key, thin
from gigp.lab.study.report import context_rows, read_evidence
from gigp.lab.study.tables.differences import differences, differences_table
from gigp.lab.study.tables.results import TableRow, make_rows, results_table
from gigp.lab.study.tables.table import Table
from gigp.lab.training.run import run
from gigp.pools.custom import register

PROTOCOLS = {"P": "qm9_outputs", "F": "qm9_features"}  # experiments by protocol
TEST_SIZE = 13_083  # molecules that the baselines are tested on


@dataclass(frozen=True)
class CustomRow:
    """A pool on the command line.

    Attributes:
        name: `package.module:Class`.
        arguments: arguments of its class, besides the number of channels.
    """

    name: str
    arguments: Mapping[str, Any]

    @property
    def pool(self) -> str:
        """Its name in tables."""
        short = self.name.partition(":")[2]
        return self.name if (CONFIGS / "pool" / f"{short}.yaml").exists() else short

    @property
    def overrides(self) -> list[str]:
        """What sets it apart from the same class with other arguments."""
        texts = {
            key: value if isinstance(value, str) else json.dumps(value, default=str)
            for key, value in self.arguments.items()
        }
        return sorted(f"pool.{key}={text}" for key, text in texts.items())


def find_backbone(given: Path | None, results_dir: Path, seed: int) -> Path:
    """Folder of the backbone that a seed starts from.

    Args:
        given: a finished run or a model folder, for all seeds; None: the study's of this seed.
        results_dir: folder of the runs.
        seed: seed of the run.

    Raises:
        InputError: it is not there.
    """
    folder = given or Path(trained_network(str(results_dir), f"qm9_backbone_medium/seed{seed}"))
    if not find_checkpoint(folder).exists():
        raise InputError(
            f"there is no trained backbone in {folder}: train those of the study with `make "
            "reproduce TABLE=qm9_backbone`, or name a finished run or a model folder with "
            "--backbone."
        )
    return folder


def train(
    own: CustomRow,
    experiment: Experiment,
    seeds: Sequence[int],
    results_dir: Path,
    data: Path,
    backbone: Path | None = None,
    further: Sequence[str] = (),
) -> list[Record]:
    """The runs that the experiment asks of every pool: its learning rates with the first seed, and
    the one with the lowest validation loss with the others.

    Runs that are finished are not done again, unless the file of the pool has changed.

    Args:
        own: the pool.
        experiment: whose data, order, start and settings are used.
        seeds: seeds of the runs.
        results_dir: folder of the runs.
        data: folder of QM9.
        backbone: see `find_backbone`.
        further: further overrides for `train.py`, as `trainer.max_epochs=2`.

    Raises:
        InputError: there is no backbone, or the pool does not fit.
    """
    source = register(own.name).source
    records: list[Record] = []
    rates = experiment.sweeps[0]["lr"]
    for seed in seeds:
        folder = find_backbone(backbone, results_dir, seed)
        if records and len(rates) > 1:
            first = records[: len(rates)]
            rates = (rates[first.index(min(first, key=lambda record: record.val_loss))],)
        for rate in rates:
            settings = ["pool=mean", "logger=csv", f"seed={seed}", f"lr={rate}", *further]
            settings.append("report=false")  # their table is one
            cfg = compose_config([f"experiment={experiment.name}", *settings])
            overrides = [f"lr={rate}", *own.overrides]
            name = [experiment.name, own.pool, *overrides, own.name, source, *further]
            name += [str(backbone)] if backbone else []
            with open_dict(cfg):
                cfg.results_dir = str(results_dir)
                cfg.dataset.run, cfg.dataset.root = str(folder), str(data)
                cfg.choices.pool, cfg.name = own.pool, folder_name("_".join(name))
                cfg.pool = {
                    "_target_": "gigp.pools.custom.CustomPool",
                    "_convert_": "all",
                    "pool": own.name,
                    "arguments": dict(own.arguments),
                    "source": source,
                }
            records.append(run(cfg, overrides))
    return records


@dataclass(frozen=True)
class Comparison:
    """A pool beside the others of a table.

    Attributes:
        results: all rows, baselines first.
        paired: the pool minus each other one, with intervals; None where no pair is there.
        label: of the pool's row.
        notes: what is missing, a sentence each.
    """

    results: Table
    paired: Table | None
    label: str
    notes: list[str]


def compare(
    own: CustomRow,
    experiment: Experiment,
    records: Sequence[Record],
    results_dir: Path,
    root: Path,
    data: Path,
) -> Comparison:
    """The row of a pool beside the committed ones.

    Args:
        own: the pool.
        experiment: that its runs follow.
        records: of its runs.
        results_dir: folder of its runs.
        root: of the checkout, with results/records.
        data: folder of QM9, for the baselines by least squares.
    """
    size = records[0].data["sizes"]["train"]
    evidence = read_evidence(root, data, baseline_errors(data, size if size < 100_000 else None))
    committed = [entry for entry in evidence.entries(experiment) if entry.runs]
    context = context_rows(committed, [experiment], evidence, read_experiments())
    mine = custom_row(own, experiment, records)
    others = [entry for entry in (*context, *committed) if entry.runs]
    shown = [t for t in experiment.study.headline if t in mine.runs]
    title = experiment.study.title
    results = results_table(experiment.name, title, [mine], evidence.baselines, others, shown)
    notes = []
    if (num := records[0].data["sizes"]["test"]) != TEST_SIZE:
        notes.append(f"the baselines are tested on {TEST_SIZE:,} molecules, this row on {num:,}.")
    if not others:
        notes.append(
            f"results/records has no rows of {experiment.name} yet: the row stands beside the "
            "least-squares baselines alone."
        )
    comparable = [entry for entry in committed if same_backbones(mine, entry)]
    if committed and len(comparable) < len(committed):
        notes.append(
            f"{len(committed) - len(comparable)} of {len(committed)} committed rows come from "
            "backbones with other weights, so there are no paired intervals against them."
        )
    partners = [entry for entry in context if entry.runs and comparable] + comparable
    samples: dict[tuple[str, int], Samples] = {}
    for source in {entry.experiment for entry in partners}:
        samples |= read_all_samples(evidence.folder, source)
    for record in records:
        samples[record_key(record)] = thin(
            read_samples(RunFolder(results_dir, record.name, record.seed).samples)
        )
    pairs = [(mine, partner) for partner in partners]
    numbers = differences([mine, *partners], samples, shown, pairs) if pairs else pd.DataFrame()
    paired = differences_table(experiment.name, numbers, shown) if len(numbers) else None
    return Comparison(results, paired, mine.label, notes)


def custom_row(own: CustomRow, experiment: Experiment, records: Sequence[Record]) -> TableRow:
    """The row of a pool, with the learning rate that validation chooses."""
    wanted = {experiment.find_cell(record).label for record in records}
    (entry,) = (e for e in make_rows(experiment, records) if e.label in wanted)
    seeds = {record.seed for record in records}
    return replace(entry, expected=dict.fromkeys(entry.runs, len(seeds)))


def same_backbones(one: TableRow, other: TableRow) -> bool:
    """Whether two rows share seeds, and start from the same weights for each of them."""
    first, second = backbones(one), backbones(other)
    shared = first.keys() & second.keys()
    return bool(shared) and all(first[seed] == second[seed] for seed in shared)


def backbones(entry: TableRow) -> dict[int, str]:
    """Hash of the backbone's weights by seed."""
    records = (record for runs in entry.runs.values() for record in runs.values())
    return {record.seed: record.data["features_of"]["checkpoint"] for record in records}
