"""events: the SimPy driver. One process per server, one event for each first and last beat.

It takes the same tiles as `walk` and shares none of its evaluation, so that equal times mean something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import simpy

from hwsim.errors import ModelError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import CAUSES, DRAM, LAUNCH, SERVERS, Step, Tile
from hwsim.sim.refresh import stretch
from hwsim.sim.state import Credits, Pending, State


class Ticks(simpy.Environment):
    """SimPy's environment; its time is a whole number, as it starts at one and every wait is one."""

    if TYPE_CHECKING:

        @property
        def now(self) -> int:
            """Ticks."""


class Job:
    """One step of one tile on its server: what feeds it, and its two output edges.

    lag: latencies of the servers that the tile has passed on its way.
    """

    __slots__ = ("step", "source", "launched", "first", "last", "last_at", "returns", "is_write", "lag")

    def __init__(self, env: Ticks, step: Step, source: Job | None, is_write: bool = False):
        self.step, self.source, self.is_write, self.lag = step, source, is_write, 0
        self.first, self.last = env.event(), env.event()
        self.last_at: int | None = None
        self.returns: list[tuple[Buffer, list]] = []


def _after(env: Ticks, wait: int, act: Callable[[], object]) -> None:
    def callback(_: simpy.Event) -> None:
        act()

    env.timeout(wait).callbacks.append(callback)


class Buffer:
    """A SimPy container whose credits return in program order, whatever the order of events.

    taken: what a run takes in all. Of the releases of before, only the oldest that this can need are carried over; the
    rest stay as they are.
    """

    def __init__(self, env: Ticks, capacity: int, credits: Credits, taken: int):
        self.env, self.credits, self.taken = env, credits, taken
        self.history: list[tuple[int, int]] = []
        self.container = simpy.Container(env, capacity=capacity, init=credits.free)
        self.order: deque = deque()
        self.carried, self.rest = [], credits.released.copy()
        short = taken - credits.free
        while self.rest and short > 0:
            self.carried.append(self.rest.popleft())
            short -= self.carried[-1][1]
        for time, amount in self.carried:
            self._carry(self.place(amount), time)

    def place(self, amount: int) -> list:
        """Reserve the next position in the order of returns; filled by `give`."""
        entry = [amount, False]
        self.order.append(entry)
        return entry

    def _carry(self, entry: list, time: int) -> None:
        if time <= self.env.now:
            self.give(entry)
        else:
            _after(self.env, time - self.env.now, lambda: self.give(entry))

    def give(self, entry: list) -> None:
        """The credit is back; it becomes usable once all earlier ones are."""
        entry[1] = True
        while self.order and self.order[0][1]:
            amount = self.order.popleft()[0]
            self.container.put(amount)
            self.history.append((self.env.now, amount))

    def hand_back(self) -> None:
        """Put what is left into the credits. Carried releases keep their own times (some were before this run)."""
        if self.order:
            raise ModelError("credits are missing at the end of an op")
        credits, carried = self.credits, len(self.carried)
        newest, both = self.rest[-1][0] if self.rest else 0, zip(self.carried, self.history[:carried], strict=True)
        credits.released = deque([(min(old[0], time), n) for old, (time, n) in both])
        credits.released += self.rest
        credits.released += [(max(time, newest), amount) for time, amount in self.history[carried:]]
        credits.free -= self.taken
        while credits.free < 0:
            credits.pop()


def _pending(reads: int, write: Job) -> Pending:
    source = write.source
    assert source is not None and source.last_at is not None  # a write has a source, which has ended after the run
    first: int | None = source.first.value
    assert first is not None  # the event has happened, at a time that is its value
    return Pending(reads, first, source.last_at, write.step, write.lag)


