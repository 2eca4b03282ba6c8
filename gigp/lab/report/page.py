"""The report of a run, from its record, its data, and the results of its test samples."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gigp.errors import first_line, needs_extra
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.files import write_atomically
from gigp.lab.images.baselines import image_errors
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.molecules.atoms import COLORS
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.report.results import (
    BASELINE,
    baseline_errors,
    by_size_and_elements,
    confusion,
    on_host,
    tested_data,
    true_values,
    worst_molecules,
    wrong_images,
)
from gigp.lab.runs.record import Record
from gigp.lab.web import render

log = logging.getLogger(__name__)

Samples = Mapping[str, np.ndarray]
Section = dict[str, Any]
SECTIONS = (  # what a page may have of the results of a test, by the kind of its data
    *("molecules", "baselines", "fit", "parity", "targets", "groups", "worst", "colors"),
    *("classes", "confusion", "wrong"),
)
MOST_PRODUCTS = 3e10  # of a fit to images: seconds
MOST_CLASSES = 30  # of a table of confusions


class Report(NamedTuple):
    """A page, and its drawings by name, as SVG."""

    html: str
    pictures: dict[str, str]


def report_on(
    path: Path, record: Record, data: PointCloudDataModule, samples: Samples
) -> dict[str, str]:
    """Write the report of a run that has just ended, and return its drawings. If that fails, a
    warning says so, and nothing else happens.

    Args:
        path: file of the page.
        record, data, samples: see `make_report`.
    """
    try:
        report = make_report(record, data, samples)
        write_atomically(path, report.html)
        return report.pictures
    except Exception as error:  # a page is no reason to lose a run
        log.warning(
            "Warning: %s could not be made (%s: %s); gigp-report makes it again.",
            path.name,
            type(error).__name__,
            first_line(error),
        )
        return {}


def make_report(
    record: Record,
    data: PointCloudDataModule | None,
    samples: Samples | None,
    lacking: str = "",
) -> Report:
    """The report of a finished run.

    Args:
        record: its record.
        data: its data set, set up; None: what needs it is left out.
        samples: results of its test samples, see `gigp.lab.runs.samples`; None: as without data.
        lacking: why there are no data or samples.
    """
    with needs_extra("train"):
        from gigp.lab.report.figures import draw_orbits

    results = dict.fromkeys(("kind", *SECTIONS))
    if data is not None and samples is not None:
        results |= _results(on_host(tested_data(data)), samples)
    pictures = _curves({"": record}, results["baselines"] or {}) | (results.pop("parity") or {})
    if "response" in record.learned:
        pictures["orbits"] = draw_orbits({"": record.learned})
    html = render(
        __package__,
        "report.html.j2",
        record=record,
        title=f"{record.name}, seed {record.seed}",
        what=_what(record),
        metrics=_metrics(record, results),
        results=results,
        pictures=pictures,
        lacking=lacking,
    )
    return Report(html, pictures)


def compare_runs(records: Mapping[str, Record]) -> str:
    """A page with finished runs side by side: errors, what differs between them, curves, orbits.

    Args:
        records: by a name for each.
    """
    with needs_extra("train"):
        from gigp.lab.report.figures import draw_orbits

    lettered = dict(zip(letters(len(records)), records.values(), strict=True))
    learned = {name: r.learned for name, r in lettered.items() if "response" in r.learned}
    pictures = _curves(lettered, {}) | ({"orbits": draw_orbits(learned)} if learned else {})
    rows = {name: dict(_what(record)) for name, record in records.items()}
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    lines = [(key, [row.get(key, "") for row in rows.values()]) for key in keys]
    metrics = dict.fromkeys(name for record in records.values() for name in record.metrics)
    table = [(name, [record.metrics.get(name) for record in records.values()]) for name in metrics]
    return render(
        __package__,
        "comparison.html.j2",
        names=[f"{letter}: {name}" for letter, name in zip(lettered, records, strict=True)],
        table=table,
        differing=[(key, values) for key, values in lines if len({*values}) > 1],
        shared=[(key, values[0]) for key, values in lines if len({*values}) == 1],
        pictures=pictures,
    )


def letters(num: int) -> list[str]:
    """A, B, ..., Z, A2, B2, ...: short names in the legends of drawings."""
    return [chr(65 + i % 26) + (str(i // 26 + 1) if i >= 26 else "") for i in range(num)]


def _curves(records: Mapping[str, Record], baselines: Mapping[str, float]) -> dict[str, str]:
    """Learning curves that all the runs have: the loss, and the error of every target."""
    from gigp.lab.report.figures import draw_curves

    curves = {name: record.curve for name, record in records.items()}
    units = {name: m.unit for record in records.values() for name, m in record.metrics.items()}
    return {
        f"curves/{name}": draw_curves(
            curves, f"val/{name}", units.get(name, ""), baselines.get(name)
        )
        for name in ("loss", *units)
        if all(f"val/{name}" in curve for curve in curves.values())
    }


def _what(record: Record) -> list[tuple[str, str]]:
    """What was run, as names and texts."""
    data, choices = record.data, {k: v for k, v in record.choices.items() if v}
    sizes = " / ".join(f"{size:,}" for size in data["sizes"].values())
    commit = (record.git_commit or "unknown")[:12] + (", changed" if record.git_dirty else "")
    minutes = f"{record.seconds / 60:.1f} min, {record.seconds_per_epoch:.3g} s an epoch"
    rows = {
        "choices": ", ".join(f"{key}={value}" for key, value in choices.items()),
        "further settings": ", ".join(record.overrides),
        "data": f"{data['dataset']} ({data.get('source', '')})",
        "train / validation / test": sizes,
        "split": f"{data.get('split', '')} ({data.get('split_hash', '')})",
        "backbone": f"{record.backbone_group}; {_settings(record.backbone)}",
        "pool": f"{record.pool_group or 'no group'}, on {record.pool_on}; {_settings(record.pool)}",
        "training": f"{record.epochs} epochs, {record.steps:,} steps, learning rate {record.lr:g}, "
        f"warmup {record.warmup:g}; tested: epoch {record.best_epoch + 1} ({record.select})",
        "started from": record.init_from or "",
        "parameters": f"{record.parameters:,}, of which {record.trainable_parameters:,} trained",
        "time": f"{minutes}, {record.samples_per_second:,.0f} samples/s",
        "memory": f"{record.peak_memory_mb:,.0f} MB",
        "device": f"{record.device}; {_number(record.threads, 'thread')}, "
        + _number(record.processes, "process"),
        "code": f"commit {commit}; " + ", ".join(f"{k} {v}" for k, v in record.versions.items()),
        "checkpoint": (record.checkpoint or "")[:12],
    }
    return [(key, text) for key, text in rows.items() if text]


def _number(count: int, noun: str) -> str:
    """`1 thread`, `2 processes`."""
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def _settings(section: Mapping[str, Any]) -> str:
    """Settings of a part of the model in a line."""
    return ", ".join(f"{key}={value}" for key, value in section.items() if value is not None)


def _metrics(record: Record, results: Section) -> list[Section]:
    """Rows of the table of errors."""
    baselines = results["baselines"] or {}
    return [
        {"name": name, "metric": metric, "baseline": baselines.get(name)}
        for name, metric in record.metrics.items()
    ]


def _results(data: PointCloudDataModule, samples: Samples) -> Section:
    """What needs the data: by kind, `regression` or `classification`."""
    if data.kind == "classification":
        return _classes(data, samples)
    from gigp.lab.report.figures import draw_parity

    errors = samples["error"].astype(np.float64)
    truth, reduced = true_values(data)
    molecules = isinstance(data, MoleculeClouds)
    fit = baseline_errors(data) if isinstance(data, MoleculeClouds) else None
    parity, baselines = {}, {}
    for t, target in enumerate(data.targets):
        known = np.isfinite(truth[:, t]) & np.isfinite(errors[:, t])
        if not known.any():
            continue
        true = truth[known, t]
        predicted = {"this run": true + errors[known, t]}
        if fit is not None:
            predicted["least squares"] = true + fit[known, t]
            baselines[target.name] = float(np.abs(fit[known, t]).mean())
        parity[f"parity/{target.name}"] = draw_parity(
            target.name + " - atoms" * reduced[t], target.unit, true, predicted
        )
    section: Section = {"kind": "regression", "parity": parity, "baselines": baselines}
    section |= {"molecules": molecules, "targets": [target.name for target in data.targets]}
    if isinstance(data, MoleculeClouds):
        sizes, elements = by_size_and_elements(data, errors)
        section |= {"groups": {"heavy atoms": sizes, "elements": elements}, "fit": BASELINE}
        section |= {"worst": worst_molecules(data, errors), "colors": COLORS}
    return section


def _classes(data: PointCloudDataModule, samples: Samples) -> Section:
    """Confusions and wrong images."""
    classes: Sequence[str] = data.class_names()
    section: Section = {"kind": "classification", "classes": classes}
    if len(classes) <= MOST_CLASSES:
        section["confusion"] = confusion(samples, len(classes))
    if isinstance(data, ImageClouds):
        name = "least squares on the pixels"
        section |= {"wrong": wrong_images(data, samples), "fit": name}
        if len(data.indices["train"]) * len(data.points) ** 2 < MOST_PRODUCTS:
            section["baselines"] = {"error": image_errors(data)[name]["error"]}
    return section
