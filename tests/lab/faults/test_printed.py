"""Text from files is printed as text: no markup, no escape sequence, no formula."""

import io
from types import SimpleNamespace

import numpy as np
import pytest

from gigp.lab.commands import tell
from gigp.lab.data.text import table_cell
from gigp.lab.runs.compare import print_comparison
from gigp.lab.runs.console import TextConsole, print_record
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.record import Metric
from gigp.lab.runs.samples import write_predictions
from gigp.lab.training.progress import ProgressLine
from scripts.benchmark import report
from tests.records import example_record

EVIL = "[/red]:smile:[link=x]\x1b[2J\x9b31m"
SHOWN = r"[/red]:smile:[link=x]\x1b[2J\x9b31m"


@pytest.fixture
def page(monkeypatch):
    """What the console prints."""
    text = io.StringIO()
    console = TextConsole(file=text, width=300, force_terminal=True, color_system=None)
    monkeypatch.setattr("gigp.lab.runs.console.console", console)
    monkeypatch.setattr(report, "console", console)
    text.console = console
    return text


def assert_plain(page, times: int = 1) -> None:
    """Whether the text stands there as it is, and no sequence but those of a bar."""
    assert page.getvalue().count(SHOWN) >= times
    assert "\x1b[2J" not in page.getvalue()
    assert "\x9b" not in page.getvalue()


def evil_record():
    metric = Metric(unit=EVIL, kind=EVIL, test=1.0, val=1.0)
    data = {"dataset": EVIL, "split": EVIL, "split_hash": "0", "sizes": {"train": 1}}
    data["source"] = EVIL
    return example_record(name=EVIL, metrics={EVIL: metric}, data=data)


def test_record(page, tmp_path):
    print_record(evil_record(), RunFolder(tmp_path, EVIL, 0))
    assert_plain(page, 7)


def test_comparison(page):
    print_comparison([evil_record()], page.console)
    assert_plain(page, 3)


def test_benchmark(page):
    report.show_rows(EVIL, [{EVIL: EVIL}])
    assert_plain(page, 3)


def test_progress_of_a_run(page):
    module = SimpleNamespace(units={"homo": EVIL})
    trainer = SimpleNamespace(current_epoch=0, max_epochs=1, global_step=1)
    trainer.estimated_stepping_batches = 2
    trainer.callback_metrics = {"val/homo": 1.0, "train/loss": 1.0}
    line = ProgressLine(page.console)
    line.on_train_start(trainer, module)
    line.on_train_epoch_end(trainer, module)
    line.on_train_batch_end(trainer, module, {"loss": 1.0})
    line.teardown(trainer, module, "fit")
    assert_plain(page)


def test_errors(capsys):
    tell(f"Error: {EVIL}\nand more")
    assert capsys.readouterr().err == f"Error: {SHOWN}\nand more\n"


@pytest.mark.parametrize(
    "text", ["=1+1", "@SUM(A1)", "-cmd|' /C calc'!A0", "+A1", "\t=A1", "  =A1", "-", "=\x1b"]
)
def test_formula_is_quoted(text):
    cell = table_cell(text)
    assert cell.startswith("'")
    assert "\x1b" not in cell


@pytest.mark.parametrize("text", ["-1.5", "+1", "1.5e-3", "-inf", "CH4", "a=b", "", "[C@H]"])
def test_other_cells_stay(text):
    assert table_cell(text) == text


def test_table_of_test_samples(tmp_path):
    """Names and classes come from files."""
    data = SimpleNamespace(indices={"test": [0]}, kind="classification")
    data.sample_names, data.class_names = lambda _: ["=A1"], lambda: ["@SUM(A1)", EVIL]
    data.true_targets = lambda _: SimpleNamespace(numpy=lambda: np.array([1]))
    write_predictions(tmp_path / "x.csv", data, {"predicted": np.array([0])})
    text = (tmp_path / "x.csv").read_text()
    assert text == f"name,part,truth,prediction\n'=A1,test,{SHOWN},'@SUM(A1)\n"
