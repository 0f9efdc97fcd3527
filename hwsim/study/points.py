"""A study as a grid of points: its axes, and each combination of their values, resolved when it is asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from hwsim.arch import Arch
from hwsim.jobs.options import RunOptions
from hwsim.jobs.serving.options import ServeOptions
from hwsim.jobs.training.options import TrainOptions
from hwsim.study.digest import digest_of
from hwsim.workload.op import Workload

if TYPE_CHECKING:
    from hwsim.study.load import Reader

Choice = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """One line of the grid: a dotted path (`machine.dram.bandwidth`, `run.batch`, `model`) and its values."""

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One combination. settings: value by axis; key: hash of everything that its result depends on.

    arch, model, options: arguments of `run_job`; None if the settings contradict one another, as `error` then says.
    """

    settings: dict[str, Any]
    key: str
    arch: Arch | None = None
    model: Workload | None = None
    options: RunOptions | TrainOptions | ServeOptions | None = None
    error: str | None = None


@dataclass(frozen=True)
class Study:
    """A study file. source: the name of a shipped study, or the path of the file. It can be sent to other processes."""

    name: str
    description: str
    source: str
    axes: tuple[Axis, ...]
    reader: Reader

    @cached_property
    def digest(self) -> str:
        """Hash of the file's content: equal for equal studies, in every process."""
        return digest_of(self.source, self.reader.document.data)

    @cached_property
    def points(self) -> Points:
        """The points in grid order, the last axis fastest; each is resolved when it is asked for."""
        return Points(self)

    def settings(self, node: int) -> dict[str, Any]:
        """Value by axis, of the point at that place in grid order."""
        return self.reader.settings(self.points.choice(node))

    def node(self, settings: dict[str, Any]) -> int | None:
        """The place in grid order of the point with these settings; None if the grid has no such point."""
        if len(settings) != len(self.axes):
            return None
        node = 0
        for axis, places in zip(self.axes, self._places, strict=True):
            place = places.get(json.dumps(settings.get(axis.path)))
            if place is None:
                return None
            node = node * len(axis.values) + place
        return node

    @cached_property
    def _places(self) -> list[dict[str, int]]:
        return [{json.dumps(value): i for i, value in enumerate(axis.values)} for axis in self.axes]


class Points(Sequence[Point]):
    """The points of a study, resolved one by one."""

    def __init__(self, study: Study):
        self.study, self.shape = study, [len(axis.values) for axis in study.axes]

    def __len__(self) -> int:
        return math.prod(self.shape)

    @overload
    def __getitem__(self, node: int) -> Point: ...
    @overload
    def __getitem__(self, node: slice) -> list[Point]: ...
    def __getitem__(self, node: int | slice) -> Point | list[Point]:
        if isinstance(node, slice):
            return [self[i] for i in range(len(self))[node]]
        return self.study.reader.point(self.choice(node))

    def choice(self, node: int) -> Choice:
        """The place on each axis of the point at that place in grid order. raises: IndexError."""
        rest = range(len(self))[node]
        choice: list[int] = []
        for size in reversed(self.shape):
            rest, place = divmod(rest, size)
            choice.append(place)
        return tuple(reversed(choice))
