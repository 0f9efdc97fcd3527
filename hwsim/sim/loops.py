"""Loops: a program is run pass by pass until its state repeats; the passes left are then added, not simulated.

After each pass of a loop, at any level of the program, the times that its servers and buffers hold are compared with
those after an earlier pass. Once they are the same but for a shift, every later start, a `max` of such times, is
shifted too. So whole periods cost one multiplication, whatever the size of the op, and nothing is approximated.
Drivers run the tiles; this file, and `drift`, are all that they share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DRAM, Ahead, Loop, Program, Tile, Uses
from hwsim.sim.drift import drift
from hwsim.sim.state import State

#: Loops of fewer passes, and programs of at most so many tiles, are simulated whole.
LEAST, WHOLE = 4, 16

#: After so many passes without a period, servers may be drifting apart: tried for bodies of at most so many tiles.
PATIENCE, DRIFTING = 8, 64


class Mark(NamedTuple):
    """A state after a pass, times counted from `base`; left: passes still to come."""

    times: list
    queues: list
    base: int
    left: int
    lost: tuple[int, ...]


class LoopRun:
    """One op on a state on which it has begun."""

    def __init__(self, driver: Callable, pipeline: Pipeline, program: Program, state: State):
        self.driver, self.pipeline, self.program, self.state = driver, pipeline, program, state

    def run(self) -> None:
        """All of the op."""
        tree, flush = self.program.tree, self.program.flush
        if tree.size <= WHOLE:
            self.driver(self.pipeline, self.state, self.program.tiles(), flush)
            return
        for loop, ahead in zip(tree.loops, tree.ahead, strict=True):
            self._loop(loop, ahead)
        if flush:
            self.driver(self.pipeline, self.state, (), True)

    def _pass(self, loop: Loop, ahead: Ahead) -> None:
        """One pass; ahead: of what follows it."""
        if loop.innermost:
            self.driver(self.pipeline, self.state, self._tiles(loop))
            return
        for number, inner in enumerate(loop.body, 1):
            results = ahead.results or any(other.uses.results for other in loop.body[number:])
            self._loop(inner, Ahead(ahead.servers, results))

    def _tiles(self, loop: Loop) -> list[Tile]:
        """The tiles of one pass."""
        return [self.program.table[number] for number in loop.passes(1)]

    def _loop(self, loop: Loop, ahead: Ahead) -> None:
        """All passes of one loop; ahead: of what follows it."""
        after, ahead = ahead, Ahead(ahead.servers, ahead.results or loop.uses.results)  # the latter while some are left
        state, left, done, renew, again = self.state, loop.times, 0, 1, 0
        mark = snapshot = None
        while left:
            left, done = left - 1, done + 1
            self._pass(loop, ahead if left else after)
            if loop.times < LEAST or left < 2:
                continue
            touched = Touched(loop.uses, state)
            if not touched.settled:
                continue
            if snapshot:
                skipped = drift(self.pipeline, snapshot, state, self._tiles(loop), touched.buffers, ahead, left - 1)
                left, snapshot = left - skipped, None
                if skipped:
                    mark, done, renew, again = None, 0, 1, 0
                    continue
            now = touched.mark(ahead, left, self.pipeline.period)
            if mark and now.times == mark.times and done >= again:
                if touched.queues(now.base) == mark.queues:
                    period = mark.left - left
                    repeats = (left - 1) // period  # the last pass is run, for what it leaves to others
                    touched.shift(repeats * (now.base - mark.base))
                    state.lost = [new + repeats * (new - old) for new, old in zip(state.lost, mark.lost, strict=True)]
                    for rest in reversed(range(left - repeats * period)):
                        self._pass(loop, ahead if rest else after)
                    return
                again = done + max(map(len, mark.queues), default=0) // 16  # long queues are not compared each time
            if done >= renew:
                mark, renew = now._replace(queues=touched.queues(now.base)), done + done // 2 + 1
                if done >= PATIENCE and loop.size <= DRIFTING and not self.pipeline.period:
                    snapshot = state.copy()


class Touched:
    """The part of a state that a loop's tiles, and the writes that still wait for their place, touch."""

    def __init__(self, uses: Uses, state: State):
        self.state, self.uses, self.servers, self.buffers = state, uses, uses.servers, uses.buffers
        if state.pending:
            self.servers = tuple(sorted({*uses.servers, DRAM}))
            self.buffers = tuple(sorted({*uses.buffers, *(b for p in state.pending for b, _ in p.step.gives)}))

    @property
    def settled(self) -> bool:
        """Nothing of before the op decides a start any more: every used server is free later than that."""
        state, free = self.state, self.state.free
        return all([state.before <= free[s] for s in self.uses.waiting]) and all(
            [state.origin <= free[s] for s in self.servers]
        )

    def mark(self, ahead: Ahead, left: int, period: int) -> Mark:
        """All that decides or is decided by later passes, but for the queues; period: of refresh, 0: none."""
        state, uses = self.state, self.uses
        floors = state.settle(self.buffers, ahead)
        base = state.free[self.servers[0]]
        times: list = [state.free[s] - base for s in self.servers]
        for buffer, floor in zip(self.buffers, floors, strict=True):
            credit = state.credits[buffer]
            times += credit.free, max(credit.when, floor) - base, len(credit.released)
        times += [(p.reads - state.reads, p.first - base, p.last - base, p.step) for p in state.pending]
        times += state.started, period and base % period
        if uses.results:
            times.append(state.act - base)
        if uses.results or uses.writes or state.pending:
            times.append(state.finish - base)
        return Mark(times, [], base, left, tuple(state.lost))

    def queues(self, base: int) -> list:
        """The releases of the buffers that are still to be used."""
        return [[(time - base, amount) for time, amount in self.state.credits[b].released] for b in self.buffers]

    def shift(self, ticks: int) -> None:
        """Move all that `mark` holds by `ticks`."""
        state, uses = self.state, self.uses
        for s in self.servers:
            state.free[s] += ticks
        for credit in (state.credits[b] for b in self.buffers):
            credit.when += ticks
            credit.released = type(credit.released)([(time + ticks, amount) for time, amount in credit.released])
        state.pending = [p._replace(first=p.first + ticks, last=p.last + ticks) for p in state.pending]
        if uses.results:
            state.act += ticks
        if uses.results or uses.writes or state.pending:
            state.finish += ticks
