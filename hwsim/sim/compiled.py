"""The walk of whole ops, compiled, for studies of many points: the same ticks as `walk`, and no other way to get them.

An op of a few thousand tiles is walked from end to end in less time than it takes to look for its period, so this file
knows neither loops nor drift. It is loaded by a study that has points enough to pay for importing numba; whatever it
cannot hold (see `Unfit`) is left to the plain simulator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from weakref import WeakKeyDictionary

import numba
import numpy as np

from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import BUFFERS, CAUSES, DRAM, LAUNCH, READ_BUFFERS, SERVERS, Loop, Program, Tree
from hwsim.sim.engine import End, Simulator, Spell, simulator
from hwsim.sim.walk import BLOCKED, DEPENDENCY, FILL, INPUT, LATENCY, LAUNCHING

#: Ops of more tiles are left to the plain simulator, whose time does not depend on their number.
LONGEST = 20_000

#: A time beyond this is refused; what one stay adds to a time is less, so no sum leaves 64 bits before that is seen.
BEYOND = 1 << 61
NEVER = -BEYOND

#: A state in one array: free times; act, finish, started; free credit and its time by buffer; how many releases by
#: buffer, how many writes; the releases (time, amount) by buffer; the writes.
_S, _B = len(SERVERS), len(BUFFERS)
_ACT, _FINISH, _STARTED, _CREDIT = _S, _S + 1, _S + 2, _S + 3
_WHEN, _COUNTS = _CREDIT + _B, _CREDIT + 2 * _B
_WRITES = _COUNTS + _B
_QUEUES = _WRITES + 1

#: A write: due after so many reads, first and last edge of its data, lag, interval, beat, and the credit that it gives.
_WRITE = 8
_DUE, _FIRST, _LAST, _LAG, _INTERVAL, _BEAT, _BUFFER, _AMOUNT = range(_WRITE)

_LAST_READ_BUFFER = max(READ_BUFFERS)
assert set(READ_BUFFERS) == set(range(_LAST_READ_BUFFER + 1)), "the kernel tells them by their numbers"


class Unfit(Exception):
    """Not for compiled code: all-bank refresh, too many tiles, or ticks that 64 bits may not hold."""


def _jit(function):
    """Compiled when it is first called; kept for later processes where a folder can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither this file's folder nor the user's cache
        return numba.njit(nogil=True)(function)


@_jit
def _account(lost, state, idled, cause, lag, late):
    """As `walk._account`, without refresh."""
    if not state[_STARTED]:
        cause, state[_STARTED] = FILL, 1
    elif cause == INPUT:
        on_the_way = min(lag, idled)
        lost[LATENCY] += on_the_way
        idled -= on_the_way
    lost[cause] += idled
    if late > 0:
        lost[INPUT] += late


@_jit
def _release(state, times, amounts, tail, buffer, amount, time):
    """Credits return in program order."""
    at = tail[buffer]
    newest = times[buffer, at - 1] if at > 0 else state[_WHEN + buffer]
    times[buffer, at], amounts[buffer, at] = max(time, newest), amount
    tail[buffer] = at + 1


@_jit
def _place(state, write, origin, watch, times, amounts, tail, lost):
    """As `walk._place`."""
    idle = state[DRAM]
    begin = max(idle, origin, write[_FIRST])
    end = begin + write[_INTERVAL]
    late = write[_LAST] + write[_BEAT] - end
    if watch == DRAM:
        _account(lost, state, begin - idle, INPUT, write[_LAG], late)
    state[DRAM] = end = max(end, end + late)
    if write[_BUFFER] >= 0:
        _release(state, times, amounts, tail, write[_BUFFER], write[_AMOUNT], end)
    return end < BEYOND


