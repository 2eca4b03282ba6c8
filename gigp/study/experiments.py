"""The experiments in configs/experiment: the table that each belongs to, its cells, and what must
run before it.

The head of a file says, in comment lines,

    # Table NAME: what the table shows          results/tables/NAME.md, .csv and .tex
    # Headline: homo r2                         targets that stand in the README
    # Needs: experiment=NAME pool=mean          whose runs this one's cells start from, seed by seed
    # Also: seed=0,1 pool.membership=nearest    one more sweep beside that of hydra.sweeper.params
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gigp.config.compose import CONFIGS, composed
from gigp.datasets.targets import TARGETS, parse_targets
from gigp.errors import InputError
from gigp.training.name import run_name


@dataclass(frozen=True)
class Cell:
    """One run that an experiment asks for.

    Attributes:
        experiment, overrides: as given to `train.py`.
        name, seed: of the run's folder.
        choices: dataset, group, pool, scale and experiment.
        pool_on: what is pooled.
        protocol: from scratch, fine-tuned, or frozen backbone.
        targets: what its record will hold metrics of; empty where only the record of another run
            can tell.
    """

    experiment: str
    overrides: tuple[str, ...]
    name: str
    seed: int
    choices: dict[str, str]
    pool_on: str
    protocol: str
    targets: tuple[str, ...]

    @property
    def key(self) -> tuple[str, int]:
        """What its record is known by; Hydra's own sweeps write True where others write true."""
        return self.name.lower(), self.seed


@dataclass(frozen=True)
class Experiment:
    """A file of configs/experiment; see the head of this module. Its settings are what the file
    says, as it says it.
    """

    name: str
    table: str | None
    title: str
    headline: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]
    sweeps: tuple[dict[str, list[str]], ...] = field(repr=False)
    settings: dict[str, Any] = field(repr=False)

    def cells(self, scale: str, further: Sequence[str] = ()) -> list[Cell]:
        """Every run of the experiment, in the order of its sweeps, each once."""
        start = (f"experiment={self.name}", f"scale={scale}", *further)
        base = base_of(start) if further else self.base(scale)
        before = [
            o.removeprefix("experiment=")
            for line in self.needs
            for o in line
            if o.startswith("experiment=")
        ]
        needed = (
            read_experiment(CONFIGS / "experiment" / f"{before[0]}.yaml").base(scale)
            if before
            else None
        )
        cells: dict[tuple[str, int], Cell] = {}
        for sweep in self.sweeps:
            values = [[f"{key}={value}" for value in choices] for key, choices in sweep.items()]
            for chosen in product(*values):
                overrides = (*start, *chosen)
                # then the rest follows from more than what is given
                depends = base.name or "dataset" in sweep
                cell = (base_of(overrides) if depends else base).cell(self.name, overrides)
                if needed and not cell.targets:  # those of the run that it starts from
                    cell = replace(
                        cell, targets=metrics_of(str(needed.choices["dataset"]), needed.target)
                    )
                cells.setdefault((cell.name, cell.seed), cell)
        return list(cells.values())

    @property
    def pool_options(self) -> dict[str, Any]:
        """What the file itself sets of the pool, the same in all its cells."""
        return self.settings.get("pool", {})

    def base(self, scale: str) -> "Base":
        """What its cells share. Composing takes a quarter of a second, so that is done for the data
        set alone, once for all experiments on it, and what the file sets is laid over it; Hydra
        merges experiments last, too.
        """
        own = {
            key: self.settings[key]
            for key in ("name", "target", "pool_on", "seed")
            if key in self.settings
        }
        if "${" in str(own):
            return base_of((f"experiment={self.name}", f"scale={scale}"))
        chosen = {
            key.removeprefix("override /"): value
            for choice in self.settings.get("defaults", [])
            for key, value in choice.items()
        }
        dataset = [f"dataset={chosen['dataset']}"] if "dataset" in chosen else []
        base = base_of((*dataset, f"scale={scale}"))
        choices = (
            base.choices
            | {key: chosen[key] for key in base.choices if key in chosen}
            | {"experiment": self.name}
        )
        started = (
            self.settings["init_from"] is not None if "init_from" in self.settings else base.started
        )
        return replace(
            base,
            **own,
            choices=choices,
            started=started,
            frozen=self.settings.get("freeze_backbone", base.frozen),
        )


