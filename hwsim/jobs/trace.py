"""Timeline of a run as Chrome JSON, which ui.perfetto.dev opens: servers, ops, layers, and counters.

A track per server shows each tile's stay, and between stays what the server waits for, by the causes of the result.
Two tracks show the ops and the layers, which share the run's time without a gap. Counters: the memory's bytes per
second and the fill of each buffer. Nothing repeats in a timeline, so every tile is walked, up to
`WALKED` stays: then ops and layers go on from the times of the run, in which equal work is simulated once, and a note
says so.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from hwsim.files.whole import write_whole
from hwsim.jobs.tile import TileJob
from hwsim.mapping.program import BUFFERS, CAUSES, DRAM, SERVERS, Program, Step, Tile
from hwsim.result import Result
from hwsim.sim.engine import END, way_out
from hwsim.sim.state import State
from hwsim.sim.walk import Stay, walk

EVENT_CAP = 200_000
#: Stays of tiles on servers that are walked, some ten seconds; of a longer run the first.
WALKED = 500_000
#: Parts of the time for which counters have a value each.
COUNTED = 2000
#: The buffers that hold bytes; the others are queues of a few tiles.
FILLED = range(3)
#: Processes of the timeline: the machine, with a thread per server, and the step that it runs, with its ops and layers.
MACHINE, STEP = 1, 2
OPS, LAYERS = len(SERVERS), len(SERVERS) + 1


class Placed(NamedTuple):
    """A stay, the step that it is of, and the op and the tile that the step belongs to."""

    stay: Stay
    step: Step
    op: int
    tile: int


class Timeline:
    """A run, tile by tile.

    most: stays that are walked. stays: those of the whole run. walked: the ops of which every stay is walked.
    ticks: of the whole run. until: the time at which the walk ends; that of the run, if it is not cut.
    ends: when each op ends, in ticks; an op begins where the one before ends.
    rates: bytes that each op moves per tick in which it occupies the memory.
    free: since when each server that was used is idle at the end.
    """

    def __init__(self, job: TileJob, most: int = WALKED) -> None:
        _, tiled = job.choice
        self.most, self.walked, self.until = most, 0, 0
        self.job, self.programs = job, [one.program for one in tiled]
        self.ends: list[int] = []
        self.rates = [one.dram_bytes / (one.program.work[DRAM] or 1) for one in tiled]
        self.free: dict[int, int] = {}
        self.ticks = 0
        programs = {id(program): program for program in self.programs}
        each = {key: _stays(program) for key, program in programs.items()}
        self.stays = sum(each[id(program)] for program in self.programs)

    @property
    def cut(self) -> bool:
        """Whether the run has more stays than are walked."""
        return self.stays > self.most

    def placed(self) -> Iterator[Placed]:
        """Every stay in program order, up to `most`.

        Writes belong to the op that they are of, though later ops run then.
        """
        state = State.initial(self.job.pipeline, self.job.limiting)
        writes: deque[tuple[int, int]] = deque()
        left = self.most
        for index, program in enumerate((*self.programs, END)):
            state.begin(program.distance)
            spans: list[Stay] = []
            walk(self.job.pipeline, state, _first(program.tiles(), left), program.flush, spans)
            self.ends.append(state.finish)
            left -= _stays(program)
            for found in _steps(program, spans, index, writes):
                self.free[found.stay.server] = found.stay.end
                yield found
            if left < 0:
                self.walked, self.until = index, state.finish
                self.ends = list(accumulate(self.job.simulate("walk").by_op))
                self.ticks = self.ends[-1]
                return
        self.walked = len(self.programs)
        self.ticks = self.until = self.ends.pop()
        self.ends[-1] = self.ticks

    def note(self, drawn: int) -> str:
        """What a reader must know of the tiles that are not drawn; "": all are. drawn: stays that are, at most."""
        shown = min(drawn, self.most)
        if self.stays <= shown:
            return ""
        said = f"tiles are drawn for the first {shown:,} of {self.stays:,} stays on servers"
        if not self.cut:
            return f"{said}; ops, layers and counters are whole"
        return (
            f"{said}; ops and layers are whole. From op {self.walked + 1:,} of {len(self.programs):,}, memory bytes "
            "are each op's mean, and the fill of buffers is left out"
        )

    def drained(self, server: int) -> tuple[int, int]:
        """Ticks at the end in which a server idles: until its last result is out, and after that."""
        left = self.ticks - self.free[server]
        out = min(left, way_out(self.job.pipeline, self.programs, server))
        return out, left - out


def _stays(program: Program) -> int:
    """How often a tile of the program is on a server; each write is one."""
    sizes = (
        (times, program.table[number].steps, program.table[number].write)
        for number, times in program.tree.counts.items()
    )
    return sum(times * (len(steps) + bool(write)) for times, steps, write in sizes)


def _first(tiles: Iterator[Tile[Step]], most: int) -> Iterator[Tile[Step]]:
    """The tiles up to a number of stays."""
    for tile in tiles:
        if most <= 0:
            return
        yield tile
        most -= len(tile.steps) + bool(tile.write)


def _steps(program: Program, spans: list[Stay], op: int, writes: deque[tuple[int, int]]) -> Iterator[Placed]:
    """Each stay with its step. writes: (op, tile) of those that wait for their place, oldest first."""
    tiles: Iterator[Tile[Step]] = program.tiles()
    steps: tuple[Step, ...] = ()
    number, at, write = -1, 0, None
    for stay in spans:
        if stay.write is not None:
            yield Placed(stay, stay.write, *writes.popleft())
            continue
        if at == len(steps):
            (steps, write, _), number, at = next(tiles), number + 1, 0
        at += 1
        yield Placed(stay, steps[at - 1], op, number)
        if at == len(steps) and write:
            writes.append((op, number))


def stalls(stay: Stay, first: bool) -> Iterator[tuple[str, int, int]]:
    """(cause, start, end) of the idle time before a stay, and of the wait for its last beats, which is at its end.

    first: the server has not served before.
    """
    if stay.start > stay.idle:
        cause, idle = CAUSES[stay.cause], stay.idle
        if first:
            cause = "fill"
        elif cause == "waiting_input" and stay.lag:  # the latencies on the way come first
            there = min(stay.start, idle + stay.lag)
            yield "latency", idle, there
            idle = there
        if stay.start > idle:
            yield cause, idle, stay.start
    if stay.late > 0:
        yield "waiting_input", stay.end - stay.late, stay.end


class Counters:
    """The memory's bytes and the fill of the buffers, in equal parts of the time."""

    def __init__(self, ticks: int) -> None:
        self.ticks, self.parts = ticks, min(COUNTED, ticks)
        self.moved = [0.0] * self.parts
        self.changes: dict[int, list[tuple[int, int]]] = {buffer: [] for buffer in FILLED}
        self.newest = [0] * len(BUFFERS)

    def count(self, found: Placed, rate: float) -> None:
        """Add a stay. rate: bytes per tick of the memory."""
        stay, step = found.stay, found.step
        if stay.server == DRAM and step.interval:
            self._spread(stay.start, stay.end - max(stay.late, 0), step.interval * rate)
        for buffer, amount in step.takes:
            self._change(buffer, stay.start, amount)
        for buffer, amount in step.gives:  # credits return in program order
            self.newest[buffer] = max(self.newest[buffer], stay.end)
            self._change(buffer, self.newest[buffer], -amount)

    def rest(self, line: Timeline, moved: list[float]) -> None:
        """Add the bytes of the ops whose stays are not all walked, evenly over the rest of each op's time.

        moved: bytes of each op that are counted.
        """
        rates = zip(line.programs, line.rates, strict=True)
        whole = [program.work[DRAM] * rate for program, rate in rates]
        for op in range(line.walked, len(line.ends)):
            start, end = max(line.until, line.ends[op - 1] if op else 0), line.ends[op]
            if end > start and whole[op] > moved[op]:
                self._spread(start, end, whole[op] - moved[op])

    def _spread(self, start: int, end: int, nbytes: float) -> None:
        """Add bytes that move at an even rate from start to end."""
        first, last = start * self.parts // self.ticks, min((end - 1) * self.parts // self.ticks, self.parts - 1)
        for part in range(first, last + 1):
            low, high = part * self.ticks / self.parts, (part + 1) * self.ticks / self.parts
            self.moved[part] += nbytes * (min(end, high) - max(start, low)) / (end - start)

    def _change(self, buffer: int, time: int, amount: int) -> None:
        if buffer in self.changes:
            self.changes[buffer].append((time, amount))  # ticks can have more than 64 bits

    def fill(self, buffer: int, until: int) -> list[int]:
        """The most that the buffer holds in each part of the time, in bytes, up to a time."""
        most, held, at = [0] * self.parts, 0, 0
        for time, amount in sorted(self.changes[buffer]):  # at one time, what is given back comes first
            part = min(time * self.parts // self.ticks, self.parts - 1)
            while at < part:
                at += 1
                most[at] = held
            held += amount
            most[part] = max(most[part], held)
        most[at + 1 :] = [held] * (self.parts - at - 1)
        return most[: -(-until * self.parts // self.ticks)]


def trace_events(job: TileJob, cap: int = EVENT_CAP, most: int = WALKED) -> dict[str, Any]:
    """Events of the run, in microseconds: stays and stalls by server, ops, layers, counters.

    cap: keep at most this many stays, the earliest in program order, with their stalls; `truncated` says whether some
    were dropped, and `note` what of the run is not drawn. Ops and layers are always whole. most: as in `Timeline`.
    """
    line, tick_us = Timeline(job, most), 1e6 / float(job.arch.clock_hz) / job.pipeline.q
    counters = Counters(job.simulate("walk").ticks)
    slices: list[dict[str, Any]] = []
    kept, seen = 0, set[int]()
    moved = [0.0] * len(job.ops)

    def add(process: int, thread: int, name: str, kind: str, start: int, end: int, **said: Any) -> None:
        slices.append(
            {
                "name": name,
                "cat": kind,
                "ph": "X",
                "pid": process,
                "tid": thread,
                "ts": round(start * tick_us, 6),
                "dur": round((end - start) * tick_us, 6),
                "args": said,
            }
        )

    for found in line.placed():
        stay, op, rate = found.stay, job.ops[found.op], line.rates[found.op]
        counters.count(found, rate)
        moved[found.op] += found.step.interval * rate if stay.server == DRAM else 0.0
        kept += 1
        if kept <= cap:
            for cause, start, end in stalls(stay, stay.server not in seen):
                add(MACHINE, stay.server, cause, "stall", start, end)
            said: dict[str, Any] = {"layer": op.layer} if op.layer >= 0 else {}
            said |= {"tile": found.tile} | ({"write": True} if stay.write else {})
            said |= {"bytes": round(found.step.interval * rate)} if stay.server == DRAM else {}
            said |= {"refresh_us": round(stay.stops * tick_us, 6)} if stay.stops else {}
            add(MACHINE, stay.server, op.name, op.kind, stay.start, stay.end - max(stay.late, 0), **said)
        seen.add(stay.server)
    if line.cut:
        counters.rest(line, moved)
    elif kept <= cap:
        for server in sorted(seen):
            out, rest = line.drained(server)
            for cause, start, end in (("latency", 0, out), ("drain", out, out + rest)):
                if end > start:
                    add(MACHINE, server, cause, "stall", line.free[server] + start, line.free[server] + end)
    for start, end, op, said in _ops(line, tick_us):
        add(STEP, OPS, op.name, op.kind, start, end, **said)
    for start, end, layer in _layers(line):
        add(STEP, LAYERS, f"layer {layer}" if layer >= 0 else "outside layers", "layer", start, end)
    events = [
        *_names(job, sorted(seen)),
        *sorted(slices, key=lambda e: e["ts"]),
        *_counted(counters, line.until, tick_us),
    ]
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "truncated": line.stays > min(cap, most),
        "note": line.note(cap),
    }


def _names(job: TileJob, servers: list[int]) -> Iterator[dict[str, Any]]:
    """Names of the tracks."""
    for process, name in ((MACHINE, job.arch.name), (STEP, "the step")):
        yield {"name": "process_name", "ph": "M", "pid": process, "args": {"name": name}}
    threads = [(MACHINE, server, SERVERS[server]) for server in servers]
    for process, thread, name in (*threads, (STEP, OPS, "ops"), (STEP, LAYERS, "layers")):
        yield {"name": "thread_name", "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _ops(line: Timeline, tick_us: float) -> Iterator[tuple[int, int, Any, dict[str, Any]]]:
    """(start, end, op, what is said of it) of each op that takes time."""
    job, start = line.job, 0
    _, tiled = job.choice
    for op, number, one, end in zip(job.ops, job.distinct.order, tiled, line.ends, strict=True):
        if end > start:
            said: dict[str, Any] = {"layer": op.layer} if op.layer >= 0 else {}
            extra = [(SERVERS[server], cause, ticks) for server, cause, ticks in one.program.extra if ticks]
            lost = {f"{server}_{cause}_us": round(ticks * tick_us, 6) for server, cause, ticks in extra}
            if one.kernel:
                lost |= {f"{c}_us": round(1e6 * seconds, 6) for c, seconds in one.kernel.causes.items() if seconds}
            said |= {"limited_by": job.limits[number], "bytes": one.dram_bytes, "macs": op.dot_macs + op.vector_macs}
            yield start, end, op, said | lost
        start = end


def _layers(line: Timeline) -> Iterator[tuple[int, int, int]]:
    """(start, end, number) of each layer: ops of one layer that follow one another."""
    since = 0
    for index, (op, end) in enumerate(zip(line.job.ops, line.ends, strict=True)):
        last = index + 1 == len(line.job.ops)
        if last or line.job.ops[index + 1].layer != op.layer:
            if end > since:
                yield since, end, op.layer
            since = end


def _counted(counters: Counters, until: int, tick_us: float) -> Iterator[dict[str, Any]]:
    """A value wherever a counter changes."""
    part_us = counters.ticks * tick_us / counters.parts
    rows: list[tuple[str, str, list[Any]]] = [
        ("memory", "GB/s", [round(nbytes / part_us / 1e3, 3) for nbytes in counters.moved])
    ]
    rows += [(f"{BUFFERS[buffer]} buffer", "bytes", counters.fill(buffer, until)) for buffer in FILLED]
    for name, unit, values in rows:
        if not any(values):
            continue
        before = None
        for part, value in enumerate(values):
            if value != before:
                at = round(part * part_us, 6)
                yield {"name": f"{name}, {unit}", "ph": "C", "pid": MACHINE, "ts": at, "args": {unit: value}}
            before = value


def write_trace(path: Path, job: TileJob, result: Result) -> str:
    """Write the timeline of `job` to `path`, with the name of the run in its metadata; what of the run is not drawn."""
    data = trace_events(job)
    note = str(data.pop("note"))
    data |= {"otherData": {"run": result.name, "machine": result.machine} | ({"note": note} if note else {})}
    write_whole(path, json.dumps(data, separators=(",", ":")))
    return note
