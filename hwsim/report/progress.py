"""Progress on the error stream: a bar with the time left on a terminal, a line per tenth in a file or a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_QUIET = 10  # seconds
_STEADY = 1.5  # paces of the last part and of the whole differ by less where an estimate can be trusted


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that updates the bar, or prints a line."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what)
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Callable[[int, int], None]:
    """At most ten lines; none for work that is done within ten seconds. Its time starts when nothing is done yet."""
    start, shown = time.monotonic(), 0
    last = 0.0, 0  # when a tenth began, and what was done then

    def advance(done: int, total: int) -> None:
        nonlocal start, shown, last
        if done == 0:
            start, shown, last = time.monotonic(), 0, (0.0, 0)
        spent = time.monotonic() - start
        if 10 * done // total == shown or done == total:
            return
        shown = 10 * done // total
        left = time_left((spent, done), last, total)
        last = spent, done
        if spent >= _QUIET:
            said = "" if left is None else f", about {left:,.0f} s left"
            print(f"{what}: {done:,} of {total:,}{said}", file=sys.stderr, flush=True)

    return advance


def time_left(now: tuple[float, int], last: tuple[float, int], total: int) -> float | None:
    """Seconds left at the pace of the last part; None where that is not yet the pace of the whole.

    Work that fills a table as it goes is slow at first: its first estimates would be many times too long.
    now, last: (seconds, done) since the start.
    """
    (spent, done), (before, some) = now, last
    recent = (spent - before) / max(1, done - some)
    whole = spent / done
    if some == 0 or not whole / _STEADY <= recent <= whole * _STEADY:
        return None
    return recent * (total - done)


def counted(advance: Callable[[int, int], None], total: int) -> Callable[[object], None]:
    """Counts what ends, and shows it every hundred; a run of hundreds of thousands is not slowed by its bar."""
    done = 0
    advance(0, total)  # what was searched for before took time of its own

    def one(_: object) -> None:
        nonlocal done
        done += 1
        if done % 100 == 0:
            advance(done, max(done, total))

    return one


def spoken(what: str, quiet: float = 2.0) -> Callable[[str], None]:
    """Names the step that begins, at most once in `quiet` seconds, and not in the first of them."""
    last = time.monotonic()

    def say(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= quiet:
            last = time.monotonic()
            print(f"{what}: {text}", file=sys.stderr, flush=True)

    return say
