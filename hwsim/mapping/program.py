"""Tile programs: what the servers of a machine run.

A program is static: which server does what for which tile, in which order, and which bytes of which buffer it takes
and gives back. It is a tree of loops over a few distinct tiles, so its size does not depend on the size of the op.
Times are found by `hwsim.sim`, from `max` and `+` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

#: Servers, in pipeline order.
SERVERS = ("dram", "regenerate", "dequantise", "dot", "vector", "round", "link", "launch")
DRAM, REGENERATE, DEQUANTISE, DOT, VECTOR, ROUND, LINK, LAUNCH = range(len(SERVERS))

#: Buffers. The first three count bytes; the queues in front of a compute server count tiles.
BUFFERS = ("weights", "activations", "outputs", "dot_queue", "vector_queue", "round_queue")
WEIGHTS, ACTIVATIONS, OUTPUTS, DOT_QUEUE, VECTOR_QUEUE, ROUND_QUEUE = range(len(BUFFERS))
QUEUE_TILES = 4

#: Buffers that only reads of the DRAM take from: their credits are needed when the channel is free, and no earlier.
READ_BUFFERS = (WEIGHTS, ACTIVATIONS)

#: What each cycle of the limiting server is spent on.
CAUSES = (
    "busy",
    "fill",
    "drain",
    "waiting_input",
    "output_blocked",
    "refresh",
    "row_miss",
    "turnaround",
    "launch",
    "dependency",
    "reread",
    "padding",
    "latency",
)


class Step(NamedTuple):
    """A tile's stay on one server; interval and beat in ticks, credits as (buffer, amount).

    takes: credits needed at the start; gives: credits returned when the interval ends.
    waits: also waits for the result of the op before.
    """

    server: int
    interval: int
    beat: int
    takes: tuple[tuple[int, int], ...] = ()
    gives: tuple[tuple[int, int], ...] = ()
    waits: bool = False


class Tile(NamedTuple):
    """Steps in order, each fed by the one before; `write` goes to DRAM some reads later.

    result: the last step yields results of the op (the next op may wait for them).
    """

    steps: tuple[Step, ...]
    write: Step | None = None
    result: bool = True


class Uses(NamedTuple):
    """What some tiles touch.

    servers: in pipeline order, DRAM among them if there are writes; waiting: those that wait for the op before.
    buffers: that they take from or give to. results, writes: whether there are any.
    """

    servers: tuple[int, ...]
    waiting: tuple[int, ...]
    buffers: tuple[int, ...]
    results: bool
    writes: bool

    @classmethod
    def of(cls, tiles: Iterable) -> Uses:
        """Of tiles; their steps may be in ticks or in amounts."""
        tiles = tuple(tiles)
        steps, writes = [s for t in tiles for s in t.steps], [t.write for t in tiles if t.write]
        return cls(
            tuple(sorted({s.server for s in (*steps, *writes)})),
            tuple(sorted({s.server for s in steps if s.waits})),
            tuple(sorted({b for s in (*steps, *writes) for b, _ in (*s.takes, *s.gives)})),
            any(t.result for t in tiles),
            bool(writes),
        )

    def __or__(self, other: Uses) -> Uses:
        return Uses(
            *(tuple(sorted({*mine, *theirs})) for mine, theirs in zip(self[:3], other[:3], strict=True)),
            self.results or other.results,
            self.writes or other.writes,
        )


@dataclass(frozen=True, slots=True)
class Loop:
    """`times` passes over `body`: numbers of tiles if it is innermost, else loops.

    size: tiles in one pass. uses: what they touch.
    """

    times: int
    body: tuple[int, ...] | tuple[Loop, ...]
    innermost: bool
    size: int = field(compare=False)
    uses: Uses = field(compare=False)

    def passes(self, times: int) -> Loop:
        """The same body, passed so many times."""
        return Loop(times, self.body, self.innermost, self.size, self.uses)

    def __iter__(self) -> Iterator[int]:
        """The number of each tile of all passes, in order."""
        for _ in range(self.times):
            for part in self.body:
                if self.innermost:
                    yield part
                else:
                    yield from part


def repeat(times: int, loops: Sequence[Loop]) -> list[Loop]:
    """`times` passes over `loops`, without a loop around a single one."""
    if times == 1 or not loops:
        return list(loops)
    if len(loops) == 1:
        return [loops[0].passes(times * loops[0].times)]
    uses = loops[0].uses
    for loop in loops[1:]:
        uses |= loop.uses
    return [Loop(times, tuple(loops), False, sum(loop.times * loop.size for loop in loops), uses)]


class Numbering:
    """Numbers the distinct tiles of a program as its loops are made."""

    def __init__(self) -> None:
        self._numbers: dict[Tile, int] = {}

    def loop(self, times: int, tiles: Iterable[Tile]) -> Loop:
        """An innermost loop."""
        tiles = tuple(tiles)
        body = tuple(self._numbers.setdefault(t, len(self._numbers)) for t in tiles)
        return Loop(times, body, True, len(body), Uses.of(dict.fromkeys(tiles)))

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The distinct tiles, by number."""
        return tuple(self._numbers)


