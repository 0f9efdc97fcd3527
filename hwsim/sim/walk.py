"""walk: the fast driver. Tile by tile through the whole pipeline, with `max` and `+` only.

Possible because every server serves in program order: no later tile touches an earlier one.
"""

from __future__ import annotations

from hwsim.errors import ModelError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import CAUSES, DRAM, LAUNCH, Program
from hwsim.sim.refresh import stretch
from hwsim.sim.state import Pending, State

NEVER = -(1 << 200)
FILL, INPUT, BLOCKED, REFRESH, LAUNCHING, DEPENDENCY = map(
    CAUSES.index, ("fill", "waiting_input", "output_blocked", "refresh", "launch", "dependency")
)


def walk(pipeline: Pipeline, program: Program, state: State, watch: int, spans=None) -> list[int]:
    """Run one op on `state` (changed in place); returns the idle ticks of server `watch` by cause.

    spans: a list that receives (server, start, end) of every stay on a server.
    raises: ModelError if a tile needs more of a buffer than will ever be free.
    """
    q, latency, capacity = pipeline.q, pipeline.latency, pipeline.capacity
    period, stall = pipeline.period, pipeline.stall
    free, credits, pending = state.free, state.credits, state.pending
    before, act, finish = state.act, state.act, state.finish
    lost, origin = [0] * len(CAUSES), state.origin
    reads = 0

    def acquire(takes):
        """When the last of `takes` is there; places writes early if only they can free it."""
        ready = 0
        for buffer, amount in takes:
            credit = credits[buffer]
            while credit.free < amount:
                if not credit.pop():
                    if not pending:
                        raise ModelError(f"a tile takes {amount} of buffer {buffer}: {capacity[buffer]}")
                    write(pending.pop(0))
            credit.free -= amount
            if credit.when > ready:
                ready = credit.when
        return ready

    def write(item):
        nonlocal finish
        _, first, last, step = item
        idle, begin = free[DRAM], max(free[DRAM], first, origin)
        if watch == DRAM:
            lost[INPUT if state.started else FILL] += begin - idle
            state.started = True
        end = begin + (stretch(begin, step.interval, period, stall) if period else step.interval)
        late = last + step.beat - end
        if late > 0:
            end += late
        if watch == DRAM:
            lost[REFRESH] += end - begin - step.interval - max(late, 0)
            lost[INPUT] += max(late, 0)
        free[DRAM] = end
        for buffer, amount in step.gives:
            credits[buffer].release(amount, end)
        if end > finish:
            finish = end
        if spans is not None:
            spans.append((DRAM, begin, end))

    for tile in program.tiles():
        first, last, source = 0, NEVER, INPUT
        for server, interval, beat, takes, gives, waits in tile.steps:
            if server == DRAM:
                while pending and pending[0].reads <= reads:
                    write(pending.pop(0))
                reads += 1
            slot = acquire(takes) if takes else 0
            idle, cause = free[server], INPUT
            begin = idle if idle > origin else origin
            if first > begin:
                begin, cause = first, source
            if slot > begin:
                begin, cause = slot, BLOCKED
            if waits and before > begin:
                begin, cause = before, DEPENDENCY
            stretched = period and server == DRAM
            end = begin + (stretch(begin, interval, period, stall) if stretched else interval)
            late = last + beat - end
            if late > 0:
                end += late
            if server == watch:
                lost[cause if state.started else FILL] += begin - idle
                state.started = True
                if late > 0:
                    lost[INPUT] += late
                lost[REFRESH] += end - begin - interval - max(late, 0)
            free[server] = end
            for buffer, amount in gives:
                credits[buffer].release(amount, end)
            if spans is not None:
                spans.append((server, begin, end))
            if stretched:
                begin += stretch(begin, beat, period, stall) - beat
            first, last = begin + latency[server], end - beat + latency[server]
            source = LAUNCHING if server == LAUNCH else INPUT
        if tile.write:
            pending.append(Pending(reads + program.distance, first, last, tile.write))
        if tile.result:
            act = last
            if last + q > finish:
                finish = last + q
    if program.flush:
        while pending:
            write(pending.pop(0))
    state.pending = [p._replace(reads=p.reads - reads) for p in pending]
    state.act, state.finish = act, finish
    return lost

