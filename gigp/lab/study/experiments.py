"""The experiments in configs/experiment: the table that each belongs to, its runs, and the runs
they depend on.

An experiment states its purpose under the key `study`:

    study:
      table: NAME          results/tables/NAME.csv; several experiments may share one
      title: TEXT          what it compares
      headline: [TARGET]   targets whose differences are drawn and, but for r2, tested
      starts_from: EXPERIMENT       whose runs this one's start from, seed by seed
      select_by_validation: [KEY]   settings chosen by the validation loss, from the same list for
                                    every pool
      extra_sweeps: [{KEY: V1,V2}]  sweeps in addition to that of hydra.sweeper.params
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser

from gigp.errors import InputError
from gigp.lab.config.compose import CONFIGS, read_sweep
from gigp.lab.data.targets import TARGETS
from gigp.lab.runs.compare import pool_label
from gigp.lab.runs.name import further_overrides
from gigp.lab.runs.record import Record

NOT_IN_LABEL = ("pool_on", "dataset.run", "init_from", "freeze_backbone")


@dataclass(frozen=True)
class Study:
    """The key `study` of an experiment; see the head of this module."""

    table: str
    title: str
    headline: tuple[str, ...] = ()
    starts_from: str | None = None
    select_by_validation: tuple[str, ...] = ()
    extra_sweeps: tuple[dict[str, Any], ...] = ()


class Cell(NamedTuple):
    """One run that an experiment asks for, known without composing its configuration.

    Attributes:
        experiment: its name.
        label: pool with its settings, as tables show it.
        tuned: the values of the settings that validation chooses.
        target: predicted quantity where the experiment sweeps over targets; else empty.
        seed: its seed.
    """

    experiment: str
    label: str
    tuned: tuple[str, ...]
    target: str
    seed: int


@dataclass(frozen=True)
class Experiment:
    """A file of configs/experiment that belongs to the study.

    Attributes:
        name: name of the file.
        study: settings under its key `study`.
        pool, scale: chosen where its sweeps choose none.
        sweeps: values by key.
    """

    name: str
    study: Study
    pool: str
    scale: str
    sweeps: tuple[dict[str, tuple[str, ...]], ...] = field(repr=False)

    def cells(self) -> dict[Cell, tuple[str, ...]]:
        """Every run of the experiment with its overrides for `train.py`, in the order of its
        sweeps.
        """
        cells: dict[Cell, tuple[str, ...]] = {}
        for sweep in self.sweeps:
            for values in product(*sweep.values()):
                chosen = dict(zip(sweep, values, strict=True))
                overrides = tuple(f"{key}={value}" for key, value in chosen.items())
                own = further_overrides(list(overrides))
                cell = Cell(
                    self.name,
                    make_label(chosen.get("pool", self.pool), own, self.study.select_by_validation),
                    select_overrides(own, self.study.select_by_validation),
                    chosen.get("target", ""),
                    int(chosen.get("seed", 0)),
                )
                cells.setdefault(cell, (f"experiment={self.name}", *overrides))
        return cells

    def find_cell(self, record: Record) -> Cell:
        """The cell that a record of this experiment fills; a run with other settings than the
        experiment asks for has a cell of its own.
        """
        overrides = [_as_in_sweeps(override) for override in record.overrides]
        scale = str(record.choices["scale"])
        other = [f"scale={scale}"] if scale != self.scale else []
        label = make_label(
            str(record.choices["pool"]),
            [*overrides, *other],
            self.study.select_by_validation,
        )
        by_target = any("target" in sweep for sweep in self.sweeps)
        target = next(iter(record.metrics)) if by_target else ""
        tuned = select_overrides(overrides, self.study.select_by_validation)
        return Cell(self.name, label, tuned, target, record.seed)


def make_label(pool: str, overrides: Sequence[str], selected: Sequence[str] = ()) -> str:
    """A pool and the settings that distinguish its run, except those that validation chooses.

    Args:
        pool: choice of the pool.
        overrides: see `gigp.lab.runs.name.further_overrides`.
        selected: settings that validation chooses.
    """
    hidden = {*NOT_IN_LABEL, *selected}
    return pool_label(pool, (o for o in overrides if o.split("=", 1)[0] not in hidden))


def select_overrides(overrides: Sequence[str], selected: Sequence[str]) -> tuple[str, ...]:
    """The overrides of settings that validation chooses."""
    return tuple(override for override in overrides if override.split("=", 1)[0] in selected)


@cache
def read_experiments() -> dict[str, Experiment]:
    """All experiments of the study by name.

    Raises:
        InputError: the settings under `study` are not those that this module's docstring lists.
    """
    experiments = {}
    for path in sorted((CONFIGS / "experiment").glob("*.yaml")):
        experiment = read_experiment(path.stem)
        if experiment is not None:
            experiments[path.stem] = experiment
    for experiment in experiments.values():
        needs = experiment.study.starts_from
        if needs is not None and needs not in experiments:
            raise InputError(
                f"configs/experiment/{experiment.name}.yaml needs {needs}, which is not an "
                f"experiment of the study; choose from {', '.join(experiments)}."
            )
    return experiments


def read_experiment(name: str) -> Experiment | None:
    """One experiment; None where it does not belong to the study.

    Raises:
        InputError: see `read_experiments`.
    """
    study, params, choices = read_sweep(name)
    if study is None:
        return None
    known = [f.name for f in fields(Study)]
    unknown = sorted(set(study) - set(known))
    if unknown or not study.get("table") or not study.get("title"):
        what = f"has {unknown[0]}" if unknown else "lacks table or title"
        raise InputError(
            f"configs/experiment/{name}.yaml: study {what}; it takes {', '.join(known)}, of which "
            "table and title must be there."
        )
    lists = {
        key: tuple(study[key])
        for key in ("headline", "select_by_validation", "extra_sweeps")
        if study.get(key) is not None
    }
    spec = Study(**study | lists)
    sweeps = [
        {key: parse_choices(key, value) for key, value in sweep.items()}
        for sweep in (params, *spec.extra_sweeps)
    ]
    return Experiment(name, spec, choices["pool"], choices["scale"], tuple(sweeps))


def parse_choices(key: str, value: Any) -> tuple[str, ...]:
    """The values of a sweep as Hydra reads them: `a,b`, `range(3)`, `choice(a,b)`, or one value."""
    override = OverridesParser.create().parse_override(f"{key}={value}")
    sweeps = override.is_sweep_override()
    values = override.sweep_string_iterator() if sweeps else [override.get_value_element_as_str()]
    lower = {"True": "true", "False": "false"}
    return tuple(lower.get(str(value), str(value)) for value in values)


@cache
def _as_in_sweeps(override: str) -> str:
    """An override with its value written as in the cells of a sweep: `lr=0.001` for `lr=1e-3`."""
    key, equals, value = override.partition("=")
    values = parse_choices(key, value) if equals else ()
    return f"{key}={values[0]}" if len(values) == 1 else override


def table_members(experiments: dict[str, Experiment]) -> dict[str, list[Experiment]]:
    """The experiments of each table."""
    tables: dict[str, list[Experiment]] = {}
    for experiment in experiments.values():
        tables.setdefault(experiment.study.table, []).append(experiment)
    return tables


def target_rank(target: str) -> int:
    """Place of a target in tables: as in the literature, then the others."""
    return list(TARGETS).index(target) if target in TARGETS else len(TARGETS)
