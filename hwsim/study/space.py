"""The space of a search: the grid of a study file, whose axes may also be ranges, and may hold under a condition.

grid:
  run.batch: [1, 4, 16, 64]
  machine.dram.bandwidth:
    range: 1 TB/s .. 10 TB/s, log
  machine.regenerate.rate:
    values: [100 block/cycle, 400 block/cycle]
    when: {run.weights: [seedlm4, seedlm3]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, collect
from hwsim.files.yaml import Document, read
from hwsim.study.load import Reader, study_folder, study_names
from hwsim.study.points import Study

_NUMBER = r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*(\S.*?)?\s*\.\.\s*({_NUMBER})\s*([^,]*?)\s*(,\s*log)?\s*")


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, both included, in `unit`; whole numbers where both ends are and there is no unit."""

    low: float
    high: float
    unit: str
    log: bool

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers: sequences, chips, tokens."""
        return not self.unit and self.low.is_integer() and self.high.is_integer()

    def value(self, number: float) -> Any:
        """What the study file would say: `4.512 TB/s`, with four digits, or 12."""
        if self.whole:
            return round(number)
        text = f"{number:.4g}"
        return f"{float(text):.12g} {self.unit}" if self.unit else float(text)


@dataclass(frozen=True, slots=True)
class SearchAxis:
    """path: of the setting. values: to choose from, or a range. when: path -> values of other axes; all must hold."""

    path: str
    values: tuple[Any, ...] | Range
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Whether the axis matters at the settings chosen so far; where not, the machine keeps its own value."""
        return all(settings.get(path) in values for path, values in self.when)


@dataclass(frozen=True)
class Space:
    """A search file. study: its grid with the ends of the ranges as values, which says that they can be simulated."""

    study: Study
    axes: tuple[SearchAxis, ...]
    document: Document

    def point_study(self, settings: Mapping[str, Any]) -> Study:
        """The study of one point. raises: InputError where its settings contradict one another."""
        grid = json.dumps({path: [value] for path, value in settings.items()})
        return Reader(self.document.override("grid", grid), self.study.source).study()


def load_space(name_or_path: str | Path) -> Space:
    """The search space of a shipped study, or of a YAML file. raises: InputError with every error found."""
    text = str(name_or_path)
    document = read(study_folder() / f"{text}.yaml") if text in study_names() else read(name_or_path)
    problems: list[str] = []
    axes: list[SearchAxis] = []
    ends: dict[str, Any] = {}
    grid = document.data.get("grid")
    for path, given in grid.items() if isinstance(grid, dict) else ():
        here = ("grid", path)
        if not isinstance(given, dict):
            ends[path] = given
            axes.append(SearchAxis(path, tuple(given) if isinstance(given, list) else (given,)))
            continue
        if unknown := set(given) - {"range", "values", "when"}:
            problems.append(
                document.problem(here, f"{', '.join(sorted(map(str, unknown)))}: write range or values, and when")
            )
        values: tuple[Any, ...] | Range = ()
        if ("range" in given) == ("values" in given):
            problems.append(document.problem(here, "write one of `range: 1 TB/s .. 10 TB/s, log` and `values: [...]`"))
        elif "range" in given:
            with collect(problems):
                values = _range(document, (*here, "range"), given["range"])
                ends[path] = list(dict.fromkeys([values.value(values.low), values.value(values.high)]))
        elif not isinstance(given["values"], list) or not given["values"]:
            problems.append(document.problem((*here, "values"), "is not a list of values"))
        else:
            values, ends[path] = tuple(given["values"]), given["values"]
        when = given.get("when") or {}
        if not isinstance(when, dict):
            problems.append(document.problem((*here, "when"), "write `{path: [value, ...]}`"))
            continue
        before = {axis.path for axis in axes}
        problems += [
            document.problem((*here, "when"), f"{other}: is not an axis that stands before this one")
            for other in when
            if other not in before
        ]
        held = tuple((other, tuple(v) if isinstance(v, list) else (v,)) for other, v in when.items())
        axes.append(SearchAxis(path, values, held))
    if problems:
        raise InputError(*problems)
    if not any(isinstance(given, dict) for given in (grid or {}).values()):
        return Space(Reader(document, text).study(), tuple(axes), document)
    try:
        study = Reader(document.override("grid", json.dumps(ends)), text).study()
    except InputError as error:
        raise InputError(*(_placed(document, problem) for problem in error.problems)) from None
    return Space(study, tuple(axes), document)


def _placed(document: Document, problem: str) -> str:
    """An error of the grid of ends, at the place of its axis in the file."""
    path, _, message = problem.removeprefix("--set grid: ").partition(": ")
    named = [name for name in (path, f"machine.{path}", f"model.{path}") if name in document.data["grid"]]
    known = problem.startswith("--set grid: ") and named
    return document.problem(("grid", named[0]), message) if known else problem


def _range(document: Document, loc: tuple[Any, ...], text: Any) -> Range:
    """raises: InputError with the place."""
    found = _RANGE.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise InputError(document.problem(loc, f"{text!r} is not a range; write `1 TB/s .. 10 TB/s, log`"))
    low, high = (float(number.replace(",", "")) for number in (found[1], found[3]))
    unit, other = (found[4] or "").strip(), (found[2] or "").strip()
    if other and unit and other != unit:
        raise InputError(document.problem(loc, f"the ends have the units {other} and {unit}; write both in one"))
    if not low < high:
        raise InputError(document.problem(loc, f"{low:g} is not below {high:g}"))
    if found[5] and low <= 0:
        raise InputError(document.problem(loc, "a logarithmic range begins above 0"))
    return Range(low, high, unit or other, bool(found[5]))
