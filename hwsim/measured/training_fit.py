"""One number fitted to measured training steps: how much longer small kernels take than their bytes and passes need.

Small kernels are all but GEMMs, attention cores and encodes: norms, routers, rows sorted by expert, scans, short
convolutions, functions of elements. No table holds those of training's software. Each row is predicted with the number
that fits the rows of the other models best (leave one model out), least mean error on a grid of tenths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.jobs.training.result import TrainResult
from hwsim.measured.training import Row, Scored

GRID = tuple(1 + i / 10 for i in range(71))


@dataclass(frozen=True)
class Fitted:
    """A row with the number of the other models, and its prediction by it."""

    row: Row
    value: float
    result: TrainResult

    @property
    def error(self) -> float:
        """Predicted over measured tokens/s, less 1."""
        return self.result.tokens_per_second_per_chip / self.row.tokens_per_second - 1


@dataclass(frozen=True)
class Line:
    """Seconds of a step as a function of the number: what of it small kernels are."""

    row: Row
    ideal: float
    slope: float
    measured: float

    @classmethod
    def of(cls, one: Scored) -> Line:
        """From the steps with 1 and 2."""
        double = one.row.job(2.0).trained().seconds
        measured = one.row.batch * one.row.context / one.result.chips / one.row.tokens_per_second
        return cls(one.row, one.result.seconds, double - one.result.seconds, measured)

    def error(self, value: float) -> float:
        """Size of the error of tokens/s."""
        return abs(self.measured / (self.ideal + (value - 1) * self.slope) - 1)


def lines(some: Sequence[Scored]) -> list[Line]:
    """Of every row."""
    return [Line.of(one) for one in some]


def best(some: Sequence[Line]) -> float:
    """The number with the least mean error."""
    return min(GRID, key=lambda value: sum(line.error(value) for line in some))


def left_out(some: Sequence[Line]) -> list[Fitted]:
    """Each row by the number of the other models."""
    found = []
    for line in some:
        value = best([other for other in some if other.row.model != line.row.model])
        found.append(Fitted(line.row, value, line.row.job(value).trained()))
    return found


def family(model: str) -> str:
    """Models of one make, which share kernels."""
    return model.split("-")[0]


def whole_left_out(some: Sequence[Line]) -> float:
    """Mean error where the number lengthens whole steps instead, each model left out of its fit."""
    whole = [Line(line.row, line.ideal, line.ideal, line.measured) for line in some]
    every = [line.error(best([o for o in whole if o.row.model != line.row.model])) for line in whole]
    return sum(every) / len(every)


def families_left_out(some: Sequence[Line]) -> float:
    """Mean error where no row of the same family takes part in the fit."""
    every = []
    for line in some:
        others = [other for other in some if family(other.row.model) != family(line.row.model)]
        every.append(line.error(best(others)))
    return sum(every) / len(every)
