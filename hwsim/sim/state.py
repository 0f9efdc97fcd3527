"""State: all that one tile leaves to the next, and one op to the next.

Every time is in ticks. Between ops a state is frozen: its times counted from the origin, the earliest at which
anything of the next op can start, and older times set to it. They cannot matter, because each start is a `max`. So
equal work from an equal frozen state takes equal time, whatever came before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import CAUSES, DRAM, READ_BUFFERS, SERVERS, Ahead, Step


class Pending(NamedTuple):
    """A write that waits for its place: due once `reads` reads have been placed, data at first..last.

    lag: latencies of the servers that its data passed.
    """

    reads: int
    first: int
    last: int
    step: Step
    lag: int = 0

    def since(self, reads: int, base: int, free: int) -> Pending:
        """The same, counted from `reads` and `base`. free: when the channel is; older times decide nothing."""
        if self.first > free:
            return Pending(self.reads - reads, self.first - base, self.last - base, self.step, self.lag)
        return Pending(self.reads - reads, free - base, max(self.last, free) - base, self.step)


class Frozen(NamedTuple):
    """A state as a value: (free, when, releases) by buffer, reads of pending writes counted from now."""

    free: tuple[int, ...]
    credits: tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...]
    pending: tuple[Pending, ...]
    act: int
    finish: int
    started: bool


class Credits:
    """One buffer: free amount, when the newest of it came free, and releases (time, amount) still to be used."""

    __slots__ = ("free", "when", "released")

    def __init__(self, free: int, when: int = 0, released: deque | None = None):
        self.free, self.when = free, when
        self.released = deque() if released is None else released

    def release(self, amount: int, time: int) -> None:
        """Give `amount` back at `time`; credits return in program order."""
        newest = self.released[-1][0] if self.released else self.when
        self.released.append((time if time > newest else newest, amount))

    def pop(self) -> bool:
        """Turn the oldest release into free credit; False if there is none."""
        if not self.released:
            return False
        self.when, amount = self.released.popleft()
        self.free += amount
        return True

    def settle(self, floor: int) -> None:
        """Turn all that is back by `floor` into free credit: right if nobody takes any before that."""
        while self.released and self.released[0][0] <= floor:
            self.pop()


@dataclass(slots=True)
class State:
    """Free times of the servers, credits of the buffers, writes not yet placed, last result.

    watch: the server whose idle ticks are counted, by cause, in `lost`; started: it has served at least once (until
    then its idle time is fill).
    act: edge of the last result's last beat. finish: end of everything so far.
    Of the op that runs: `before`, the act of the op before; `origin`; `distance` of its writes; `reads` placed.
    """

    watch: int
    free: list[int]
    credits: list[Credits]
    pending: list[Pending] = field(default_factory=list)
    act: int = 0
    finish: int = 0
    started: bool = False
    before: int = 0
    origin: int = 0
    distance: int = 1
    reads: int = 0
    lost: list[int] = field(default_factory=lambda: [0] * len(CAUSES))

    @classmethod
    def initial(cls, pipeline: Pipeline, watch: int) -> State:
        """Everything idle and empty at time 0."""
        return cls(watch, [0] * len(SERVERS), [Credits(amount) for amount in pipeline.capacity])

    def begin(self, distance: int) -> None:
        """An op begins. None of its steps starts before the origin: each reads DRAM, waits for the last result, or
        is fed by one that does."""
        self.pending = [p._replace(reads=p.reads - self.reads) for p in self.pending]
        self.before, self.origin = self.act, min(self.free[DRAM], self.act)
        self.distance, self.reads, self.lost = distance, 0, [0] * len(CAUSES)

    def copy(self) -> State:
        """A state of its own."""
        credits = [Credits(c.free, c.when, c.released.copy()) for c in self.credits]
        return replace(self, free=self.free.copy(), credits=credits, pending=self.pending.copy(), lost=self.lost.copy())

    def settle(self, buffers: Sequence[int], ahead: Ahead) -> list[int]:
        """Free all credit that is back before anything ahead, or of a later op, can take it; returns when that is."""
        floor = min([self.free[s] for s in ahead.servers])
        if not ahead.results and self.act < floor:
            floor = self.act
        floors = [self.free[DRAM] if buffer in READ_BUFFERS else floor for buffer in buffers]
        for buffer, low in zip(buffers, floors, strict=True):
            self.credits[buffer].settle(low)
        return floors

    def freeze(self, period: int) -> tuple[Frozen, int]:
        """(the state as a value, ticks that its times were moved back).

        The watched server keeps its true free time. period: of refresh, whose phase must be kept; 0: none.
        """
        origin = min(self.free[DRAM], self.act)
        base = origin - origin % period if period else origin
        floor = origin - base
        credits = []
        for buffer, credit in enumerate(self.credits):
            low = self.free[DRAM] if buffer in READ_BUFFERS else origin
            credit.settle(low)
            released = tuple([(time - base, amount) for time, amount in credit.released]) if credit.released else ()
            credits.append((credit.free, (credit.when if credit.when > low else low) - base, released))
        frozen = Frozen(
            tuple([t - base if s == self.watch or t > origin else floor for s, t in enumerate(self.free)]),
            tuple(credits),
            tuple([p.since(self.reads, base, self.free[DRAM]) for p in self.pending]),
            self.act - base,
            self.finish - base,
            self.started,
        )
        return frozen, base

    @classmethod
    def thaw(cls, frozen: Frozen, watch: int) -> State:
        """A state to go on from."""
        credits = [Credits(amount, when, deque(released)) for amount, when, released in frozen.credits]
        return cls(watch, list(frozen.free), credits, list(frozen.pending), frozen.act, frozen.finish, frozen.started)
