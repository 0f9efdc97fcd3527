"""A rigid unit under valid and ready as SimPy processes: what an engine is simulated with, edge by edge.

Equal to `timing.Rigid` cycle by cycle, with events only where something is accepted or offered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import simpy

#: Phases of a clock edge, in env time: outputs are offered, the consumer takes, inputs are accepted.
OFFER, TAKE, ACCEPT, EDGE = 0, 1, 2, 4


class RigidServer:
    """A pipeline of `latency` >= 1 stages with one enable: an output that is not taken freezes them all.

    arrivals: edges from which each input is valid, in order; an input waits until it is accepted.
    taken:    maps the edge of an offer to the edge (not earlier) at which the consumer takes it.
    accepted, offered, left: the edges at which it happened, by item.
    """

    def __init__(
        self,
        env: simpy.Environment,
        latency: int,
        arrivals: Iterable[int],
        taken: Callable[[int], int],
    ):
        if latency < 1:
            raise ValueError(f"latency >= 1, not {latency}: without a register nothing can freeze")
        self.env, self.latency, self.taken = env, latency, taken
        self.accepted: list[int] = []
        self.offered: list[int] = []
        self.left: list[int] = []
        self._frozen = 0
        self._thaw: simpy.Event | None = None
        self._inside: deque[int] = deque()
        self._filled = env.event()
        env.process(self._accept(arrivals))
        env.process(self._offer())

    def _until(self, edge: int, phase: int) -> simpy.Event:
        return self.env.timeout(EDGE * edge + phase - self.env.now)

    def _accept(self, arrivals: Iterable[int]):
        free = 0
        for arrival in arrivals:
            yield self._until(max(arrival, free), ACCEPT)
            if self._thaw is not None:
                yield self._thaw
                yield self.env.timeout(ACCEPT - TAKE)
            edge = self.env.now // EDGE
            self.accepted.append(edge)
            self._inside.append(edge - self._frozen + self.latency)
            if not self._filled.triggered:
                self._filled.succeed()
            free = edge + 1

    def _offer(self):
        while True:
            if not self._inside:
                self._filled = self.env.event()
                yield self._filled
            yield self._until(self._inside.popleft() + self._frozen, OFFER)
            edge = self.env.now // EDGE
            self.offered.append(edge)
            leaves = self.taken(edge)
            if leaves > edge:
                self._thaw = self.env.event()
                yield self._until(leaves, TAKE)
                self._frozen += leaves - edge
                self._thaw.succeed()
                self._thaw = None
            self.left.append(leaves)
