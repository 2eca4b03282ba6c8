"""Finished runs become evidence; others are named and left out."""

import json
import runpy
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from gigp.errors import InputError
from gigp.lab.runs.compare import find_runs
from gigp.lab.runs.record import Record
from gigp.lab.runs.samples import write_samples
from gigp.lab.study.collect import collect, describe, select_targets
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.records import (
    read_all_samples,
    read_experiment_records,
    read_records,
    rounded,
    samples_path,
    write_records,
    write_samples_of,
)
from gigp.lab.study.tables.differences import sample_losses
from tests.conftest import ROOT
from tests.programs import run_program
from tests.records import example_record

EXPERIMENTS = read_experiments()
CHOICES = {"pool": "gigp", "scale": "medium", "experiment": "qm9_scratch"}
ERROR = np.linspace(-3, 3, 40, dtype=np.float32).reshape(20, 2)


def finish(runs: Path, name: str = "it", seed: int = 0, **fields) -> tuple[Path, Record]:
    """Folder and record of a finished run."""
    record = example_record(**{"name": name, "seed": seed, "choices": CHOICES} | fields)
    folder = runs / name / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(record.to_json(2))
    write_samples(folder / "test_samples.npz", {"error": ERROR})
    return folder, record


def test_errors_are_kept_on_the_targets_of_the_headline_alone():
    samples = {"error": ERROR}
    kept = select_targets(samples, ["zpve", "mu"], ("homo", "mu"))
    assert list(kept["targets"]) == ["mu"]
    np.testing.assert_array_equal(sample_losses(kept, ["zpve", "mu"])["mu"], np.abs(ERROR[:, 1]))
    for others in ((), ("homo",)):
        assert select_targets(samples, ["zpve", "mu"], others) is samples
    digits = {"predicted": np.arange(3), "label": np.arange(3)}
    assert select_targets(digits, ["error"], ("error",)) is digits


def test_runs_become_lines_and_arrays(tmp_path):
    runs, records = tmp_path / "runs", tmp_path / "records"
    (_, second), (_, first) = finish(runs, "b"), finish(runs, "a", 3)
    collected = collect(find_runs(runs), records, EXPERIMENTS)
    assert (len(collected.added), collected.unchanged, collected.refused) == (2, 0, {})
    assert read_records(records) == [first, second]
    assert (records / "qm9_scratch.jsonl").read_text().count("\n") == 2
    samples = read_all_samples(records, "qm9_scratch")
    assert samples.keys() == {("b", 0)}
    np.testing.assert_allclose(samples["b", 0]["error"], ERROR[::4, :1], rtol=2**-7)
    before = {path: path.read_bytes() for path in records.rglob("*.*")}
    again = collect(find_runs(runs), records, EXPERIMENTS)
    assert (again.added, again.unchanged) == ([], 2)
    assert before == {path: path.read_bytes() for path in records.rglob("*.*")}


def test_a_run_that_was_done_again_replaces_its_record(tmp_path):
    runs, records = tmp_path / "runs", tmp_path / "records"
    folder, record = finish(runs)
    finish(runs, "other")
    collect(find_runs(runs), records, EXPERIMENTS)
    (folder / "summary.json").write_text(replace(record, val_loss=0.5).to_json())
    collected = collect(find_runs(runs), records, EXPERIMENTS)
    assert collected.added == [folder]
    assert [r.val_loss for r in read_records(records)] == [0.5, 0.1]


def test_errors_are_kept_until_validation_has_chosen(tmp_path):
    """Of the first seed, those of all learning rates until it has run with each, then of the chosen
    one; the records stay.
    """
    runs, records = tmp_path / "runs", tmp_path / "records"
    experiment = EXPERIMENTS["qm9_e3_outputs"]
    losses = {"1e-4": 0.4, "3e-4": 0.3, "1e-3": 0.2, "3e-3": 0.25}

    def run_and_collect(seeds: Iterable[int], rates: Iterable[str]) -> set[tuple[str, int]]:
        for rate, seed in product(rates, seeds):
            choices = CHOICES | {"experiment": experiment.name}
            words = [f"lr={rate}"]
            finish(runs, rate, seed, overrides=words, val_loss=losses[rate], choices=choices)
        collect(find_runs(runs), records, EXPERIMENTS)
        return set(read_all_samples(records, experiment.name))

    assert run_and_collect([1], ["1e-3"]) == {("1e-3", 1)}
    assert run_and_collect([0], ["1e-4", "1e-3"]) == {("1e-4", 0), ("1e-3", 0)}
    first = samples_path(records, experiment.name, ("1e-3", 0))
    written = first.stat().st_mtime_ns
    assert run_and_collect([0], ["3e-4"]) == {("1e-4", 0), ("1e-3", 0), ("3e-4", 0)}
    assert run_and_collect([0], ["3e-3"]) == {("1e-3", 0)}
    assert run_and_collect(range(2, 5), ["1e-3"]) == {("1e-3", 0)}
    assert first.stat().st_mtime_ns == written  # once
    assert {record.name for record in read_records(records)} == losses.keys()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"choices": CHOICES | {"scale": "debug"}}, "scale=debug"),
        ({"choices": CHOICES | {"experiment": None}}, "belongs to no experiment"),
        ({"choices": CHOICES | {"experiment": "mine"}}, "no experiment mine in the study"),
        ({"git_dirty": True}, "changed and not committed"),
        ({"git_commit": None, "git_dirty": None}, "outside a git checkout"),
    ],
)
def test_what_is_no_evidence_is_named(tmp_path, fields, why):
    folder, _ = finish(tmp_path / "runs", **fields)
    collected = collect([folder], tmp_path / "records", EXPERIMENTS)
    assert why in collected.refused[folder]
    assert not (tmp_path / "records").exists()
    assert describe(collected, tmp_path)[0].startswith("left out runs/it/seed0: ")


