"""A bar with the time left, on a terminal alone, where more than five seconds of work are ahead."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gigp.errors import printable

LONG = 5.0  # seconds of work ahead, below which nothing is shown
FIRST = 0.5  # seconds of work before an estimate
Item = TypeVar("Item")
Advance = Callable[[float], None]

_read = [0.0]  # bytes that readers of files have reported since the program began


def report_read(num: float) -> None:
    """Tell that so many bytes of an input were read, for a bar over files."""
    _read[0] += num


class Bar:
    """One piece of work.

    Args:
        what: what is done, as `Reading molecules.xyz`.
        total: amount of work in any unit; 0 where it is not known: the bar then has no end.
    """

    def __init__(self, what: str, total: float) -> None:
        self.what, self.total, self.done = what, total, 0.0
        self.began, self.may_show = time.monotonic(), _on_terminal()
        self.bar: Progress | None = None

    def advance(self, amount: float = 1) -> None:
        """Tell that so much more is done."""
        self.done += amount
        if self.bar is None and self.may_show and self._is_long():
            text = TextColumn("{task.description}", markup=False)
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            console = Console(stderr=True, emoji=False, highlight=False)
            self.bar = Progress(text, BarColumn(), *times, console=console, transient=True)
            self.job = self.bar.add_task(printable(self.what), total=self.total or None)
            self.bar.start()
        if self.bar is not None:
            self.bar.update(self.job, completed=self.done)

    def stop(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()

    def _is_long(self) -> bool:
        """Whether much is ahead, by what is done so far."""
        passed = time.monotonic() - self.began
        if not self.total:
            return passed > LONG
        ahead = passed * (self.total / max(self.done, 1e-9) - 1)
        return passed > FIRST and ahead > LONG


def _on_terminal() -> bool:
    """Whether standard error is a terminal; what the environment asks of colors does not count."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress(what: str, total: float) -> Iterator[Advance]:
    """A bar over the block, which calls what it gets with every amount of work that is done; see
    `Bar`.
    """
    bar = Bar(what, total)
    try:
        yield bar.advance
    finally:
        bar.stop()


def track(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """The items, with a bar over the work on them."""
    with progress(what, total) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def reading(what: str, total: float) -> Iterator[Callable[[], None]]:
    """A bar over files that are read within the block, which calls what it gets whenever what was
    read so far is worked on.

    Args:
        total: bytes of the files.
    """
    before = [_read[0]]
    with progress(what, total) as advance:

        def catch_up() -> None:
            advance(_read[0] - before[0])
            before[0] = _read[0]

        yield catch_up
