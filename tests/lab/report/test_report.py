"""Reports of runs: what they show, what they leave out, and that none of it fails a run."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.commands.report import main
from gigp.lab.molecules.baselines import molecule_errors
from gigp.lab.report import page as report_page
from gigp.lab.report.page import compare_runs, make_report, report_on
from gigp.lab.report.results import baseline_errors, by_size_and_elements, true_values
from gigp.lab.report.stored import comparison_of, report_of
from gigp.lab.runs.record import Metric
from tests.records import example_record

LEARNED = {"center": [0.0, 1.0], "weight": [1.0, 0.9], "response": [1.0, 0.5]}
EVIL = "<script>alert(1)</script>"


def molecules(qm9, num: int = 80):
    """A few molecules of every part of QM9, with two targets."""
    data, chosen = copy.copy(qm9), [indices[:num] for indices in qm9.indices.values()]
    data.targets, rows = (qm9.targets[2], qm9.targets[7]), torch.cat(chosen)  # homo, U0
    data.values, data.whole = qm9.values[rows][:, [2, 7]], qm9.whole[rows][:, [2, 7]]
    data.charges, data.positions, data.mask = (
        array[rows] for array in (qm9.charges, qm9.positions, qm9.mask)
    )
    data.indices = dict(zip(qm9.indices, torch.arange(len(rows)).split(num), strict=True))
    return data


@pytest.fixture(scope="module")
def errors() -> np.ndarray:
    """Of 80 test molecules: the first is far off."""
    drawn = np.random.default_rng(0).normal(size=(80, 2)) * [50, 20]
    drawn[0] = 3000, -1000
    return drawn.astype(np.float32)


def record(**fields):
    """The record of a run on homo and U0."""
    metrics = {
        "homo": Metric("meV", "intensive", 100.0, 99.0),
        "U0": Metric("meV", "extensive", 20.0, 21.0, averaged=19.0, spread=3.0),
    }
    curve = {"epoch": [0.0, 1.0], "train/loss": [1.0, 0.5], "val/loss": [1.1, 0.6]}
    curve |= {"val/homo": [120.0, 99.0], "val/U0": [30.0, 21.0]}
    sizes = {"train": 80, "val": 80, "test": 80}
    data = {"dataset": "qm9", "sizes": sizes, "split_hash": "abc", "split": "cormorant"}
    given = {"metrics": metrics, "curve": curve, "learned": LEARNED, "data": data, "rotations": 24}
    return example_record(**(given | fields))


@pytest.fixture(scope="module")
def report(qm9, errors):
    return make_report(record(), molecules(qm9), {"error": errors})


def test_what_a_report_of_molecules_shows(report):
    html = report.html
    for heading in (
        *("Errors", "Learning curves", "Predicted against true", "Error by kind of molecule"),
        *("The worst test molecules", "What the pool learned", "What was run"),
    ):
        assert f"<h2>{heading}</h2>" in html, heading
    assert html.count("<svg") == len(report.pictures) + 10
    assert "cormorant (abc)" in html
    assert "000000000000" in html  # the commit
    assert "24 rotations" in html
    assert len(html) < 300_000
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)|url\((?!#)""", html)


def test_drawings_have_the_names_that_wandb_shows(report):
    curves = ["curves/loss", "curves/homo", "curves/U0"]
    assert [*report.pictures] == [*curves, "parity/homo", "parity/U0", "orbits"]
    assert all(svg.startswith("<svg") for svg in report.pictures.values())
    assert "#0102" not in "".join(report.pictures.values())


def test_the_baseline_is_the_fit_that_tables_have(qm9, errors):
    data = molecules(qm9)
    found = np.abs(baseline_errors(data)).mean(0)
    expected = molecule_errors(data, ["counts"])["counts"]
    assert found == pytest.approx([*expected.values()], rel=1e-6)


def test_energies_are_shown_without_what_counting_atoms_explains(qm9):
    truth, reduced = true_values(molecules(qm9))
    assert reduced == [False, True]
    assert truth[:, 0].mean() == pytest.approx(-6500, abs=300)
    assert np.abs(truth[:, 1]).max() < 2e5


