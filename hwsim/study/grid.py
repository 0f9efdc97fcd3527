"""The results of a study as a grid: the choice of x axis, series and panels, and the numbers on each axis."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.quantities import EXAMPLES, Quantity, quantity
from hwsim.result import SCHEMA
from hwsim.study.metrics import Line
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
    "run.max_seqs": "sequences at most",
    "run.concurrency": "users",
}

#: Values that a sampled study computed without simulating the point: JSON Lines with key, point, metric and value.
PREDICTED = "predicted.jsonl"

#: Axes of formats. One that varies is what the lines of a figure stand for, the first of them before the others.
_FORMATS = ("run.weights", "run.activations", "run.kv", "run.state")
_FIRST = ("run.batch", "run.context")
_MOST_SERIES, _MOST_PANELS = 28, 6

Choice = tuple[int, ...]
Panel = dict[str, int]


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
        """The values as numbers in the base unit; None if one is no number, or if their dimensions differ."""
        known = [n for n in map(number, self.values) if n is not None]
        return tuple(known) if len(known) == len(self.values) and self.dimension is not None else None

    @property
    def dimension(self) -> str | None:
        """The dimension of all values (`B/s`; "" for plain numbers); None if they have none in common."""
        found = {q.dimension if (q := measured(v)) else "" if number(v) is not None else None for v in self.values}
        return found.pop() if len(found) == 1 else None

    def label(self, value: Any) -> str:
        """A short label of one value."""
        if isinstance(value, dict):
            rest = value.get("default", "")
            return ", ".join(f"{f} {k}" for k, f in value.items() if k != "default") + (f" + {rest}" if rest else "")
        if value is None:
            return "not set"
        unit = " block/cycle" if self.path == "machine.regenerate.rate" else ""  # the name of the axis gives the unit
        return f"{value:,}" if isinstance(value, int) else str(value).removesuffix(unit)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all values."""
        return tuple(map(self.label, self.values))


