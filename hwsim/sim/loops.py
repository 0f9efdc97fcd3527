"""Loops: a program is run pass by pass until its state repeats; the passes left are then added, not simulated.

Before each pass of a loop, at any level of the program, the times that its servers and buffers hold are compared with
those before an earlier pass. Once they are the same but for a shift, every later start, a `max` of such times, is
shifted too. So whole periods cost one multiplication, whatever the size of the op, and nothing is approximated.
Drivers run the tiles; this file, and `drift`, are all that they share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DRAM, Ahead, Loop, Program, Tile, Uses
from hwsim.sim.drift import drift
from hwsim.sim.state import State

#: Comparing states costs as much as some tiles. So loops of at most WHOLE tiles are simulated whole, others TOGETHER
#: tiles or more at a time, and nothing is compared in loops of fewer than LEAST such passes.
WHOLE, TOGETHER, LEAST = 24, 8, 4

#: After so many passes without a period, servers may be drifting apart: tried for bodies of at most so many tiles.
PATIENCE, DRIFTING = 12, 64

#: A loop's states are kept until their queues hold so many entries.
MEMORY = 1 << 18


class Mark(NamedTuple):
    """A state before a pass: times counted from `base`, and queues; left: passes still to come."""

    times: tuple
    base: int
    left: int
    lost: tuple[int, ...]
    finish: int
    queues: list = []


class LoopRun:
    """One op on a state on which it has begun."""

    def __init__(self, driver: Callable, pipeline: Pipeline, program: Program, state: State):
        self.driver, self.pipeline, self.program, self.state = driver, pipeline, program, state

    def run(self) -> None:
        """All of the op."""
        tree = self.program.tree
        self._run(tree.loops, tree.ahead)
        if self.program.flush:
            self.driver(self.pipeline, self.state, (), True)

    def _run(self, loops: Sequence[Loop], aheads: Iterable[Ahead]) -> None:
        """Loops, one after the other. aheads: what follows each."""
        numbers: list[int] = []
        for loop, ahead in zip(loops, aheads, strict=True):
            if loop.times * loop.size <= WHOLE:
                numbers += loop
                continue
            some = max(1, TOGETHER // loop.size) if loop.tiles else 1
            times, rest = divmod(loop.times, some)
            numbers += loop.tiles * rest
            self._drive(numbers)
            numbers = []
            self._loop(Loop(times, loop.tiles * some, loop.loops, loop.size * some, loop.uses), ahead)
        self._drive(numbers)

    def _drive(self, numbers: Iterable[int]) -> None:
        """Tiles, by number."""
        tiles = self._tiles(numbers)
        if tiles:
            self.driver(self.pipeline, self.state, tiles)

    def _tiles(self, numbers: Iterable[int]) -> list[Tile]:
        table = self.program.table
        return [table[number] for number in numbers]

    def _pass(self, loop: Loop, ahead: Ahead) -> None:
        """One pass; ahead: what follows the loop. Every pass leaves what the last one would: credits are settled for
        what follows the loop, not for the passes in between."""
        self._drive(loop.tiles)
        results = [ahead.results or any(o.uses.results for o in loop.loops[n:]) for n in range(1, 1 + len(loop.loops))]
        self._run(loop.loops, [Ahead(ahead.servers, after) for after in results])

    def _loop(self, loop: Loop, ahead: Ahead) -> None:
        """All passes of one loop; ahead: what follows it."""
        state, left, seen, snapshot = self.state, loop.times, Seen(), None
        waiting = len(state.pending)
        while left and loop.times >= LEAST:
            touched = Touched(loop.uses, state)
            if touched.settled and not touched.more_wait(waiting, loop.size):
                if snapshot:
                    tiles = self._tiles(loop.passes(1))
                    skipped = drift(self.pipeline, snapshot, state, tiles, touched.buffers, ahead, left - 1)
                    left, snapshot = left - skipped, None
                    seen = Seen() if skipped else seen
                now = touched.mark(ahead, left, self.pipeline.period)
                earlier = seen.equal(now, touched)
                if earlier:
                    left = touched.jump(earlier, now)
                    break
                if seen.patient and loop.size <= DRIFTING and not self.pipeline.period:
                    snapshot = state.copy()
            waiting = len(state.pending)
            self._pass(loop, ahead)
            left -= 1
        for _ in range(left):
            self._pass(loop, ahead)


class Seen:
    """States of one loop. Comparing or keeping a state costs as much as its queues are long, so the longer they are,
    the fewer passes that is done after."""

    def __init__(self) -> None:
        self.marks: dict[tuple, Mark] = {}
        self.passes = self.compared = self.kept = self.size = 0
        self.try_at = PATIENCE

    def equal(self, now: Mark, touched: Touched) -> Mark | None:
        """The mark of an equal state, or None; the new one is kept."""
        self.passes += 1
        earlier = self.marks.get(now.times)
        if earlier and self.passes >= self.compared:
            if earlier.queues == touched.queues(now.base):
                return earlier
            self.compared = self.passes + len(earlier.queues) // 16
        if self.passes >= self.kept:
            queues = touched.queues(now.base)
            if self.size > MEMORY:
                self.marks, self.size = {}, 0
            self.marks[now.times] = now._replace(queues=queues)
            self.size += len(queues)
            self.kept = self.passes + len(queues) // 16
        return None

    @property
    def patient(self) -> bool:
        """Now and then, the later the rarer: whether to look for drift."""
        if self.passes < self.try_at:
            return False
        self.try_at = self.passes + self.passes // 2 + 1
        return True


class Touched:
    """The part of a state that a loop's tiles, and the writes that still wait for their place, touch."""

    def __init__(self, uses: Uses, state: State):
        self.state, self.uses, self.servers, self.buffers = state, uses, uses.servers, uses.buffers
        given = {buffer for pending in state.pending for buffer, _ in pending.step.gives}
        if state.pending and self.servers[:1] != (DRAM,):
            self.servers = (DRAM, *self.servers)
        if not given <= set(self.buffers):
            self.buffers = tuple(sorted(given | set(self.buffers)))

    @property
    def settled(self) -> bool:
        """Nothing of before the op decides a start any more: every used server is free later than that."""
        state, free = self.state, self.state.free
        return state.before <= min([free[s] for s in self.uses.waiting], default=state.before) and state.origin <= min(
            [free[s] for s in self.servers]
        )

    def more_wait(self, waiting: int, tiles: int) -> bool:
        """More writes wait than the `waiting` of a pass ago, and the oldest for more `tiles` than a pass has: this
        state cannot come again soon."""
        pending = self.state.pending
        return len(pending) > waiting and pending[0].reads - self.state.reads > tiles

    def mark(self, ahead: Ahead, left: int, period: int) -> Mark:
        """All that decides or is decided by later passes, but the queues; period: of refresh, 0: none."""
        state = self.state
        floors = state.settle(self.buffers, ahead)
        base = state.free[self.servers[0]]
        times: list = [state.free[s] - base for s in self.servers]
        for buffer, floor in zip(self.buffers, floors, strict=True):
            credit = state.credits[buffer]
            times += credit.free, max(credit.when, floor) - base, len(credit.released)
        times += len(state.pending), state.started, period and base % period
        return Mark(tuple(times), base, left, tuple(state.lost), state.finish)

    def queues(self, base: int) -> list:
        """Releases that are still to be used, and writes that still wait."""
        state = self.state
        releases = [(time - base, amount) for b in self.buffers for time, amount in state.credits[b].released]
        return releases + [p.since(state.reads, base, state.free[DRAM]) for p in state.pending]

    def jump(self, earlier: Mark, now: Mark) -> int:
        """Add whole periods from one mark to an equal one; returns the passes that are left to simulate.

        A period ends at the last `finish` of its passes, if that is later than all before; or else one pass at least
        is simulated, to tell.
        """
        state, period = self.state, earlier.left - now.left
        ended = now.finish > earlier.finish
        repeats = (now.left if ended else now.left - 1) // period
        ticks = repeats * (now.base - earlier.base)
        for s in self.servers:
            state.free[s] += ticks
        for credit in (state.credits[b] for b in self.buffers):
            credit.when += ticks
            credit.released = deque([(time + ticks, amount) for time, amount in credit.released])
        state.pending = [p._replace(first=p.first + ticks, last=p.last + ticks) for p in state.pending]
        if self.uses.results:
            state.act += ticks
        if ended:
            state.finish += ticks
        state.lost = [new + repeats * (new - old) for new, old in zip(now.lost, earlier.lost, strict=True)]
        return now.left - repeats * period