@dataclass(frozen=True)
class Base:
    """What the cells of an experiment share, as far as it decides their names and places in
    tables.
    """

    name: str | None
    choices: dict[str, str | None]
    target: Any
    pool_on: str
    seed: int
    started: bool  # from another run
    frozen: bool

    def cell(self, experiment: str, overrides: tuple[str, ...]) -> Cell:
        """The run with these overrides, none of which changes the data set."""
        given = dict(override.split("=", 1) for override in overrides)
        choices = {key: given.get(key, value) for key, value in self.choices.items()}
        target = yaml.safe_load(given["target"]) if "target" in given else self.target
        frozen = given.get("freeze_backbone", str(self.frozen)).lower() == "true"
        protocol = protocol_of(
            self.started or "init_from" in given, frozen or choices["dataset"] == "features"
        )
        name = run_name({"name": self.name, "choices": choices, "target": target}, list(overrides))
        return Cell(
            experiment,
            overrides,
            name,
            int(given.get("seed", self.seed)),
            choices,
            given.get("pool_on", self.pool_on),
            protocol,
            metrics_of(choices["dataset"], target),
        )


@cache
def base_of(overrides: tuple[str, ...]) -> Base:
    """The configuration with these overrides."""
    cfg = composed(overrides)
    target = OmegaConf.to_object(cfg.target) if OmegaConf.is_config(cfg.target) else cfg.target
    started = (
        OmegaConf.is_missing(cfg, "init_from")
        or OmegaConf.to_container(cfg)["init_from"] is not None
    )
    return Base(
        cfg.get("name"),
        dict(cfg.choices.items()),
        target,
        cfg.pool_on,
        cfg.seed,
        started,
        cfg.freeze_backbone,
    )


def protocol_of(started: bool, frozen: bool) -> str:
    """How a run was trained."""
    return "frozen backbone" if frozen else "fine-tuned" if started else "from scratch"


def metrics_of(dataset: str, target: Any) -> tuple[str, ...]:
    """Names of the metrics in the record of a run."""
    if dataset == "qm9":
        return tuple(t.name for t in parse_targets(target))
    return {"rotmnist": ("error",), "orbits": (str(target),)}.get(dataset, ())


def target_rank(target: str) -> int:
    """Place of a target in tables: as in the literature, then the others."""
    return list(TARGETS).index(target) if target in TARGETS else len(TARGETS)


def read_experiments() -> dict[str, Experiment]:
    """All experiments by name."""
    return {
        path.stem: read_experiment(path) for path in sorted((CONFIGS / "experiment").glob("*.yaml"))
    }


def read_experiment(path: Path) -> Experiment:
    """One experiment from its file.

    Raises:
        InputError: a head line that says nothing.
    """
    text = path.read_text()
    params = settings = yaml.safe_load(text) or {}
    for key in ("hydra", "sweeper", "params"):
        params = params.get(key) or {}
    heads = {
        key: re.findall(rf"^# {key}:(.*)$", text, re.MULTILINE)
        for key in ("Headline", "Needs", "Also")
    }
    empty = [key for key, lines in heads.items() for line in lines if not line.strip()]
    if empty:
        raise InputError(f"{path}: the line '# {empty[0]}:' says nothing.")
    table = re.search(
        r"^# Table (\w+):\s*(.*(?:\n# (?!python |[A-Z]\w+: ).*)*)", text, re.MULTILINE
    )
    also = [dict(override.split("=", 1) for override in line.split()) for line in heads["Also"]]
    sweeps = [
        {key: parse_choices(key, value) for key, value in sweep.items()}
        for sweep in [params, *also]
        if sweep
    ]
    return Experiment(
        name=path.stem,
        table=table[1] if table else None,
        title=table[2].replace("\n#", "") if table else "",
        headline=tuple(" ".join(heads["Headline"]).replace(",", " ").split()),
        needs=tuple(tuple(line.split()) for line in heads["Needs"]),
        sweeps=tuple(sweeps),
        settings=settings,
    )


def parse_choices(key: str, value: Any) -> list[str]:
    """The values of a sweep as Hydra reads them: `a,b`, `range(3)`, `choice(a,b)`, or one value."""
    override = OverridesParser.create().parse_override(f"{key}={value}")
    if override.is_sweep_override():
        return [
            {"True": "true", "False": "false"}.get(v, v) for v in override.sweep_string_iterator()
        ]
    return [override.get_value_element_as_str()]


def table_members(experiments: dict[str, Experiment]) -> dict[str, list[str]]:
    """Names of the experiments that belong to each table."""
    tables: dict[str, list[str]] = {}
    for experiment in experiments.values():
        if experiment.table:
            tables.setdefault(experiment.table, []).append(experiment.name)
    return tables