@dataclass(frozen=True, slots=True)
class Grid:
    """The points of a study by their settings.

    lines, failed, predicted: by choice (an index on each axis): a result; an error; predicted numbers by metric, of
    points without a result. missing: points with none of the three. stated: by metric, the error of the predictions.
    searched: a search chose the points, few of all combinations; they have no panels, and are listed one by one.
    asked: of a search, what was asked: command, sampler, seed, objectives as (metric, whether more is better), and the
        keys of its front; None of a study, and of a search by an earlier version.
    idle: paths of the axes along which no figure changes by `ALIKE` or more; no panel is drawn of them.
    x: the axis along x (None: no axis has numbers); series: the axis of the lines or bars; panels: the other axes.
    """

    name: str
    description: str
    source: str
    version: str
    axes: tuple[Axis, ...]
    lines: dict[Choice, Line]
    failed: dict[Choice, Line]
    missing: int
    predicted: dict[Choice, dict[str, float]] = field(default_factory=dict)
    stated: dict[str, dict[str, float]] = field(default_factory=dict)
    searched: bool = False
    asked: dict[str, Any] | None = None
    idle: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """All points of the grid, finished or not."""
        return prod(len(axis.values) for axis in self.axes)

    @property
    def x(self) -> Axis | None:
        """Batch or context if the study varies one of them, else the longest axis of numbers."""
        found = [a for a in self.axes if len(a.values) > 1 and a.numbers]
        return next((a for p in _FIRST for a in found if a.path == p), max(found, key=_size, default=None))

    def along_x(self) -> tuple[Axis, tuple[float, ...]]:
        """x and the numbers on it, for tables and figures over x; only a grid that has this axis gets them."""
        axis = self.x
        assert axis is not None and axis.numbers is not None, "a study without an axis of numbers has no figure over x"
        return axis, axis.numbers

    @property
    def series(self) -> Axis | None:
        """The formats if they vary, else the first axis of names, else the first axis of any kind other than x."""
        rest = [a for a in self.axes if a != self.x and 1 < len(a.values) <= _MOST_SERIES]
        formats = next((a for p in _FORMATS for a in rest if a.path == p), None)
        return formats or next((a for a in rest if not a.numbers), rest[0] if rest else None)

    @property
    def columns(self) -> Axis | None:
        """The axis of the columns of a table: x, or the longest axis other than the series where none has numbers."""
        rest = [a for a in self.axes if a != self.series and len(a.values) > 1]
        return self.x or max(rest, key=_size, default=None)

    @property
    def others(self) -> tuple[Axis, ...]:
        """Axes that are neither x nor series."""
        return tuple(a for a in self.axes if a not in (self.x, self.series))

    def panels(self, most: int = _MOST_PANELS) -> list[Panel]:
        """Choices on the other axes, all of them if they are at most `most`.

        Else first, middle and last of an axis, or its middle alone, axes of numbers before axes of names, until they
        are few enough. Of an axis that changes nothing, the value that most points have.
        """
        if self.searched:
            return [{}]
        kept = {a.path: list(range(len(a.values))) for a in self.others}
        for at, axis in enumerate(self.axes):
            if axis.path in self.idle and axis.path in kept:
                kept[axis.path] = [Counter(choice[at] for choice in self.lines).most_common(1)[0][0]]
        for axis in sorted(self.others, key=lambda a: (a.numbers is None, -len(a.values))):
            for few in (3, 2, 1):
                if prod(map(len, kept.values())) <= most:
                    break
                kept[axis.path] = ends(len(axis.values), few)
        return [dict(zip(kept, chosen, strict=True)) for chosen in product(*kept.values())]

    def tables(self) -> list[Panel]:
        """Every choice on the axes that are neither rows (series) nor columns of a table."""
        rest = [a for a in self.axes if a not in (self.series, self.columns)]
        return [
            dict(zip([a.path for a in rest], chosen, strict=True))
            for chosen in product(*(range(len(a.values)) for a in rest))
        ]

    def title(self, panel: Panel, whole: bool = False) -> str:
        """The title of a panel: its choice on the axes that vary and change something; whole: on all that vary."""
        left = () if whole else self.idle
        axes = [a for a in self.axes if a.path in panel and len(a.values) > 1 and a.path not in left]
        chosen = [(a, a.values[panel[a.path]]) for a in axes]
        return ", ".join(f"{plain(a.name)} {a.label(v)}" for a, v in chosen)

    def heading(self) -> str:
        """What all points have in common: model, machine and step."""
        varied = {a.path for a in self.axes if len(a.values) > 1}
        some = list(self.lines.values())
        models = dict.fromkeys(line["config"]["model"].get("name", "model") for line in some)
        machines = dict.fromkeys(line["machine"] for line in some)
        invented = {bool(line.get("hypothetical")) for line in some}
        mark = " (hypothetical)" if invented == {True} else " (some hypothetical)" if True in invented else ""
        parts = [f"{_few(list(models), 'models')} on {_few(list(machines), 'machines')}{mark}"]
        phases = dict.fromkeys(line["phase"] for line in some)
        parts.append(" and ".join(phases))
        for name in ("batch", "context"):
            found = {line["config"].get(name) for line in some}
            if f"run.{name}" not in varied and len(found) == 1 and None not in found:  # a graph has no context
                parts.append(f"{name} {found.pop():,}")
        if some[0]["chips"] > 1 and len({line["chips"] for line in some}) == 1:
            parts.append(f"{some[0]['chips']} chips")
        return ", ".join(parts)

    def hypothetical(self) -> str:
        """A sentence, after a space, if machines of the study do not exist; else ""."""
        made = {line["machine"]: line["hypothetical"] for line in self.lines.values()}
        some = sorted(name for name, invented in made.items() if invented)
        if len(made) == 1:
            return " The machine is hypothetical." if some else ""
        return f" Hypothetical machines: {', '.join(some)}." if some else ""

    def statements(self) -> list[str]:
        """What the study says of its predictions, one sentence per metric."""
        return [
            f"{metric}: with {said['confidence']:.0%} confidence, {said['quantile']:.0%} of the points neither fitted "
            f"nor checked are within {said['relative_error']:.1%}"
            for metric, said in self.stated.items()
            if {"confidence", "quantile", "relative_error"} <= set(said)
        ]

    def place(self, choice: Choice) -> dict[str, int]:
        """The index on each axis, by the axis' path."""
        return {a.path: i for a, i in zip(self.axes, choice, strict=True)}

    def at(self, panel: Panel, columns: Axis | None = None) -> Iterator[tuple[int, int, Line]]:
        """(series index, index on `columns`, x by default, line) of the finished points of a panel, in order."""
        along = columns or self.x
        for choice, line in self.lines.items():
            place = self.place(choice)
            if all(place[path] == i for path, i in panel.items()):
                yield (place[self.series.path] if self.series else 0), (place[along.path] if along else 0), line


def plain(name: str) -> str:
    """The name of an axis without its unit."""
    return name.partition(" (")[0]


def _few(names: list[str], many: str) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} {many}"


def _size(axis: Axis) -> int:
    return len(axis.values)