@pytest.mark.parametrize("damage", ["summary.json", "test_samples.npz", "moved"])
def test_damaged_runs_are_named_and_others_kept(tmp_path, damage):
    runs, records = tmp_path / "runs", tmp_path / "records"
    folder, _ = finish(runs)
    _, whole = finish(runs, "whole")
    if damage == "moved":
        folder = folder.rename(folder.with_name("seed7"))
    else:
        (folder / damage).write_bytes((folder / damage).read_bytes()[:100])
    collected = collect(find_runs(runs), records, EXPERIMENTS)
    assert collected.refused.keys() == {folder}
    assert read_records(records) == [whole]


def test_damaged_evidence_is_not_overwritten(tmp_path):
    folder, record = finish(tmp_path / "runs")
    path = tmp_path / "records" / "qm9_scratch.jsonl"
    write_records(path, [replace(record, name="other")])
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(InputError, match=r"line 2 of .*qm9_scratch\.jsonl is damaged"):
        collect([folder], path.parent, EXPERIMENTS)
    path.write_text(2 * (record.to_json() + "\n"))
    with pytest.raises(InputError, match=r"line 2 of .* is a second record of it, seed 0"):
        read_experiment_records(path)
    write_samples_of(path.parent, "qm9_scratch", {("it", 0): {"error": ERROR}})
    errors = samples_path(path.parent, "qm9_scratch", ("it", 0))
    errors.write_bytes(errors.read_bytes()[:60])
    with pytest.raises(InputError, match="damaged"):
        read_all_samples(path.parent, "qm9_scratch")


@pytest.fixture
def collect_script(monkeypatch, capsys):
    """scripts/collect.py in this process: exit status and output."""

    def call(*arguments: str) -> tuple[int, str]:
        script = str(ROOT / "scripts" / "collect.py")
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(script, run_name="__main__")
        return int(end.value.code), capsys.readouterr().out

    return call


def test_the_script_tells_what_it_left_out(tmp_path, collect_script):
    debug, _ = finish(tmp_path / "runs", "debug", choices=CHOICES | {"scale": "debug"})
    finish(tmp_path / "runs")
    places = (f"--runs={tmp_path}/runs", f"--records={tmp_path}/records")
    code, said = collect_script(*places)
    assert code == 0
    assert said.splitlines()[-1] == "1 added, 0 unchanged, 1 left out."
    # asked for by its folder, it is an error
    assert collect_script(str(debug), *places)[0] == 1
    (debug / "summary.json").write_text("{")
    code, said = collect_script(*places)
    assert code == 1
    assert "is damaged" in said


def test_a_folder_of_runs_stands_for_them(tmp_path, collect_script):
    for seed in (0, 1):
        finish(tmp_path / "runs", seed=seed)
    records = f"--records={tmp_path}/records"
    for folder, end in (("runs/it", "2 added, 0 unchanged"), ("runs", "0 added, 2 unchanged")):
        code, said = collect_script(str(tmp_path / folder), records)
        assert code == 0
        assert end in said
    code, said = collect_script(str(tmp_path), records)
    assert code == 1
    assert f"left out {tmp_path}: it is not the folder of a run, .../NAME/seedK" in said


def test_errors_are_rounded_to_the_nearest():
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float16)
    near = rounded(values)
    relative = (near.astype(float) - values) / values
    assert np.abs(relative).max() <= 2**-7
    assert abs(relative.mean()) < 1e-4
    odd = np.array([0, np.inf, -np.inf, np.nan, 65504, -65504, 6e-8], np.float16)
    np.testing.assert_array_equal(np.isfinite(rounded(odd)), np.isfinite(odd))
    assert json.dumps(rounded(odd)[0].item()) == "0.0"


@pytest.mark.slow
def test_a_users_run_leaves_a_clone_clean(tmp_path):
    """Results of a user are his own: a debug run of an experiment of the study changes nothing."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--shared", str(ROOT), str(clone)], check=True)
    words = ["experiment=orbits_pools", "scale=debug", "logger=csv"]
    done = run_program(str(clone / "train.py"), *words, cwd=clone)
    assert done.returncode == 0, done.stderr
    assert len(find_runs(clone / "results" / "runs")) == 1
    status = subprocess.run(
        ["git", "status", "--short"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
