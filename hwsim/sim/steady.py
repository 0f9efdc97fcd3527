"""Long runs of equal tiles: simulated until their state repeats, then by whole periods; exact to the tick.

A run is cut into chunks, each an op of its own to the driver, with the state handed on between. All times of the
servers and buffers that the tiles use are compared from chunk to chunk: once they are the same but for a shift, every
later start, a `max` of such times, is shifted too, and so whole periods are added without simulating them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import CAUSES, DRAM, Program, Tile
from hwsim.sim.state import State

#: Runs of fewer tiles are simulated whole; the others in chunks of about so many tiles, at most so many chunks.
LEAST, CHUNK, TRIES = 256, 16, 64


@dataclass(frozen=True, slots=True)
class Used:
    """What the tiles of a run touch: servers, those of them that wait for the op before, buffers."""

    servers: tuple[int, ...]
    waiting: tuple[int, ...]
    buffers: tuple[int, ...]
    results: bool
    writes: bool

    @classmethod
    def of(cls, tiles: tuple[Tile, ...], state: State) -> Used:
        """Of the tiles, and of the writes that still wait for their place."""
        writes = [t.write for t in tiles if t.write] + [p.step for p in state.pending]
        steps = [s for t in tiles for s in t.steps]
        servers = {s.server for s in steps} | ({DRAM} if writes else set())
        buffers = {b for s in (*steps, *writes) for b, _ in (*s.takes, *s.gives)}
        waiting = tuple({s.server for s in steps if s.waits})
        return cls(tuple(sorted(servers)), waiting, tuple(sorted(buffers)), any(t.result for t in tiles), bool(writes))

    def settled(self, state: State) -> bool:
        """Nothing of before the run decides a start any more: every used server is free later than that."""
        return all(state.act <= state.free[s] for s in self.waiting) and all(
            state.origin <= state.free[s] for s in self.servers
        )

    def relative(self, state: State, act: int, floor: int) -> tuple[int, tuple]:
        """(base, all that can decide or be decided by later tiles, times from the base).

        floor: no later step starts before it. Credits that are back by then are free, whatever their time was.
        """
        base = state.free[self.servers[0]]
        for credit in (state.credits[b] for b in self.buffers):
            while credit.released and credit.released[0][0] <= floor:
                credit.pop()
        credits = [state.credits[b] for b in self.buffers]
        return base, (
            tuple(state.free[s] - base for s in self.servers),
            tuple((c.free, max(c.when, floor) - base, tuple((t - base, n) for t, n in c.released)) for c in credits),
            tuple((p.reads, p.first - base, p.last - base, p.step) for p in state.pending),
            act - base if self.results else None,
            state.started,
            state.finish - base if self.results or self.writes else None,
        )

    def shift(self, state: State, act: int, ticks: int) -> int:
        """Move all that `relative` holds by `ticks`; returns the result's time."""
        for s in self.servers:
            state.free[s] += ticks
        for credit in (state.credits[b] for b in self.buffers):
            credit.when += ticks
            credit.released = type(credit.released)((t + ticks, n) for t, n in credit.released)
        state.pending = [p._replace(first=p.first + ticks, last=p.last + ticks) for p in state.pending]
        if self.results or self.writes:
            state.finish += ticks
        return act + ticks if self.results else act


def run_op(driver: Callable, pipeline: Pipeline, program: Program, state: State, watch: int) -> list[int]:
    """Run one op on `state` as `driver` would, long runs by periods; returns idle ticks of `watch` by cause."""
    parts, short = [], []
    for tiles, repeat in program.runs:
        if len(tiles) * repeat < LEAST:
            short.append((tiles, repeat))
            continue
        parts += [tuple(short)] * bool(short) + [((tiles, repeat),)]
        short = []
    if not parts:
        return driver(pipeline, program, state, watch)
    parts += [tuple(short)] * bool(short)
    before, act, lost = state.act, state.act, [0] * len(CAUSES)
    for i, runs in enumerate(parts):
        flush = program.flush and i == len(parts) - 1
        piece = Program(runs, program.distance, flush)
        if len(runs) > 1 or len(runs[0][0]) * runs[0][1] < LEAST:
            idle = driver(pipeline, piece, state, watch)
            act, state.act = state.act if _results(runs) else act, before
        else:
            idle, act = _long(driver, pipeline, piece, state, act, watch, Ahead.of(parts[i:]))
        lost = [a + b for a, b in zip(lost, idle, strict=True)]
    state.act = act
    return lost


def _results(runs) -> bool:
    return any(t.result for tiles, _ in runs for t in tiles)


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is left of an op: the servers it uses, and whether it yields results."""

    servers: frozenset[int]
    results: bool

    @classmethod
    def of(cls, parts) -> Ahead:
        """Of the runs still to come, the present one included."""
        tiles = [t for runs in parts for some, _ in runs for t in some]
        return cls(frozenset({DRAM} | {s.server for t in tiles for s in t.steps}), any(t.result for t in tiles))

    def floor(self, state: State, act: int) -> int:
        """No step of the rest of the op, nor of any op after it, starts before this."""
        floor = min(state.free[s] for s in self.servers)
        return floor if self.results else min(floor, act)


def _long(
    driver, pipeline: Pipeline, program: Program, state: State, act: int, watch: int, ahead: Ahead
) -> tuple[list[int], int]:
    """One run of equal tiles; `state.act` stays that of the op before, `act` is the newest result."""
    ((tiles, left),) = program.runs
    passes = -(-CHUNK // len(tiles))
    chunk = Program(((tiles, passes),), program.distance)
    before, lost, seen, results = state.act, [0] * len(CAUSES), {}, _results(program.runs)
    while left > 2 * passes and len(seen) < TRIES:
        used = Used.of(tiles, state)
        if used.settled(state):
            base, now = used.relative(state, act, ahead.floor(state, act))
            if now in seen:
                earlier, earlier_left, earlier_lost = seen[now]
                period = earlier_left - left
                times = (left - passes) // period
                act = used.shift(state, act, times * (base - earlier))
                lost = [n + times * (n - e) for n, e in zip(lost, earlier_lost, strict=True)]
                left -= times * period
                break
            seen[now] = base, left, lost
        idle = driver(pipeline, chunk, state, watch)
        act, state.act = state.act if results else act, before
        lost, left = [a + b for a, b in zip(lost, idle, strict=True)], left - passes
    rest = Program(((tiles, left),), program.distance, program.flush)
    idle = driver(pipeline, rest, state, watch)
    act, state.act = state.act if results else act, before
    return [a + b for a, b in zip(lost, idle, strict=True)], act
