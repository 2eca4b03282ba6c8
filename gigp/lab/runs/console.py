"""Output of a run on the terminal, by the first of several processes only."""

import io
import sys
from contextlib import suppress
from types import NoneType
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gigp.errors import printable
from gigp.lab.runs.quiet import quiet_libraries
from gigp.lab.runs.record import Record

if TYPE_CHECKING:
    from gigp.lab.runs.folder import RunFolder


class TextConsole(Console):
    """A console that prints text as it is: no markup, emoji or colors by content, and control
    characters, which may come from a file, as escapes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text, keep="\t\n"), **options)


console = TextConsole()
# columns of the baselines that a record of molecules of one's own has
HEADS = {"mean": "mean", "counts": "elements", "moments": "+ r^2", "shells": "+ shells"}
WITHOUT_NETWORK = (
    "Errors without a network: the mean of the training set; least squares on the number of atoms "
    "of each element, with the sum of their r^2, with 25 shells of radii."
)


def quiet(rank: int = 0) -> None:
    """Silence Lightning's tips, the warnings about intended behavior, and all but the first of
    several processes.

    Args:
        rank: number of this process.
    """
    console.quiet = rank > 0
    quiet_libraries()


class LossyStream:
    """A stream that drops what cannot be written, as on a full disk or into a closed pipe."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def outlive_log() -> None:
    """Let this process go on when its output cannot be written: its results are in files."""
    for name in ("stdout", "stderr"):
        if not isinstance(stream := getattr(sys, name), LossyStream | NoneType):
            setattr(sys, name, LossyStream(stream))


class LabelledLines(io.TextIOBase):
    """A stream that begins every line with a label."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO, label: str) -> None:
        self.stream, self.label, self.rest = stream, label, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        self.stream.write("".join(f"{self.label}{line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def label_lines(label: str) -> None:
    """Begin every line of a run with a label, where several runs share a terminal."""
    console.file = LabelledLines(sys.stdout, label)  # type: ignore[assignment]


def print_record(record: Record, folder: "RunFolder") -> None:
    """Print a table of the test metrics, and the path of the record."""
    data = record.data
    title = f"{record.name}, seed {record.seed}"
    turned = [f"{record.rotations} rotations", "spread over them"] if record.rotations else []
    baselines = {
        name: data["baselines"][name] for name in HEADS if name in data.get("baselines", {})
    }
    heads = ["metric", "test", *turned, *(HEADS[name] for name in baselines), "unit", "kind"]
    table = Table(*heads, title=title, title_justify="left")
    for name, metric in record.metrics.items():
        values = [metric.test, *([metric.averaged, metric.spread] if turned else [])]
        values += [errors[name] for errors in baselines.values()]
        table.add_row(name, *(f"{value:.4g}" for value in values), metric.unit, metric.kind)
    console.print(table)
    if baselines:
        console.print(WITHOUT_NETWORK)
    sizes = " / ".join(f"{size:,}" for size in data["sizes"].values())
    lines = {
        "split": f"{data.get('split')} ({data.get('split_hash')}): {sizes} for train / val / test",
        "source": data.get("source"),
        "parameters": f"{record.parameters:,}",
        "time": f"{record.seconds:.0f} s, {record.samples_per_second:.0f} samples/s",
        "record": folder.path,
    }
    for name, value in lines.items():
        console.print(f"{name:11} {value}")