def test_errors_by_size_and_element(qm9, errors):
    data = molecules(qm9)
    errors = np.ones_like(errors)
    heavy = (data.charges[data.indices["test"]] > 1).sum(1).numpy()
    errors[heavy == 9] = 3
    errors[0] = np.nan  # not known
    sizes, elements = by_size_and_elements(data, errors)
    groups = {group.name: group for group in sizes}
    assert groups["9"].num == (heavy == 9).sum()
    assert groups["9"].ratios[0] > 1 > groups["8"].ratios[0]
    assert {group.name for group in elements} >= {"H", "C", "O"}


def test_classes_have_confusions_and_wrong_images(digits):
    label = digits.labels[digits.indices["test"]].numpy()
    predicted = label.copy()
    predicted[:40] = (label[:40] + 1) % 10
    data = {"dataset": "rotmnist", "sizes": {"train": 10, "test": len(label)}}
    metrics = {"error": Metric("%", "classification", 4.0, 4.0)}
    curve = {"epoch": [0.0], "train/loss": [1.0], "val/loss": [1.0], "val/error": [4.0]}
    one = record(data=data, metrics=metrics, curve=curve, learned={}, rotations=0)
    html = make_report(one, digits, {"label": label, "predicted": predicted}).html
    assert "<h2>Confusions</h2>" in html
    assert html.count("<img ") == 24
    assert "Predicted against true" not in html


def test_text_is_escaped(qm9, errors):
    data = molecules(qm9)
    data.targets = tuple(replace(t, name=f"{EVIL}$x{i}$") for i, t in enumerate(data.targets))
    data.sample_names = lambda indices: [EVIL] * len(indices)
    one = record(
        name=EVIL, overrides=[EVIL], init_from=EVIL, versions={EVIL: EVIL}, learned=LEARNED
    )
    html = make_report(one, data, {"error": errors}).html
    html += compare_runs({EVIL: one, "b": record()})
    assert EVIL not in html
    assert html.count("&lt;script&gt;") > 10
    assert "$x0$" in html  # no formula


def test_a_report_that_fails_fails_no_run(tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError("all\nwrong")

    monkeypatch.setattr(report_page, "make_report", broken)
    assert report_on(tmp_path / "report.html", record(), None, {}) == {}
    (line,) = caplog.messages
    assert line == (
        "Warning: report.html could not be made (ZeroDivisionError: all); gigp-report makes it "
        "again."
    )
    monkeypatch.undo()
    assert report_on(tmp_path / "nowhere" / "report.html", record(), None, {}) == {}


def test_runs_side_by_side(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lr in (("a b=c", 1e-3), ("other", 3e-3)):
        folder = tmp_path / name / "seed0"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(record(name=name, lr=lr).to_json())
    main(["a b=c/seed0", "other/seed0"])
    html = (tmp_path / "report.html").read_text()
    assert "report.html: " in capsys.readouterr().err
    differs = html[html.index("<h2>What differs") : html.index("<h2>What is the same")]
    assert "learning rate 0.001" in differs
    assert "cormorant" not in differs
    assert "a b=c/seed0" in differs
    with pytest.raises(InputError, match="a run is given twice"):
        comparison_of([tmp_path / "other" / "seed0"] * 2)


def test_a_run_whose_data_are_gone_has_a_report_without_them(tmp_path, capsys):
    folder = tmp_path / "one" / "seed0"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(record().to_json())
    main([str(folder), "--out", str(tmp_path / "o.html")])
    html = (tmp_path / "o.html").read_text()
    assert "the worst are left out: " in html
    assert "Learning curves" in html
    assert "Predicted against true" not in html


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "Error: nowhere holds no finished run; give folders as results/runs/NAME"),
        (["a", "b"], "Error: a holds no finished run"),
    ],
)
def test_command_lines_that_are_refused(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        main(words)


def test_a_report_of_a_finished_run_is_that_of_its_data(qm9, errors):
    """Half-precision errors, as files have them, and targets that some samples lack."""
    data = molecules(qm9)
    data.whole = data.whole.clone()
    data.whole[data.indices["test"][:3], 0] = torch.nan
    data.values = data.values.clone()
    data.values[data.indices["test"][:3], 0] = torch.nan
    half = errors.astype(np.float16)
    half[:3, 0] = np.nan
    assert "parity/homo" in make_report(record(), data, {"error": half}).pictures


def test_no_finished_run(tmp_path):
    with pytest.raises(InputError, match="holds no finished run"):
        report_of(tmp_path)