class Run:
    """Some tiles of an op in a SimPy environment that starts from a State."""

    def __init__(self, pipeline: Pipeline, state: State, tiles: Iterable[Tile], flush: bool, spans=None):
        self.pipeline, self.state, self.spans = pipeline, state, spans
        self.env = env = Ticks(initial_time=state.origin)
        self.before = env.timeout(max(state.before - env.now, 0))
        tiles = list(tiles)
        taken = [0] * len(state.credits)
        for buffer, amount in (take for tile in tiles for step in tile.steps for take in step.takes):
            taken[buffer] += amount
        rooms = zip(pipeline.capacity, state.credits, taken, strict=True)
        self.buffers = [Buffer(env, capacity, credits, needed) for capacity, credits, needed in rooms]
        self.queues: list[list[Job]] = [[] for _ in SERVERS]
        self.results: set[Job] = set()
        self.left: list[tuple[int, Job]] = []
        self._lay_out(tiles, flush)

    def run(self) -> None:
        """Run the tiles to their end, and put what is left into the state."""
        for server, jobs in enumerate(self.queues):
            if jobs:
                self.env.process(self._serve(server, jobs))
        self.env.run()
        for buffer in self.buffers:
            buffer.hand_back()
        self.state.pending = [_pending(reads, job) for reads, job in self.left]

    def _lay_out(self, tiles: Iterable[Tile], flush: bool) -> None:
        """Give each server its jobs in program order; writes find their place by counting reads."""
        env, state, reads = self.env, self.state, self.state.reads
        results: list[Job] = []
        credit = [c.free + sum(n for _, n in c.released) for c in state.credits]
        pending: deque[tuple[int, Job]] = deque()
        for p in state.pending:
            source = Job(env, p.step, None)
            self._at(p.first, source.first)
            self._finish_at(source, p.last)
            write = Job(env, p.step, source, is_write=True)
            write.lag = p.lag
            pending.append((p.reads, write))

        def place_write():
            job = pending.popleft()[1]
            self.queues[DRAM].append(job)
            returns(job)

        def returns(job):
            for buffer, amount in job.step.gives:
                credit[buffer] += amount
                job.returns.append((self.buffers[buffer], self.buffers[buffer].place(amount)))

        for tile in tiles:
            job: Job | None = None
            for step in tile.steps:
                if step.server == DRAM:
                    while pending and pending[0][0] <= reads:
                        place_write()
                    reads += 1
                for buffer, amount in step.takes:
                    while credit[buffer] < amount:
                        if not pending:
                            raise ModelError(f"a tile takes {amount} of buffer {buffer}")
                        place_write()
                    credit[buffer] -= amount
                lag = job.lag + self.pipeline.latency[job.step.server] if job else 0
                job = Job(env, step, job)
                job.lag = lag
                self.queues[step.server].append(job)
                returns(job)
            assert job is not None  # a tile has a step
            if tile.write:
                write = Job(env, tile.write, job, is_write=True)
                write.lag = job.lag + self.pipeline.latency[job.step.server]
                pending.append((reads + state.distance, write))
            if tile.result:
                results.append(job)
        while flush and pending:
            place_write()
        self.left, state.reads = list(pending), reads
        self.result = results[-1] if results else None
        self.results = set(results)

    def _at(self, time: int, event: simpy.Event) -> None:
        """Let `event` happen at `time` (its value), or now if that is past."""
        wait = time - self.env.now
        if wait <= 0:
            event.succeed(time)
        else:
            _after(self.env, wait, lambda: event.succeed(time))

    def _finish_at(self, job: Job, time: int) -> None:
        job.last_at = time
        self._at(time, job.last)

    def _serve(self, server: int, jobs: list[Job]):
        """The server: wait for input, credits and the op before; serve; pass both edges on."""
        env, pipeline, state = self.env, self.pipeline, self.state
        latency, watched, lost = pipeline.latency[server], server == state.watch, state.lost
        period, stall = (pipeline.period, pipeline.stall) if server == DRAM else (0, 0)
        if state.free[server] > env.now:
            yield env.timeout(state.free[server] - env.now)
        for job in jobs:
            step, source, idle = job.step, job.source, state.free[server]
            waited, cause = max(idle, env.now), "waiting_input"
            lost_from = idle
            if source:
                yield source.first
                if env.now > waited:
                    waited = env.now
                    cause = "launch" if source.step.server == LAUNCH and not job.is_write else cause
            if not job.is_write:
                for buffer, amount in step.takes:
                    yield self.buffers[buffer].container.get(amount)
                    if env.now > waited:
                        waited, cause = env.now, "output_blocked"
            if step.waits:
                yield self.before
                if env.now > waited:
                    waited, cause = env.now, "dependency"
            begin = env.now
            service = stretch(begin, step.interval, period, stall) if period else step.interval
            to_first = stretch(begin, step.beat, period, stall) - step.beat if period else 0
            if not job.is_write:
                self._at(begin + to_first + latency, job.first)
            yield env.timeout(service - step.beat)
            if source:
                yield source.last
            accepted = env.now
            late = accepted + step.beat - begin - service
            if not job.is_write:
                self._finish_at(job, accepted + latency)
            yield env.timeout(step.beat)
            state.free[server] = env.now
            for filled, entry in job.returns:
                filled.give(entry)
            if watched:
                cause = cause if state.started else "fill"
                state.started = True
                idled = begin - lost_from
                if cause == "waiting_input":  # the latencies on the way come first
                    late_by = min(job.lag, idled)
                    lost[CAUSES.index("latency")] += late_by
                    idled -= late_by
                lost[CAUSES.index(cause)] += idled
                lost[CAUSES.index("waiting_input")] += late
                lost[CAUSES.index("refresh")] += service - step.interval
            if self.spans is not None:
                self.spans.append((server, begin, env.now))
            if server == DRAM:
                state.finish = max(state.finish, env.now)
            if job in self.results:
                assert job.last_at is not None  # set above: a result is no write
                state.finish = max(state.finish, job.last_at + pipeline.q)
                if job is self.result:
                    state.act = job.last_at


def events(pipeline: Pipeline, state: State, tiles: Iterable[Tile], flush: bool = False, spans=None) -> None:
    """Run `tiles` of the op that has begun on `state`, in place, with SimPy; arguments as in `walk`."""
    Run(pipeline, state, tiles, flush, spans).run()
