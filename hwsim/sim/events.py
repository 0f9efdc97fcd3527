"""events: the SimPy driver. One process a server, one event for each first and last beat.

It takes the same programs as `walk` and shares none of its evaluation, so that equal times mean
something. Trace and anything whose order depends on time (requests, chips, links) build on it.
"""

from __future__ import annotations

from collections import deque

import simpy

from hwsim.errors import ModelError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import CAUSES, DRAM, LAUNCH, SERVERS, Program, Step
from hwsim.sim.refresh import stretch
from hwsim.sim.state import Credits, Pending, State


class Job:
    """One step of one tile on its server: what feeds it, and its two output edges."""

    __slots__ = ("step", "source", "launched", "first", "last", "last_at", "returns", "is_write")

    def __init__(self, env: simpy.Environment, step: Step, source: Job | None, is_write: bool = False):
        self.step, self.source, self.is_write = step, source, is_write
        self.first, self.last = env.event(), env.event()
        self.last_at = None
        self.returns: list = []


class Buffer:
    """A SimPy container whose credits return in program order, whatever the order of events."""

    def __init__(self, env: simpy.Environment, capacity: int, credits: Credits):
        self.env, self.history = env, []
        self.container = simpy.Container(env, capacity=capacity, init=credits.free)
        self.order: deque = deque()
        for time, amount in credits.released:
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
            self.env.timeout(time - self.env.now).callbacks.append(lambda _: self.give(entry))

    def give(self, entry: list) -> None:
        """The credit is back; it becomes usable once all earlier ones are."""
        entry[1] = True
        while self.order and self.order[0][1]:
            amount = self.order.popleft()[0]
            self.container.put(amount)
            self.history.append((self.env.now, amount))


class OpRun:
    """One op in a SimPy environment that starts from a State."""

    def __init__(self, pipeline: Pipeline, program: Program, state: State, watch: int, spans=None):
        self.pipeline, self.program, self.state, self.watch = pipeline, program, state, watch
        self.spans = spans
        self.env = env = simpy.Environment(initial_time=state.origin)
        self.lost = [0] * len(CAUSES)
        self.finish, self.act = state.finish, state.act
        self.free = list(state.free)
        self.before = env.timeout(max(state.act - env.now, 0))
        self.buffers = [Buffer(env, c, k) for c, k in zip(pipeline.capacity, state.credits, strict=True)]
        self.taken = [0] * len(self.buffers)
        self.queues: list[list[Job]] = [[] for _ in SERVERS]
        self.results: list[Job] = []
        self.left: list[tuple[int, Job]] = []
        self._lay_out()

    def run(self) -> list[int]:
        """Run the op to its end, put what is left into the state, return idle ticks by cause."""
        for server, jobs in enumerate(self.queues):
            if jobs:
                self.env.process(self._serve(server, jobs))
        self.env.run()
        state = self.state
        for credits, buffer, taken in zip(state.credits, self.buffers, self.taken, strict=True):
            if buffer.order:
                raise ModelError("credits are missing at the end of an op")
            credits.released = deque(self._in_order(credits, buffer))
            credits.free -= taken
            while credits.free < 0:
                credits.pop()
        state.pending = [Pending(n, j.source.first.value, j.source.last_at, j.step) for n, j in self.left]
        state.free, state.act, state.finish = self.free, self.act, self.finish
        return self.lost

    def _in_order(self, credits: Credits, buffer: Buffer):
        """Carried releases keep their own times (some lie before this run began)."""
        carried = list(credits.released)
        for (time, amount), known in zip(buffer.history, carried, strict=False):
            yield (known[0] if known[0] < self.env.now and known[0] < time else time, amount)
        yield from buffer.history[len(carried) :]

    def _lay_out(self) -> None:
        """Give each server its jobs in program order; writes find their place by counting reads."""
        env, reads = self.env, 0
        credit = [c.free + sum(n for _, n in c.released) for c in self.state.credits]
        pending: deque[tuple[int, Job]] = deque()
        for p in self.state.pending:
            source = Job(env, p.step, None)
            self._at(p.first, source.first)
            self._finish_at(source, p.last)
            pending.append((p.reads, Job(env, p.step, source, is_write=True)))

        def place_write():
            job = pending.popleft()[1]
            self.queues[DRAM].append(job)
            returns(job)

        def returns(job):
            for buffer, amount in job.step.gives:
                credit[buffer] += amount
                job.returns.append((self.buffers[buffer], self.buffers[buffer].place(amount)))

        for tile in self.program.tiles():
            job = None
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
                    self.taken[buffer] += amount
                job = Job(env, step, job)
                self.queues[step.server].append(job)
                returns(job)
            if tile.write:
                pending.append((reads + self.program.distance, Job(env, tile.write, job, is_write=True)))
            if tile.result:
                self.results.append(job)
        while self.program.flush and pending:
            place_write()
        self.left = [(n - reads, job) for n, job in pending]
        self.result = self.results[-1] if self.results else None
        self.results = set(self.results)

    def _at(self, time: int, event: simpy.Event) -> None:
        """Let `event` happen at `time` (its value), or now if that is past."""
        wait = time - self.env.now
        if wait <= 0:
            event.succeed(time)
        else:
            self.env.timeout(wait).callbacks.append(lambda _: event.succeed(time))

    def _finish_at(self, job: Job, time: int) -> None:
        job.last_at = time
        self._at(time, job.last)

    def _serve(self, server: int, jobs: list[Job]):
        """The server: wait for input, credits and the op before; serve; pass both edges on."""
        env, pipeline, lost = self.env, self.pipeline, self.lost
        latency, watched = pipeline.latency[server], server == self.watch
        period, stall = (pipeline.period, pipeline.stall) if server == DRAM else (0, 0)
        if self.free[server] > env.now:
            yield env.timeout(self.free[server] - env.now)
        for job in jobs:
            step, source, idle = job.step, job.source, self.free[server]
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
            self.free[server] = env.now
            for buffer, entry in job.returns:
                buffer.give(entry)
            if watched:
                cause = cause if self.state.started else "fill"
                self.state.started = True
                lost[CAUSES.index(cause)] += begin - lost_from
                lost[CAUSES.index("waiting_input")] += late
                lost[CAUSES.index("refresh")] += service - step.interval
            if self.spans is not None:
                self.spans.append((server, begin, env.now))
            if job.is_write:
                self.finish = max(self.finish, env.now)
            elif job in self.results:
                self.finish = max(self.finish, job.last_at + pipeline.q)
                if job is self.result:
                    self.act = job.last_at


def run_events(pipeline: Pipeline, program: Program, state: State, watch: int, spans=None) -> list[int]:
    """Run one op on `state` (changed in place) with SimPy; the twin of `walk`."""
    return OpRun(pipeline, program, state, watch, spans).run()
