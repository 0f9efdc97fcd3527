"""Hardware units under valid and ready as SimPy processes, edge by edge.

Equal to the cycle models of `hwsim.timing` in each cycle, with events only where something is accepted, offered or
taken. `unit_servers` makes them from a spec.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import simpy

from hwsim.timing import Chain, Rigid

#: Phases of a clock edge, in env time: outputs are offered, the consumer takes, servers accept, the last one first.
OFFER, TAKE, EDGE = 0, 1, 16


class RigidServer:
    """A pipeline of `latency` >= 1 stages with one enable: an output that is not taken freezes them all.

    sink:    the server that takes the outputs; or a function of the edge of an offer that gives the edge (not earlier)
             at which the consumer takes it.
    accepted, offered, left: the edges at which it happened, by item; `left` is when the output was taken.
    """

    def __init__(self, env: simpy.Environment, latency: int, sink: RigidServer | Callable[[int], int]):
        if latency < 1:
            raise ValueError(f"latency >= 1, not {latency}: without a register nothing can freeze")
        self.env, self.latency, self.sink = env, latency, sink
        self._taking = sink.accepting if isinstance(sink, RigidServer) else TAKE
        self.accepting = self._taking + 1  # the phase
        if self.accepting >= EDGE:
            raise ValueError(f"at most {EDGE - TAKE - 1} servers in a row")
        self.accepted: list[int] = []
        self.offered: list[int] = []
        self.left: list[int] = []
        self._free = self._frozen = 0
        self._thaw: simpy.Event | None = None
        self._inside: deque[tuple[int, bool]] = deque()  # (edge of the offer but for freezes to come, kept)
        self._filled = env.event()
        env.process(self._offer())

    def _until(self, edge: int, phase: int) -> simpy.Event:
        return self.env.timeout(EDGE * edge + phase - self.env.now)

    def feed(self, arrivals: Iterable[tuple[int, bool]]):
        """Process: inputs as (edge from which it is valid, kept); each waits until it is accepted.

        An input that is not kept ends inside the last server and is never offered there.
        """
        for arrival, kept in arrivals:
            yield self._until(max(arrival, self._free), OFFER)
            yield from self.accept(kept)

    def accept(self, kept: bool = True):
        """Process: take one input, valid from now on; returns at the edge that accepts it."""
        yield self._until(max(self.env.now // EDGE, self._free), self.accepting)
        if self._thaw is not None:
            yield self._thaw
            yield self.env.timeout(self.accepting - self._taking)
        edge = self.env.now // EDGE
        self.accepted.append(edge)
        self._free = edge + 1
        if kept or isinstance(self.sink, RigidServer):
            self._inside.append((edge - self._frozen + self.latency, kept))
            if not self._filled.triggered:
                self._filled.succeed()

    def _offer(self):
        while True:
            if not self._inside:
                self._filled = self.env.event()
                yield self._filled
            due, kept = self._inside.popleft()
            yield self._until(due + self._frozen, OFFER)
            edge = self.env.now // EDGE
            self.offered.append(edge)
            self._thaw = self.env.event()
            if isinstance(self.sink, RigidServer):
                yield from self.sink.accept(kept)
            else:
                yield self._until(self.sink(edge), TAKE)
            leaves = self.env.now // EDGE
            self._frozen += leaves - edge
            self._thaw.succeed()
            self._thaw = None
            self.left.append(leaves)


def unit_servers(env: simpy.Environment, spec, taken: Callable[[int], int]) -> list[RigidServer]:
    """The servers of a unit, first to last: one for each rigid pipeline in it.

    spec:  a spec of `hwsim.specs` that is made of rigid pipelines.
    taken: maps the edge of an offer to the edge (not earlier) at which the consumer takes it.
    """
    model, sink, servers = spec.cycle_model(), taken, []
    for stage in reversed(model.units if isinstance(model, Chain) else [model]):
        if not isinstance(stage, Rigid):
            raise TypeError(f"{type(spec).__name__}: {type(stage).__name__} is no rigid pipeline")
        sink = RigidServer(env, stage.latency, sink)
        servers.insert(0, sink)
    return servers