@_jit
def walk_op(
    order, tiles, steps, credits, spans, distance, flush, latency, q, watch, begun, times, amounts, writes, out
):
    """One op from the state `begun`; the state after it goes to `out`.

    order: numbers of tiles. tiles: first step, end of the steps, write (or -1), result. steps: server, waits, first
    credit taken, first given, end of those. credits: buffer, amount. spans: interval and beat, by step.
    times, amounts, writes: room for releases by buffer, and for writes.
    Returns (length of `out`, ticks of the op, ticks the origin moved, lost ticks by cause); length 0: refused.
    """
    lost, head, tail = np.zeros(len(CAUSES), np.int64), np.zeros(_B, np.int64), np.zeros(_B, np.int64)
    state = begun[:_QUEUES].copy()
    at = _QUEUES
    for buffer in range(_B):
        for _ in range(begun[_COUNTS + buffer]):
            times[buffer, tail[buffer]], amounts[buffer, tail[buffer]] = begun[at], begun[at + 1]
            tail[buffer] += 1
            at += 2
    oldest, newest, reads = 0, begun[_WRITES], 0
    for each in range(newest):
        writes[each] = begun[at : at + _WRITE]
        at += _WRITE
    before, start = state[_ACT], state[_FINISH]
    origin = min(state[DRAM], before)
    for number in order:
        first, last, source, lag = 0, NEVER, INPUT, 0
        for step in range(tiles[number, 0], tiles[number, 1]):
            server = steps[step, 0]
            if server == DRAM:
                while oldest < newest and writes[oldest, _DUE] <= reads:
                    if not _place(state, writes[oldest], origin, watch, times, amounts, tail, lost):
                        return 0, 0, 0, lost
                    oldest += 1
                reads += 1
            slot = 0
            for taken in range(steps[step, 2], steps[step, 3]):
                buffer, amount = credits[taken, 0], credits[taken, 1]
                while state[_CREDIT + buffer] < amount:
                    if head[buffer] < tail[buffer]:
                        state[_WHEN + buffer] = times[buffer, head[buffer]]
                        state[_CREDIT + buffer] += amounts[buffer, head[buffer]]
                        head[buffer] += 1
                    elif oldest < newest and _place(state, writes[oldest], origin, watch, times, amounts, tail, lost):
                        oldest += 1
                    else:
                        return 0, 0, 0, lost
                state[_CREDIT + buffer] -= amount
                slot = max(slot, state[_WHEN + buffer])
            idle = begin = state[server]
            cause = INPUT
            begin = max(begin, origin)
            if first > begin:
                begin, cause = first, source
            if slot > begin:
                begin, cause = slot, BLOCKED
            if steps[step, 1] and before > begin:
                begin, cause = before, DEPENDENCY
            beat, end = spans[step, 1], begin + spans[step, 0]
            late = last + beat - end
            if server == watch and (begin > idle or late > 0 or not state[_STARTED]):
                _account(lost, state, begin - idle, cause, lag, late)
            state[server] = end = max(end, end + late)
            if end >= BEYOND:
                return 0, 0, 0, lost
            for given in range(steps[step, 3], steps[step, 4]):
                _release(state, times, amounts, tail, credits[given, 0], credits[given, 1], end)
            wait = latency[server]
            first, last, lag = begin + wait, end - beat + wait, lag + wait
            source = LAUNCHING if server == LAUNCH else INPUT
        write = tiles[number, 2]
        if write >= 0:
            row = writes[newest]
            row[_DUE], row[_FIRST], row[_LAST], row[_LAG] = reads + distance, first, last, lag
            row[_INTERVAL], row[_BEAT], row[_BUFFER], row[_AMOUNT] = spans[write, 0], spans[write, 1], -1, 0
            for given in range(steps[write, 3], steps[write, 4]):
                row[_BUFFER], row[_AMOUNT] = credits[given, 0], credits[given, 1]
            newest += 1
        if tiles[number, 3]:
            state[_ACT] = last
            state[_FINISH] = max(state[_FINISH], last + q)
    while flush and oldest < newest:
        if not _place(state, writes[oldest], origin, watch, times, amounts, tail, lost):
            return 0, 0, 0, lost
        oldest += 1
    state[_FINISH] = max(state[_FINISH], state[DRAM])

    # As `State.freeze`.
    base, channel, at = min(state[DRAM], state[_ACT]), state[DRAM], _QUEUES
    for buffer in range(_B):
        low = channel if buffer <= _LAST_READ_BUFFER else base
        while head[buffer] < tail[buffer] and times[buffer, head[buffer]] <= low:
            state[_CREDIT + buffer] += amounts[buffer, head[buffer]]
            head[buffer] += 1
        state[_WHEN + buffer] = max(state[_WHEN + buffer], low) - base
        state[_COUNTS + buffer] = tail[buffer] - head[buffer]
        for each in range(head[buffer], tail[buffer]):
            out[at], out[at + 1] = times[buffer, each] - base, amounts[buffer, each]
            at += 2
    for each in range(oldest, newest):
        row = writes[each]
        row[_DUE] -= reads
        if row[_FIRST] <= channel:
            row[_FIRST], row[_LAST], row[_LAG] = channel, max(row[_LAST], channel), 0
        row[_FIRST] -= base
        row[_LAST] -= base
        out[at : at + _WRITE] = row
        at += _WRITE
    for server in range(_S):
        if server != watch:
            state[server] = max(state[server], base)
        state[server] -= base
    ticks = state[_FINISH] - start
    state[_ACT] -= base
    state[_FINISH] -= base
    state[_WRITES] = newest - oldest
    out[:_QUEUES] = state
    if state[watch] <= -BEYOND:  # it has not worked for that long
        return 0, 0, 0, lost
    return at, ticks, base, lost


class Flat:
    """The tiles of a program one after the other, as arrays without ticks. raises: Unfit."""

    def __init__(self, program: Program):
        if program.tree.size > LONGEST or any(len(t.write.gives) > 1 for t in program.table if t.write):
            raise Unfit
        self.order = _numbers(program.tree.loops)
        steps: list[tuple[int, ...]] = []
        tiles: list[tuple[int, ...]] = []
        credits: list[tuple[int, int]] = []
        for tile in program.table:
            first, end = len(steps), len(steps) + len(tile.steps)
            for step in (*tile.steps, tile.write) if tile.write else tile.steps:
                taken, given = len(credits), len(credits) + len(step.takes)
                credits += (*step.takes, *step.gives)
                steps.append((step.server, step.waits, taken, given, len(credits)))
            tiles.append((first, end, end if tile.write else -1, tile.result))
        self.tiles, self.steps, self.credits = _table(tiles, 4), _table(steps, 5), _table(credits, 2)
        self.gives = len(self.order) * max((sum(len(s.gives) for s in t.steps) + 1 for t in program.table), default=0)

    @staticmethod
    def spans(program: Program) -> np.ndarray:
        """Interval and beat of every step, in the order of `steps`. raises: Unfit."""
        stays = [step for tile in program.table for step in (*tile.steps, tile.write) if step]
        return _table([(step.interval, step.beat) for step in stays], 2)


