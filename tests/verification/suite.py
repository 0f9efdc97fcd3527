"""A suite: rows of one kind that take too long for every change, and the sources that they depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Row:
    """One line of a table, whether it is as it must be, and the CPU time it took."""

    cells: tuple[str, ...]
    good: bool
    cpu_seconds: float


@dataclass(frozen=True)
class Suite:
    """Rows of one kind.

    name:     of the suite.
    about:    what is shown, for the log.
    work:     from a row's name to the row.
    names:    of the rows.
    module:   the module whose imports are the suite's sources.
    also:     modules that it runs in another process.
    data:     files that it reads, as patterns.
    packages: distributions whose versions are recorded with a pass.
    missing:  what has to be installed on this machine; empty where nothing is.
    """

    name: str
    about: str
    work: Callable[[str], Row]
    names: tuple[str, ...]
    module: str
    also: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    packages: tuple[str, ...] = ("amaranth",)
    missing: Callable[[], str] = str

    def tools(self) -> str:
        """The versions to record."""
        return ", ".join(f"{name} {version(name)}" for name in self.packages)
