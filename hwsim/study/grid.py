"""The results of a study as a grid: the choice of x axis, series and panels, and the numbers on each axis."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.quantities import EXAMPLES, quantity
from hwsim.result import SCHEMA
from hwsim.study.record import read_points
from hwsim.study.work import GRID, POINTS

NAMES = {
    "machine.dram.bandwidth": "memory bandwidth",
    "machine.regenerate.rate": "regenerators (seed blocks per cycle)",
    "machine": "machine",
    "model": "model",
    "run.batch": "batch (sequences)",
    "run.context": "context (tokens)",
    "run.weights": "weights",
}
_FIRST = ("run.batch", "run.context")
_MOST_SERIES, _PANELS = 12, 3

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a study, with its values as they are in the study file."""

    path: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Its label in figures."""
        return NAMES.get(self.path, self.path.partition(".")[2].replace("_", " ") or self.path)

    @property
    def numbers(self) -> tuple[float, ...] | None:
        """The values as numbers in the base unit; None if one is neither a number nor a quantity."""
        known = [n for n in map(number, self.values) if n is not None]
        return tuple(known) if len(known) == len(self.values) else None

    def label(self, value: Any) -> str:
        """A short label of one value."""
        if isinstance(value, dict):
            rest = value.get("default", "")
            return ", ".join(f"{f} {k}" for k, f in value.items() if k != "default") + (f" + {rest}" if rest else "")
        unit = " block/cycle" if self.path == "machine.regenerate.rate" else ""  # the name of the axis gives the unit
        return f"{value:,}" if isinstance(value, int) else str(value).removesuffix(unit)


@dataclass(frozen=True, slots=True)
class Grid:
    """The finished points of a study by their settings.

    x: the axis along x (None: no axis has numbers); series: the axis of the lines or bars; panels: the other axes.
    """

    name: str
    description: str
    source: str
    version: str
    axes: tuple[Axis, ...]
    lines: dict[tuple[int, ...], Line]
    failed: tuple[Line, ...]
    missing: int

    @property
    def x(self) -> Axis | None:
        """Batch or context if the study varies one of them, else the longest axis of numbers."""
        found = [a for a in self.axes if a.numbers and len(a.values) > 1]
        return next((a for p in _FIRST for a in found if a.path == p), max(found, key=_size, default=None))

    def along_x(self) -> tuple[Axis, tuple[float, ...]]:
        """x and the numbers on it, for tables and figures over x; only a grid that has this axis gets them."""
        axis = self.x
        assert axis is not None and axis.numbers is not None, "a study without an axis of numbers has no figure over x"
        return axis, axis.numbers

    @property
    def series(self) -> Axis | None:
        """The first axis of names, else the first axis of any kind other than x."""
        rest = [a for a in self.axes if a != self.x and 1 < len(a.values) <= _MOST_SERIES]
        return next((a for a in rest if not a.numbers), rest[0] if rest else None)

    @property
    def others(self) -> tuple[Axis, ...]:
        """Axes that are neither x nor series."""
        return tuple(a for a in self.axes if a not in (self.x, self.series))

    def panels(self, most: int = _PANELS) -> list[dict[str, int]]:
        """At most `most` choices on the other axes: first, middle, last of the longest axis, middle of the others."""
        choice = {a.path: len(a.values) // 2 for a in self.others}
        wide = max(self.others, key=_size, default=None)
        if wide is None:
            return [{}]
        return [choice | {wide.path: i} for i in ends(len(wide.values), most)]

    def title(self, panel: dict[str, int]) -> str:
        """The title of a panel: its choice on the other axes."""
        return ", ".join(f"{a.name} {a.label(a.values[panel[a.path]])}" for a in self.others if len(a.values) > 1)

    def at(self, panel: dict[str, int]) -> Iterator[tuple[int, int, Line]]:
        """(series index, x index, line) of the finished points of a panel, in order."""
        for choice, line in self.lines.items():
            place = {a.path: i for a, i in zip(self.axes, choice, strict=True)}
            if all(place[path] == i for path, i in panel.items()):
                yield (place[self.series.path] if self.series else 0), (place[self.x.path] if self.x else 0), line


def _size(axis: Axis) -> int:
    return len(axis.values)


def ends(n: int, most: int = _PANELS) -> list[int]:
    """At most `most` of n indices: the first, the last, and evenly spaced ones between."""
    if n <= most:
        return list(range(n))
    return [n // 2] if most == 1 else [round(i * (n - 1) / (most - 1) + 0.1) for i in range(most)]


def number(value: Any) -> float | None:
    """A number, or a quantity as a number in its base unit; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        return float(quantity(value, *EXAMPLES, zero=True).value) if isinstance(value, str) else None
    except InputError:
        return None


def read_grid(folder: Path) -> Grid:
    """Read the results of a study, in grid order. raises: InputError if `folder` has none."""
    try:
        data = json.loads((folder / GRID).read_text(encoding="utf-8"))
    except OSError:
        others = {str(path.parent) for path in folder.parent.glob(f"*/{GRID}")}
        close = nearest(str(folder), others) if others else ""
        hint = close if "did you mean" in close else f"; run `hwsim study STUDY --out {folder}` first"
        raise InputError(f"{folder}: contains no results of a study{hint}") from None
    except ValueError as error:
        raise InputError(f"{folder / GRID}: is not JSON ({error}); run the study again") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{folder / GRID}: is not of schema {SCHEMA}; run the study again")
    axes = tuple(Axis(a["path"], tuple(a["values"])) for a in data["axes"])
    shape = [len(axis.values) for axis in axes]
    points = read_points(folder / POINTS)
    lines, failed, missing = {}, [], 0
    for node, line in enumerate(_in_order(data["keys"], axes, points)):
        if line is None:
            missing += 1
        elif line["error"]:
            failed.append(line)
        else:
            choice, rest = [], node
            for size in reversed(shape):
                rest, i = divmod(rest, size)
                choice.append(i)
            lines[tuple(reversed(choice))] = line
    if not lines:
        raise InputError(f"{folder}: no point of the study has a result yet; run `hwsim study {data['source']}`")
    return Grid(data["name"], data["description"], data["source"], data["version"], axes, lines, tuple(failed), missing)


def _in_order(keys: list[str | None] | None, axes: tuple[Axis, ...], points: dict[str, Line]) -> Iterator[Line | None]:
    """The line of every point, in grid order; None where there is none yet.

    keys: of the points; None while a study runs, or when it was killed: the last line with a point's settings counts.
    """
    if keys is None:
        by_settings = {json.dumps(line["point"], sort_keys=True): line for line in points.values()}
        for values in itertools.product(*(axis.values for axis in axes)):
            settings = {axis.path: value for axis, value in zip(axes, values, strict=True)}
            yield by_settings.get(json.dumps(settings, sort_keys=True))
        return
    for key in keys:
        yield points.get(key) if key else None
