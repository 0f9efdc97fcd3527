"""Drift: passes in which servers move at constant but different speeds, all at once.

Where one server runs ahead of the others until a deep buffer is full, no state repeats for as many passes as the
buffer has slots. But while every comparison comes out as it did in the pass before, each time grows by a constant per
pass. One pass is walked in numbers that know their growth (`Line`), and each comparison notes for how many passes it
holds; if the pass reproduces the growth that it was given, all those passes follow by induction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from hwsim.errors import ModelError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import Ahead, Tile
from hwsim.sim.state import State
from hwsim.sim.walk import NEVER, walk


class Horizon:
    """For how many more passes all comparisons hold."""

    __slots__ = ("passes",)

    def __init__(self, passes: int):
        self.passes = passes

    def positive(self, margin: int, growth: int) -> bool:
        """margin > 0, and how long that stays so while it grows."""
        if margin > 0 and growth < 0:
            self.passes = min(self.passes, (margin - 1) // -growth)
        elif margin <= 0 and growth > 0:
            self.passes = min(self.passes, -margin // growth)
        return margin > 0


class Line:
    """A number in the first of some passes, and how much it grows from each pass to the next."""

    __slots__ = ("at", "growth", "horizon")

    def __init__(self, at: int, growth: int, horizon: Horizon):
        self.at, self.growth, self.horizon = at, growth, horizon

    def __add__(self, other: Line | int) -> Line:
        at, growth = line(other)
        return Line(self.at + at, self.growth + growth, self.horizon)

    __radd__ = __add__

    def __neg__(self) -> Line:
        return Line(-self.at, -self.growth, self.horizon)

    def __sub__(self, other: Line | int) -> Line:
        return self + -other

    def __rsub__(self, other: int) -> Line:
        return -self + other

    def __gt__(self, other: Line | int) -> bool:
        at, growth = line(other)
        return self.horizon.positive(self.at - at, self.growth - growth)

    def __lt__(self, other: Line | int) -> bool:
        at, growth = line(other)
        return self.horizon.positive(at - self.at, growth - self.growth)

    def __le__(self, other: Line | int) -> bool:
        return not self > other

    def __ge__(self, other: Line | int) -> bool:
        return not self < other


def line(number: Line | int) -> tuple[int, int]:
    """(value in the first pass, growth per pass)."""
    return (number.at, number.growth) if isinstance(number, Line) else (number, 0)


def drift(
    pipeline: Pipeline,
    earlier: State,
    state: State,
    tiles: Sequence[Tile],
    buffers: Sequence[int],
    ahead: Ahead,
    left: int,
) -> int:
    """Put `state` as many passes further as follow from it and the state one pass earlier, `left` at most.

    tiles: of one pass; buffers: that they touch. Returns how many passes.
    Credits that are back may be freed after each pass or stay in their queues: no start depends on it, but the state
    may grow evenly in one way only. The way in which more passes follow is taken.
    """
    lazy, settled = Course(earlier, state, queueing=True), state.copy()
    passes = lazy.follow(pipeline, tiles, left)
    settled.settle(buffers, ahead)
    eager = Course(earlier, settled, queueing=False)
    if eager.follow(pipeline, tiles, left, lambda lines: lines.settle(buffers, ahead)) > passes:
        state.settle(buffers, ahead)
        return eager.go(state)
    return lazy.go(state)


class Course:
    """How a state goes on, given what it was one pass earlier.

    Every number of the state grows by what it grew in the last pass; the releases of a buffer, one by one. Queueing:
    a pass takes some of the oldest releases and adds new ones, and the others stay where they are.

    popped: releases that a pass takes of each queueing buffer. pushed: those that it adds, in lines.
    passes: how many follow. reads, lost: of one pass.
    """

    def __init__(self, earlier: State, state: State, queueing: bool):
        self.popped: dict[int, int] = {}
        self.pushed: dict[int, list] = {}
        for buffer, (old, new) in enumerate(zip(earlier.credits, state.credits, strict=True)):
            if queueing and new.released:
                oldest = islice(old.released, len(new.released) // 2)
                taken = next((n for n, release in enumerate(oldest) if release is new.released[0]), None)
                if taken is not None:
                    self.popped[buffer] = taken
        before, self.now = self._ends(earlier), self._ends(state)
        self.even = _shape(before) == _shape(self.now)
        self.growth = [new - old for old, new in zip(_numbers(before), _numbers(self.now), strict=False)]
        self.queued = {b: list(state.credits[b].released) for b in self.popped}
        self.passes, self.reads, self.lost = 0, 0, self.now.lost

    def _ends(self, state: State) -> State:
        """Of queueing buffers, only what a pass takes, and the newest release."""
        state = state.copy()
        for buffer, popped in self.popped.items():
            released = state.credits[buffer].released
            state.credits[buffer].released = deque([*islice(released, popped), released[-1]])
        return state

    def follow(self, pipeline: Pipeline, tiles: Sequence[Tile], left: int, settle: Callable | None = None) -> int:
        """Walk one pass in lines; the number of passes that follow, 0 if it does not grow as given."""
        if not self.even:
            return 0
        horizon, lines = Horizon(left - 1), self.now.copy()
        numbers = zip(_numbers(self.now), self.growth, strict=True)
        _assign(lines, (Line(at, growth, horizon) for at, growth in numbers))
        lines.lost, lines.finish = [0] * len(lines.lost), NEVER
        given = {b: list(lines.credits[b].released) for b in self.popped}
        try:
            walk(pipeline, lines, tiles)
        except ModelError:  # it takes more of a queueing buffer than in the pass before
            return 0
        if settle:
            settle(lines)
        for buffer, (*oldest, newest) in given.items():
            credit = lines.credits[buffer]
            if not credit.released or credit.released[0] is not newest:
                return 0
            self.pushed[buffer] = list(credit.released)[1:]
            credit.released = deque([(time + time.growth, amount) for time, amount in oldest])
            credit.released.append((self.pushed[buffer] or [newest])[-1])
            if oldest:
                horizon.passes = min(horizon.passes, self._alike(buffer, oldest) - 1)
        if _shape(lines) != _shape(self.now):
            return 0
        ends = zip(_numbers(lines), _numbers(self.now), self.growth, strict=True)
        if any(line(end) != (at + growth, growth) for end, at, growth in ends):
            return 0
        self.passes, self.reads, self.lost = horizon.passes + 1, lines.reads - self.now.reads, lines.lost
        return self.passes

    def _alike(self, buffer: int, oldest: Sequence) -> int:
        """For how many passes the oldest releases of the queue are what those of the first pass grow to."""
        queue, passes, each = self.queued[buffer], 0, len(oldest)
        lines = [(time.at, time.growth, amount) for time, amount in oldest]
        while queue[passes * each : (passes + 1) * each] == [(at + passes * growth, n) for at, growth, n in lines]:
            passes += 1
        return passes

    def go(self, state: State) -> int:
        """All those passes; returns their number."""
        passes, now = self.passes, self.now
        if not passes:
            return 0
        numbers = zip(_numbers(now), self.growth, strict=True)
        _assign(now, [at + passes * growth for at, growth in numbers])
        state.free = now.free
        for buffer, (credit, moved) in enumerate(zip(state.credits, now.credits, strict=True)):
            credit.free, credit.when = moved.free, moved.when
            if buffer not in self.popped:
                credit.released = moved.released
                continue
            pushed = [(*line(time), amount) for time, amount in self.pushed[buffer]]
            credit.released = deque(self.queued[buffer][passes * self.popped[buffer] :])
            credit.released += [(at + n * growth, amount) for n in range(passes) for at, growth, amount in pushed]
        reads = passes * self.reads
        state.pending, state.reads = [p._replace(reads=p.reads + reads) for p in now.pending], state.reads + reads
        for cause, (at, growth) in enumerate(map(line, self.lost)):
            state.lost[cause] += passes * at + passes * (passes - 1) // 2 * growth
        return passes


def _shape(state: State) -> tuple:
    """All of a state that must stay as it is."""
    queues = [[amount for _, amount in credit.released] for credit in state.credits]
    return queues, [(p.reads - state.reads, p.step) for p in state.pending], state.started


def _numbers(state: State) -> Iterator:
    """All of a state that may grow, in the order of `_assign`. The ends of results are those of the last pass."""
    yield from state.free
    for credit in state.credits:
        yield credit.free
        yield credit.when
        for time, _ in credit.released:
            yield time
    for pending in state.pending:
        yield pending.first
        yield pending.last


def _assign(state: State, numbers: Iterable) -> None:
    """Put numbers in the place of those that `_numbers` gives."""
    rest = iter(numbers)
    state.free = [next(rest) for _ in state.free]
    for credit in state.credits:
        credit.free, credit.when = next(rest), next(rest)
        credit.released = deque([(next(rest), amount) for _, amount in credit.released])
    state.pending = [p._replace(first=next(rest), last=next(rest)) for p in state.pending]