def ends(n: int, most: int = 3) -> list[int]:
    """At most `most` of n indices: the first, the last, and evenly spaced ones between."""
    if n <= most:
        return list(range(n))
    return [n // 2] if most == 1 else [round(i * (n - 1) / (most - 1) + 0.1) for i in range(most)]


def measured(value: Any) -> Quantity | None:
    """The quantity that a text is, or None."""
    if not isinstance(value, str):
        return None
    try:
        return quantity(value, *EXAMPLES, zero=True)
    except InputError:
        return None


def number(value: Any) -> float | None:
    """A number, or a quantity as a number in its base unit; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    found = measured(value)
    return float(found.value) if found else None


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
    axes, searched = tuple(Axis(a["path"], tuple(a["values"])) for a in data["axes"]), "search" in data
    points = read_points(folder / POINTS)
    if searched:
        points = {key: points[key] for key in data["search"] if key in points}
        axes = tuple(_tried(axis, points.values()) for axis in axes)
    values, stated = _predictions(folder / PREDICTED)
    lines: dict[Choice, Line] = {}
    failed: dict[Choice, Line] = {}
    predicted: dict[Choice, dict[str, float]] = {}
    missing = 0
    for choice, key in _keys(data["keys"], axes, points):
        line = points.get(key) if key else None
        if line is not None:
            (failed if line["error"] else lines)[choice] = line
        elif key in values:
            predicted[choice] = values[key]
    if not searched:
        missing = prod(len(axis.values) for axis in axes) - len(lines) - len(failed) - len(predicted)
    if not lines:
        raise InputError(f"{folder}: no point of the study has a result yet; run `hwsim study {data['source']}`")
    return Grid(data["name"], data["description"], data["source"], data["version"], axes, lines, failed, missing,
                predicted, stated, searched, data.get("asked"), _idle(axes, lines))  # fmt: skip


#: What a change of an axis may change: a run's figures, a training step's, or those of a load.
_FIGURES = (
    "machine", "chips", "seconds", "tokens_per_second", "dram_bytes", "macs", "memory", "energy_joules", "area_mm2",
    "mfu", "exposed_seconds", "ttft", "tpot", "itl", "e2e", "goodput", "highest_rate",
)  # fmt: skip
#: A change of a figure that no eye sees, as a share of it.
ALIKE = 1e-3


def _idle(axes: tuple[Axis, ...], lines: dict[Choice, Line]) -> tuple[str, ...]:
    """The axes along which points that differ in nothing else have the same figures, within `ALIKE`."""
    figures = {choice: list(_flat([line.get(name) for name in _FIGURES])) for choice, line in lines.items()}
    found = []
    for at, axis in enumerate(axes):
        first: dict[Choice, list[Any]] = {}
        beside = [(first.setdefault((*c[:at], *c[at + 1 :]), numbers), numbers) for c, numbers in figures.items()]
        if len(first) < len(figures) and all(one is other or _alike(one, other) for one, other in beside):
            found.append(axis.path)
    return tuple(found)


def _flat(value: Any) -> Iterator[Any]:
    """The numbers and texts in nested lists and mappings, in order."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _flat(one)
    else:
        yield value


def _alike(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a == b
        or (isinstance(a, int | float) and isinstance(b, int | float) and abs(a - b) <= ALIKE * max(abs(a), abs(b)))
        for a, b in zip(one, other, strict=True)
    )


def _keys(
    keys: list[str | None] | None, axes: tuple[Axis, ...], points: dict[str, Line]
) -> Iterator[tuple[Choice, str | None]]:
    """(choice, key) of every point, in grid order: the last axis varies fastest.

    keys: in that order, None for a point that no run has looked at; None while a study runs, or when it was killed:
    then the last line with a point's settings counts.
    """
    choices: Iterable[Choice] = product(*(range(len(axis.values)) for axis in axes))
    if keys is not None:
        yield from zip(choices, keys, strict=True)
        return
    places = [{json.dumps(value, sort_keys=True): i for i, value in enumerate(axis.values)} for axis in axes]
    found: dict[Choice, str] = {}
    for key, line in points.items():
        texts = [json.dumps(line["point"].get(axis.path), sort_keys=True) for axis in axes]
        if all(text in known for text, known in zip(texts, places, strict=True)):
            found[tuple(known[text] for text, known in zip(texts, places, strict=True))] = key
    yield from sorted(found.items())


def _tried(axis: Axis, lines: Iterable[Line]) -> Axis:
    """The axis of a search, with its values in order: numbers by size, and None if a point has no value on it."""
    values = sorted(axis.values, key=lambda v: number(v) or 0.0) if axis.numbers else list(axis.values)
    return Axis(axis.path, (*values, *([None] if any(axis.path not in line["point"] for line in lines) else [])))


def _predictions(path: Path) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """(key -> metric -> value, metric -> the error stated in the first line).

    An incomplete last line, of a run that was killed, is skipped. raises: InputError.
    """
    found: dict[str, dict[str, float]] = {}
    stated: dict[str, dict[str, float]] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return found, stated
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    for i, row in enumerate(text.splitlines(keepends=True), 1):
        if not row.endswith("\n"):
            continue
        try:
            data = json.loads(row)
            if i == 1 and "stated" in data:
                stated = dict(data["stated"])
                continue
            found.setdefault(data["key"], {})[data["metric"]] = float(data["value"])
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{path}:{i}: is not a prediction with key, metric and value; run the study again"
            ) from None
    return found, stated