class Ahead(NamedTuple):
    """What is still to come of an op: the servers that it may use, DRAM always; and whether it is to yield results."""

    servers: tuple[int, ...]
    results: bool


@dataclass(frozen=True)
class Tree:
    """The loops of one program, in order."""

    loops: tuple[Loop, ...]

    def __iter__(self) -> Iterator[int]:
        for loop in self.loops:
            yield from loop

    @cached_property
    def size(self) -> int:
        """Tiles in all."""
        return sum(loop.times * loop.size for loop in self.loops)

    @cached_property
    def ahead(self) -> tuple[Ahead, ...]:
        """By loop: the servers of it and all after it, and whether those after it yield results."""
        servers, results, ahead = {DRAM}, False, []
        for loop in reversed(self.loops):
            servers |= {*loop.uses.servers}
            ahead.append(Ahead(tuple(sorted(servers)), results))
            results = results or loop.uses.results
        return tuple(reversed(ahead))

    @cached_property
    def counts(self) -> dict[int, int]:
        """How often each tile occurs, by number."""
        counts: dict[int, int] = {}

        def add(loops: Iterable[Loop], times: int) -> None:
            for loop in loops:
                if not loop.innermost:
                    add(loop.body, times * loop.times)
                    continue
                for number in loop.body:
                    counts[number] = counts.get(number, 0) + times * loop.times

        add(self.loops, 1)
        return counts


@dataclass(frozen=True, eq=False)
class Program:
    """The tiles of one op in ticks; `tree` holds their numbers, `table` the tiles.

    distance: a write is placed after this many later reads (or earlier, if its buffer is full).
    flush: all writes are placed before the op ends (the next op reads them).
    extra: (server, cause, ticks) of the occupied time that is not plain work.
    """

    tree: Tree
    table: tuple[Tile, ...]
    distance: int = 1
    flush: bool = False
    extra: tuple[tuple[int, str, int], ...] = ()

    @classmethod
    def of(cls, runs: Iterable[tuple[tuple[Tile, ...], int]], distance: int = 1, flush: bool = False) -> Program:
        """From runs of (tiles, repeat)."""
        numbering = Numbering()
        loops = tuple(numbering.loop(times, tiles) for tiles, times in runs if tiles and times)
        return cls(Tree(loops), numbering.tiles, distance, flush)

    def tiles(self) -> Iterator[Tile]:
        """Every tile in program order."""
        return map(self.table.__getitem__, self.tree)

    @cached_property
    def work(self) -> tuple[int, ...]:
        """Ticks that each server is occupied, writes included."""
        work = [0] * len(SERVERS)
        for number, times in self.tree.counts.items():
            tile = self.table[number]
            for step in tile.steps:
                work[step.server] += times * step.interval
            if tile.write:
                work[DRAM] += times * tile.write.interval
        return tuple(work)

    @cached_property
    def numbers(self) -> tuple:
        """What decides the time of this program: equal numbers, equal times."""
        return (self.tree, self.table, self.distance, self.flush)

    @cached_property
    def digest(self) -> int:
        """Hash of `numbers`, computed once."""
        return hash(self.numbers)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Program) and self.numbers == other.numbers)

    def __hash__(self) -> int:
        return self.digest
