"""State: all that one op leaves to the next, so that equal work from an equal state is done once.

Every time is in ticks. `relative` subtracts the origin, the earliest time anything of the next op
can start, and clips older times to it: they cannot matter, because each start is a `max`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DRAM, SERVERS, Step


class Pending(NamedTuple):
    """A write that waits for its place: due after `reads` more reads, data at first..last."""

    reads: int
    first: int
    last: int
    step: Step


@dataclass(slots=True)
class Credits:
    """One buffer: free amount, when the newest of it came free, and releases still to be used."""

    free: int
    when: int = 0
    released: deque = field(default_factory=deque)

    def release(self, amount: int, time: int) -> None:
        """Give `amount` back at `time`; credits return in program order."""
        newest = self.released[-1][0] if self.released else self.when
        self.released.append((max(time, newest), amount))

    def pop(self) -> bool:
        """Turn the oldest release into free credit; False if there is none."""
        if not self.released:
            return False
        self.when, amount = self.released.popleft()
        self.free += amount
        return True


@dataclass(slots=True)
class State:
    """Free times of the servers, credits of the buffers, writes not yet placed, last result.

    act: edge of the last result's last beat. finish: end of everything so far.
    started: the watched server has served at least once (until then its idle time is fill).
    """

    free: list[int]
    credits: list[Credits]
    pending: list[Pending]
    act: int = 0
    finish: int = 0
    started: bool = False

    @classmethod
    def initial(cls, pipeline: Pipeline) -> State:
        """Everything idle and empty at time 0."""
        return cls([0] * len(SERVERS), [Credits(c) for c in pipeline.capacity], [])

    @property
    def origin(self) -> int:
        """No step of the next op starts before this: it reads DRAM or waits for the last result."""
        return min(self.free[DRAM], self.act)

    def relative(self, watch: int) -> tuple:
        """Hashable state, times from `origin`, older ones clipped; `watch` keeps its true free time."""
        origin = self.origin
        free = tuple(
            t - origin if s == watch else max(t - origin, 0) for s, t in enumerate(self.free)
        )
        credits = []
        for c in self.credits:
            amount, released = c.free, []
            for t, n in c.released:
                if t <= origin and not released:
                    amount += n
                else:
                    released.append((t - origin, n))
            credits.append((amount, max(c.when - origin, 0), tuple(released)))
        pending = tuple(
            (p.reads, max(p.first - origin, 0), max(p.last - origin, 0), p.step) for p in self.pending
        )
        act, finish = self.act - origin, self.finish - origin
        return free, tuple(credits), pending, act, finish, self.started

    @classmethod
    def absolute(cls, relative: tuple, origin: int = 0) -> State:
        """The state back from `relative`, its origin at `origin`."""
        free, credits, pending, act, finish, started = relative
        return cls(
            [t + origin for t in free],
            [
                Credits(amount, when + origin, deque((t + origin, n) for t, n in released))
                for amount, when, released in credits
            ],
            [Pending(r, f + origin, last + origin, step) for r, f, last, step in pending],
            act + origin,
            finish + origin,
            started,
        )


