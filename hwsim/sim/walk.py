"""walk: the fast driver. Tile by tile through the whole pipeline, with `max` and `+` only.

Possible because every server serves in program order: no later tile touches an earlier one. Each start is the
largest of a few times, and the largest is the cause of the wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hwsim.errors import ModelError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import CAUSES, DRAM, LAUNCH, Step, Tile
from hwsim.sim.refresh import stretch
from hwsim.sim.state import Pending, State

NEVER = -(1 << 200)
FILL, INPUT, BLOCKED, REFRESH, LAUNCHING, DEPENDENCY, LATENCY = map(
    CAUSES.index, ("fill", "waiting_input", "output_blocked", "refresh", "launch", "dependency", "latency")
)


class Stay(NamedTuple):
    """One stay of a tile on a server, and why the server was idle before; in ticks.

    idle: since when it was; cause: what it then waited for (a number of CAUSES), after `lag` of latencies on the way.
    stops: of refresh, within the stay. late: for how long the last beats came late (0 or less: they did not).
    write: the step of a deferred write; None: of a tile's own steps.
    """

    server: int
    start: int
    end: int
    idle: int
    cause: int
    lag: int
    stops: int
    late: int
    write: Step | None = None


def walk(pipeline: Pipeline, state: State, tiles: Iterable[Tile], flush: bool = False, spans=None) -> None:
    """Run `tiles` of the op that has begun on `state`, in place.

    flush: place all writes at the end. spans: a list that receives every `Stay` on a server, in program order.
    raises: ModelError if a tile needs more of a buffer than will ever be free.
    """
    q, latency, period, stall = pipeline.q, pipeline.latency, pipeline.period, pipeline.stall
    free, credits, pending = state.free, state.credits, state.pending
    watch, origin, before, distance, reads = state.watch, state.origin, state.before, state.distance, state.reads
    for steps, write, result in tiles:
        first, last, source, lag = 0, NEVER, INPUT, 0
        for server, interval, beat, takes, gives, waits in steps:
            if server == DRAM:
                while pending and pending[0].reads <= reads:
                    _place(pipeline, state, spans)
                reads += 1
            slot = 0
            for buffer, amount in takes:
                credit = credits[buffer]
                while credit.free < amount:
                    if credit.released:
                        credit.pop()
                    elif pending:  # an early write may be all that can free it
                        _place(pipeline, state, spans)
                    else:
                        raise ModelError(f"a tile takes {amount} of buffer {buffer}: {pipeline.capacity[buffer]}")
                credit.free -= amount
                if credit.when > slot:
                    slot = credit.when
            idle = begin = free[server]
            cause = INPUT
            if origin > begin:
                begin = origin
            if first > begin:
                begin, cause = first, source
            if slot > begin:
                begin, cause = slot, BLOCKED
            if waits and before > begin:
                begin, cause = before, DEPENDENCY
            end = begin + interval
            stops = 0
            if period and server == DRAM:
                stops = stretch(begin, interval, period, stall) - interval
                end += stops
            late = last + beat - end
            if server == watch and (begin > idle or late > 0 or stops or not state.started):
                _account(state, begin - idle, cause, lag, stops, late)
            if late > 0:
                end += late
            free[server] = end
            for buffer, amount in gives:
                credits[buffer].release(amount, end)
            if spans is not None:
                spans.append(Stay(server, begin, end, idle, cause, lag, stops, late))
            if stops:
                begin += stretch(begin, beat, period, stall) - beat
            wait = latency[server]
            first, last, lag = begin + wait, end - beat + wait, lag + wait
            source = LAUNCHING if server == LAUNCH else INPUT
        if write:
            pending.append(Pending(reads + distance, first, last, write, lag))
        if result:
            state.act = last
            if last + q > state.finish:
                state.finish = last + q
    state.reads = reads
    while flush and pending:
        _place(pipeline, state, spans)
    if free[DRAM] > state.finish:  # a slow channel is busy until its last beat ends
        state.finish = free[DRAM]


def _place(pipeline: Pipeline, state: State, spans) -> None:
    """Let the oldest pending write have the channel."""
    _, first, last, step, lag = state.pending.pop(0)
    idle = begin = state.free[DRAM]
    if state.origin > begin:
        begin = state.origin
    if first > begin:
        begin = first
    stops = stretch(begin, step.interval, pipeline.period, pipeline.stall) - step.interval if pipeline.period else 0
    end = begin + step.interval + stops
    late = last + step.beat - end
    if state.watch == DRAM:
        _account(state, begin - idle, INPUT, lag, stops, late)
    if late > 0:
        end += late
    state.free[DRAM] = end
    for buffer, amount in step.gives:
        state.credits[buffer].release(amount, end)
    if spans is not None:
        spans.append(Stay(DRAM, begin, end, idle, INPUT, lag, stops, late, step))


def _account(state: State, idled: int, cause: int, lag: int, stops: int, late: int) -> None:
    """Ticks in which the watched server does not work: before a stay, stopped, and waiting for its last beat."""
    lost = state.lost
    if not state.started:
        cause, state.started = FILL, True
    elif cause == INPUT:  # the latencies on the way come first
        on_the_way = min(lag, idled)
        lost[LATENCY] += on_the_way
        idled -= on_the_way
    lost[cause] += idled
    lost[REFRESH] += stops
    if late > 0:
        lost[INPUT] += late
