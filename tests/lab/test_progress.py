"""A bar on a terminal, where much is ahead; elsewhere nothing."""

import gzip
import io
import sys

import pytest

from gigp.lab import progress
from gigp.lab.data.text import stream_lines, text_size
from gigp.lab.molecules.readers.table import read_csv
from gigp.lab.progress import reading, report_read, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass with every step of work."""
    now = [0.0]

    def work(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return work


def shown(monkeypatch, clock, seconds: float, stream: io.StringIO, steps: int = 10) -> str:
    """What is printed on standard error over some steps that take so long each."""
    monkeypatch.setattr(sys, "stderr", stream)
    for _ in track(range(steps), "Reading [red]a.xyz\x1b", steps):
        clock(seconds)
    return stream.getvalue()


def test_a_bar_where_more_than_five_seconds_are_ahead(monkeypatch, clock):
    text = shown(monkeypatch, clock, 1.0, Terminal())
    assert "[red]a.xyz\\x1b" in text  # as it is: no markup, no control characters
    assert "left" in text


@pytest.mark.parametrize(("seconds", "steps"), [(0.4, 10), (0.0, 10), (100.0, 1)])
def test_none_where_little_is_ahead(monkeypatch, clock, seconds, steps):
    assert shown(monkeypatch, clock, seconds, Terminal(), steps) == ""


def test_none_without_a_terminal(monkeypatch, clock, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert shown(monkeypatch, clock, 100.0, io.StringIO()) == ""
    monkeypatch.setattr(sys, "stderr", None)
    assert [*track(range(3), "Reading", 3)] == [0, 1, 2]
    assert capsys.readouterr().out == ""


def test_a_bar_without_an_end(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    for _ in track(range(7), "Fetching", 0):
        clock(1.0)
    assert "Fetching" in stream.getvalue()


def test_bytes_of_files_are_counted(tmp_path, monkeypatch):
    """What readers report within the block, and not what was read before."""
    counts: list[float] = []
    monkeypatch.setattr(progress.Bar, "advance", lambda self, amount: counts.append(amount))
    (path := tmp_path / "a.xyz").write_text("1\n\nH 0 0 0\n" * 50)
    report_read(17)
    with reading("Reading", text_size(path)) as catch_up:
        for _ in stream_lines(path):
            catch_up()
    assert sum(counts) == text_size(path) == path.stat().st_size

    (table := tmp_path / "a.csv").write_text("molecule,element,x,y,z\na,H,0,0,0\nb,H,0,0,0\n")
    counts.clear()
    with reading("Reading", text_size(table)) as catch_up:
        for _ in read_csv(table):
            catch_up()
    assert counts == [text_size(table) / 2] * 2  # by molecule, though all are read first
    packed = tmp_path / "a.xyz.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert text_size(packed) == text_size(path)
    assert text_size(tmp_path / "nothing.gz") == 0