#: By tree: it belongs to one plan, so the programs that have it differ in their ticks alone.
_flats: WeakKeyDictionary[Tree, Flat] = WeakKeyDictionary()


def _table(rows: Sequence[tuple[int, ...]], columns: int) -> np.ndarray:
    try:
        return np.array(rows, np.int64).reshape(-1, columns)
    except OverflowError:
        raise Unfit from None


def _numbers(loops: Iterable[Loop]) -> np.ndarray:
    """The numbers of all tiles, in order."""
    none = np.zeros(0, np.int32)
    parts = [np.tile(np.concatenate([np.array(o.tiles, np.int32), _numbers(o.loops)]), o.times) for o in loops]
    return np.concatenate([none, *parts])


class Compiled(Simulator):
    """A simulator whose states are arrays, and their bytes the keys. What does not fit runs on the plain one."""

    def __init__(self, pipeline: Pipeline, watch: int):
        self.plain = simulator(pipeline, watch, "walk")
        self.latency = _table([pipeline.latency], len(pipeline.latency))[0]
        if max(pipeline.q, *pipeline.latency) >= BEYOND >> 4 or max(pipeline.capacity) >= BEYOND:
            raise Unfit
        none = np.empty((_B, 0), np.int64)
        self.rooms: tuple[np.ndarray, ...] = (none, none, none[:0], none[0])
        super().__init__(pipeline, watch)

    def _forget(self) -> None:
        self.spans: dict[Program, np.ndarray] = {}
        super()._forget()

    def _first(self) -> int:
        state = np.zeros(_QUEUES, np.int64)
        state[_CREDIT : _CREDIT + len(self.pipeline.capacity)] = self.pipeline.capacity
        return self._number(state.tobytes(), len(state))

    def _end(self, number: int) -> End:
        state = np.frombuffer(self.states[number], np.int64)
        return End(int(state[_FINISH]), int(state[self.watch]))

    def _spells(self, programs: Sequence[Program]) -> tuple[list[Spell], End]:
        try:
            return super()._spells(programs)
        except Unfit:
            return self.plain._spells(programs)

    def ticks(self, programs: Sequence[Program], runs: Iterable[tuple[Sequence[int], int]]) -> int:
        """As the plain simulator's."""
        try:
            return super().ticks(programs, runs)
        except Unfit:
            return self.plain.ticks(programs, runs)

    def _rooms(self, releases: int, writes: int) -> tuple[np.ndarray, ...]:
        """Room for so many releases per buffer and so many writes, or more; the next walk has the same."""
        if releases > self.rooms[0].shape[1] or writes > len(self.rooms[2]):
            releases, writes = max(releases, self.rooms[0].shape[1]), max(writes, len(self.rooms[2]))
            self.rooms = (
                *(np.empty((_B, releases), np.int64) for _ in range(2)),
                np.empty((writes, _WRITE), np.int64),
                np.empty(_QUEUES + 2 * releases + _WRITE * writes, np.int64),
            )
        return self.rooms

    def _simulate(self, program: Program, number: int) -> Spell:
        flat, begun = _flats.get(program.tree), np.frombuffer(self.states[number], np.int64)
        if flat is None:
            flat = _flats[program.tree] = Flat(program)
        spans = self.spans.get(program)
        if spans is None:
            spans = self.spans[program] = flat.spans(program)
            if spans.max(initial=0) >= BEYOND // 4:
                raise Unfit
        waiting, room = int(begun[_WRITES]), len(begun) + flat.gives
        times, amounts, writes, out = self._rooms(room, waiting + len(flat.order))
        length, ticks, shift, lost = walk_op(
            *(flat.order, flat.tiles, flat.steps, flat.credits, spans),
            *(program.distance, program.flush, self.latency, self.pipeline.q, self.watch),
            *(begun, times, amounts, writes, out),
        )
        if not length:
            raise Unfit
        return Spell(self._number(out[:length].tobytes(), length), ticks, shift, tuple(lost.tolist()))


@lru_cache(maxsize=4)
def compiled(pipeline: Pipeline, watch: int, driver: str = "walk") -> Simulator:
    """The simulator of a pipeline, a watched server and a driver: a compiled one for the walk, where it can be."""
    if driver != "walk" or pipeline.period:
        return simulator(pipeline, watch, driver)
    try:
        return Compiled(pipeline, watch)
    except Unfit:
        return simulator(pipeline, watch, driver)
