"""One number fitted to measured training steps of models with experts, and other numbers that were tried.

The host reads how many tokens each expert has, and only then launches the experts' kernels, where no graph holds the
whole step (Megatron-Bridge, perf_recipes/nemotronh/gb300/nemotronh.py, on `moe_use_grouped_tensor`). The number is how
long the chip waits for it, in milliseconds per layer with experts and micro-batch. Each row is predicted with the
number that fits the rows of the other models best (leave one model out), least mean error on a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwsim.jobs.training.result import TrainResult
from hwsim.measured.training import Row, Scored, mean_error

#: Milliseconds; how many times longer, of small kernels or of whole steps.
WAITS = tuple(i / 10 for i in range(201))
TIMES = tuple(1 + i / 10 for i in range(71))
RATES = tuple(1 + i / 100 for i in range(101))

Key = Callable[[Row], str]


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
    """Seconds of a step as a function of a number: `ideal` where it is `base`, and `slope` more per unit."""

    row: Row
    ideal: float
    slope: float
    measured: float
    base: float = 0.0

    def error(self, value: float) -> float:
        """Size of the error of tokens/s."""
        return abs(self.measured / (self.ideal + (value - self.base) * self.slope) - 1)


def measured_seconds(one: Scored) -> float:
    """What the step took."""
    return one.row.batch * one.row.context / one.result.chips / one.row.tokens_per_second


def lines(some: Sequence[Scored]) -> list[Line]:
    """Of every row, of the host's milliseconds; 0 where a graph holds the step."""
    found = []
    for one in some:
        more = 0.0 if one.row.graph else one.row.job(host_wait=1.0).trained().seconds - one.result.seconds
        found.append(Line(one.row, one.result.seconds, more, measured_seconds(one)))
    return found


def small_lines(some: Sequence[Scored]) -> list[Line]:
    """Of every row, of how many times longer small kernels take than on an ideal machine (`--small-kernels`)."""
    found = []
    for one in some:
        more = one.row.job(small_kernels=2.0).trained().seconds - one.result.seconds
        found.append(Line(one.row, one.result.seconds, more, measured_seconds(one), 1.0))
    return found


def whole_lines(some: Sequence[Line]) -> list[Line]:
    """Of every row, of how many times longer the whole step takes."""
    return [Line(line.row, line.ideal, line.ideal, line.measured, 1.0) for line in some]


def best(some: Sequence[Line], grid: Sequence[float] = WAITS) -> float:
    """The number with the least mean error."""
    return min(grid, key=lambda value: sum(line.error(value) for line in some))


def model(row: Row) -> str:
    """Rows of one model."""
    return row.model


def family(row: Row) -> str:
    """Models of one make, which share kernels."""
    return row.model.split("-")[0]


def others(some: Sequence[Line], line: Line, key: Key) -> list[Line]:
    """The rows that take part in a row's fit."""
    return [other for other in some if key(other.row) != key(line.row)]


def apart(some: Sequence[Line], grid: Sequence[float] = WAITS, key: Key = model) -> float:
    """Mean error where each row has the number of the rows of other models, or of other makes."""
    return sum(line.error(best(others(some, line, key), grid)) for line in some) / len(some)


def left_out(some: Sequence[Line]) -> list[Fitted]:
    """Each row by the number of the other models, simulated."""
    found = []
    for line in some:
        value = 0.0 if line.row.graph else best(others(some, line, model))
        found.append(Fitted(line.row, value, line.row.job(host_wait=value).trained()))
    return found


def rates(dense: Sequence[Scored]) -> dict[str, float]:
    """How many times longer each chip takes than predicted, fitted to its dense rows: what a lasting load costs it."""
    found = {}
    for machine in dict.fromkeys(one.row.machine for one in dense):
        mine = [one for one in dense if one.row.machine == machine]
        whole = [Line(o.row, o.result.seconds, o.result.seconds, measured_seconds(o), 1.0) for o in mine]
        found[machine] = best(whole, RATES)
    return found


def with_rates(dense: Sequence[Scored], experts: Sequence[Scored]) -> float:
    """Mean error of models with experts, each chip slowed as its dense rows are; a chip without any is not slowed."""
    slower = rates(dense)
    every = [abs((1 + one.error) / slower.get(one.row.machine, 1.0) - 1) for one in experts]
    return sum(every) / len(every)


def ways(some: Sequence[Scored], fits: Sequence[Line]) -> list[tuple[str, str, float]]:
    """(what is fitted, to which rows, mean error of models with experts) of every way that was tried."""
    dense, experts = ([one for one in some if one.row.kind == kind] for kind in ("dense", "experts"))
    small = small_lines(experts)
    return [
        ("nothing", "", mean_error(experts)),
        ("how much slower each chip is under a lasting load", "dense models", with_rates(dense, experts)),
        ("how much slower whole steps are", "the other models with experts", apart(whole_lines(fits), TIMES)),
        ("how much slower small kernels are, `--small-kernels`", "the other models with experts", apart(small, TIMES)),
        ("waiting for the host, `--host-wait`", "the other models with experts", apart(fits)),
        ("waiting for the host, `--host-wait`", "models of other makes", apart(fits, key=family)),
    ]
