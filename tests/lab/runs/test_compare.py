"""Runs are compared with those that differ in pool and seed alone."""

import runpy
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gigp.errors import InputError
from gigp.lab.runs.compare import (
    difference_text,
    find_runs,
    group_runs,
    print_comparison,
    read_runs,
    with_spread,
)
from gigp.lab.runs.record import Metric, Record
from tests.conftest import ROOT
from tests.records import example_record

DATA = {"dataset": "qm9", "split_hash": "abc", "sizes": {"train": 1000}}
CHOICES = {"dataset": "qm9", "scale": "small", "experiment": None}


def run(pool: str, seed: int, test: float, **fields) -> Record:
    metric = Metric(unit="meV", kind="intensive", test=test, val=test)
    values = {"metrics": {"homo": metric}, "data": DATA, "choices": CHOICES | {"pool": pool}}
    return example_record(**{"seed": seed, **values, **fields})


def shown(records: list[Record]) -> str:
    console = Console(record=True, width=160, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        print_comparison(records, console)
    return capture.get()


def test_one_table_by_pool_with_the_paired_difference_to_the_first():
    records = [run(p, s, 100 + 10 * (p == "mean") + s) for p in ("gigp", "mean") for s in (0, 1, 2)]
    text = shown(records)
    assert "qm9, split abc, backbone T(3), pool_on outputs, 1,000 samples x 2 epochs" in text
    lines = {line.split("│")[3].strip(): line for line in text.splitlines() if "meV" in line}
    assert list(lines) == ["gigp", "mean"]
    assert "101.0 ± 1" in lines["gigp"]
    assert "111.0 ± 1" in lines["mean"]
    assert "0,1,2" in lines["mean"]
    assert "+10 ± 0 (3 pairs)" in lines["mean"]
    assert "minus gigp" in text


def test_baselines_of_own_molecules_stand_above():
    data = DATA | {"baselines": {"mean": {"homo": 400.0}, "counts": {"homo": 250.25}}}
    lines = [line for line in shown([run("gigp", 0, 100.0, data=data)]).splitlines() if "│" in line]
    assert ["no network: mean" in lines[0], "400" in lines[0]] == [True, True]
    assert ["no network: elements" in lines[1], "250.2" in lines[1]] == [True, True]
    assert "gigp" in lines[2]


def test_only_common_seeds_are_paired():
    text = shown([run("gigp", 0, 100.0), run("gigp", 1, 200.0), run("mean", 1, 201.5)])
    assert "+1.5 (1 pair)" in text
    assert "no common seed" in shown([run("gigp", 0, 100.0), run("mean", 1, 90.0)])


def test_runs_that_differ_in_more_than_the_pool_have_tables_of_their_own():
    other_data = DATA | {"split_hash": "def"}
    records = [
        run("gigp", 0, 1.0),
        run("mean", 0, 1.0, overrides=["lr=0.1"]),
        run("mean", 0, 1.0, data=other_data),
        run("gigp", 0, 1.0, overrides=["pool.orbits=5"]),
        run("mean", 0, 1.0, init_from="runs/it/seed0"),
        run("gigp", 1, 1.0, init_from="runs/it/seed1"),
    ]
    groups = list(group_runs(records).values())
    assert [list(runs) for runs in groups] == [
        ["gigp", "gigp, orbits=5"],
        ["mean"],
        ["mean"],
        ["mean", "gigp"],
    ]


@pytest.mark.parametrize(
    ("values", "text"),
    [([1.23456], "1.235"), ([1.0, 3.0], "2.0 ± 1.4"), ([5.0, 5.0], "5 ± 0")],
)
def test_mean_and_spread(values, text):
    assert with_spread(values) == text


def test_differences_have_a_sign():
    assert difference_text([-1.0, -3.0]) == "-2 ± 1.4 (2 pairs)"


def test_the_script_reads_folders(tmp_path, monkeypatch, capsys):
    def call(*arguments: str) -> str:
        script = str(ROOT / "scripts" / "compare.py")
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out

    folders = [tmp_path / pool / "seed0" for pool in ("a", "b")]
    for folder, pool in zip(folders, ("gigp", "mean"), strict=True):
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(run(pool, 0, 100.0).to_json())
    for arguments in ([str(f) for f in folders], [f"--results-dir={tmp_path}"]):
        assert "mean" in call(*arguments)
    with pytest.raises(SystemExit, match="no finished runs below"):
        call(f"--results-dir={tmp_path / 'none'}")
    with pytest.raises(InputError, match="holds no finished run"):
        read_runs([Path(tmp_path)])
    (folders[0] / "summary.json").write_text("{}")
    with pytest.raises(SystemExit, match="is damaged"):
        call(*map(str, folders))


def test_copies_of_run_folders_are_left_out(tmp_path: Path):
    for name in ("seed0", "seed1", "seed0 (copy)", "seeds"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "summary.json").touch()
    assert [folder.name for folder in find_runs(tmp_path)] == ["seed0", "seed1"]
