"""Tile programs: what the servers of a machine run.

A program is static: which server does what for which tile, in which order, and which bytes of which buffer it takes
and gives back. It is a tree of loops over a few distinct tiles, so its size does not depend on the size of the op.
Times are found by `hwsim.sim`, from `max` and `+` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

#: Servers, in pipeline order.
SERVERS = ("dram", "regenerate", "dequantise", "gather", "dot", "vector", "sort", "round", "link", "launch")
DRAM, REGENERATE, DEQUANTISE, GATHER, DOT, VECTOR, SORT, ROUND, LINK, LAUNCH = range(len(SERVERS))

#: Buffers. The first three count bytes; the queues in front of a compute server count tiles.
BUFFERS = ("weights", "activations", "outputs", "dot_queue", "vector_queue", "round_queue", "sort_queue")
WEIGHTS, ACTIVATIONS, OUTPUTS, DOT_QUEUE, VECTOR_QUEUE, ROUND_QUEUE, SORT_QUEUE = range(len(BUFFERS))
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


S = TypeVar("S", covariant=True)


class Tile(NamedTuple, Generic[S]):
    """Steps in order, each fed by the one before; `write` goes to DRAM some reads later.

    result: the last step yields results of the op (the next op may wait for them).
    """

    steps: tuple[S, ...]
    write: S | None = None
    result: bool = True


class Uses(NamedTuple):
    """What some tiles touch.

    servers: in pipeline order, DRAM among them if there are writes; waiting: those that wait for the op before.
    buffers: that they take from or give to. results: whether there are any.
    """

    servers: tuple[int, ...]
    waiting: tuple[int, ...]
    buffers: tuple[int, ...]
    results: bool

    @classmethod
    def of(cls, tiles: Iterable[Tile[Any]]) -> Uses:
        """Of tiles; their steps may be in ticks or in amounts."""
        tiles = tuple(tiles)
        steps = [step for tile in tiles for step in (*tile.steps, tile.write) if step]
        return cls(
            tuple(sorted({s.server for s in steps})),
            tuple(sorted({s.server for s in steps if s.waits})),
            tuple(sorted({b for s in steps for b, _ in (*s.takes, *s.gives)})),
            any(t.result for t in tiles),
        )

    @classmethod
    def of_all(cls, several: Sequence[Uses]) -> Uses:
        """Of all of them together."""
        return cls(
            tuple(sorted({s for uses in several for s in uses.servers})),
            tuple(sorted({s for uses in several for s in uses.waiting})),
            tuple(sorted({b for uses in several for b in uses.buffers})),
            any(uses.results for uses in several),
        )


@dataclass(frozen=True, slots=True)
class Loop:
    """`times` passes over `tiles`, by number; or over other loops.

    size: tiles in one pass. uses: what they touch.
    """

    times: int
    tiles: tuple[int, ...]
    loops: tuple[Loop, ...]
    size: int = field(compare=False)
    uses: Uses = field(compare=False)

    def passes(self, times: int) -> Loop:
        """The same, passed so many times."""
        return Loop(times, self.tiles, self.loops, self.size, self.uses)

    def __iter__(self) -> Iterator[int]:
        """The number of each tile of all passes, in order."""
        for _ in range(self.times):
            yield from self.tiles
            for loop in self.loops:
                yield from loop


def repeat(times: int, loops: Sequence[Loop]) -> list[Loop]:
    """`times` passes over `loops`, without a loop around a single one."""
    if times == 1 or not loops:
        return list(loops)
    if len(loops) == 1:
        return [loops[0].passes(times * loops[0].times)]
    size = sum(loop.times * loop.size for loop in loops)
    return [Loop(times, (), tuple(loops), size, Uses.of_all([loop.uses for loop in loops]))]


class Numbering(Generic[S]):
    """Numbers the distinct tiles of a program as its loops are made."""

    def __init__(self) -> None:
        self._numbers: dict[Tile[S], int] = {}

    def loop(self, times: int, tiles: Iterable[Tile[S]]) -> Loop:
        """`times` passes over `tiles`."""
        tiles = tuple(tiles)
        numbers = tuple(self._numbers.setdefault(t, len(self._numbers)) for t in tiles)
        return Loop(times, numbers, (), len(tiles), Uses.of(dict.fromkeys(tiles)))

    @property
    def tiles(self) -> tuple[Tile[S], ...]:
        """The distinct tiles, by number."""
        return tuple(self._numbers)


class Ahead(NamedTuple):
    """What is still to come of an op: the servers that it may use, DRAM always; and whether it is to yield results."""

    servers: tuple[int, ...]
    results: bool


@dataclass(frozen=True, eq=False)
class Tree:
    """The loops of one plan, in order. Programs that share a tree differ in ticks and distance alone."""

    loops: tuple[Loop, ...]

    def __iter__(self) -> Iterator[int]:
        for loop in self.loops:
            yield from loop

    @cached_property
    def size(self) -> int:
        """Tiles in all."""
        return sum(loop.times * loop.size for loop in self.loops)

    @property
    def last(self) -> int:
        """The number of the last tile. raises: IndexError if there is none."""
        loop = self.loops[-1]
        while loop.loops:
            loop = loop.loops[-1]
        return loop.tiles[-1]

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
                for number in loop.tiles:
                    counts[number] = counts.get(number, 0) + times * loop.times
                add(loop.loops, times * loop.times)

        add(self.loops, 1)
        return counts


@dataclass(frozen=True, eq=False)
class Program:
    """The tiles of one op in ticks; `tree` holds their numbers, `table` the tiles.

    distance: a write is placed after this many later reads (or earlier, if its buffer is full).
    flush: all writes are placed before the op ends (the next op reads them).
    other: gives `extra`, which only the programs that are chosen are asked for.
    """

    tree: Tree
    table: tuple[Tile[Step], ...]
    distance: int = 1
    flush: bool = False
    other: Callable[[], tuple[tuple[int, str, int], ...]] = tuple

    @classmethod
    def of(cls, runs: Iterable[tuple[tuple[Tile[Step], ...], int]], distance: int = 1, flush: bool = False) -> Program:
        """From runs of (tiles, repeat)."""
        numbering: Numbering[Step] = Numbering()
        loops = tuple(numbering.loop(times, tiles) for tiles, times in runs if tiles and times)
        return cls(Tree(loops), numbering.tiles, distance, flush)

    def tiles(self) -> Iterator[Tile[Step]]:
        """Every tile in program order."""
        return map(self.table.__getitem__, self.tree)

    @cached_property
    def extra(self) -> tuple[tuple[int, str, int], ...]:
        """(server, cause, ticks) of the occupied time that is not plain work."""
        return self.other()

    @cached_property
    def work(self) -> tuple[int, ...]:
        """Ticks that each server is occupied, writes included."""
        work = [0] * len(SERVERS)
        for number, times in self.tree.counts.items():
            steps, write, _ = self.table[number]
            for step in (*steps, write) if write else steps:
                work[step.server] += times * step.interval
        return tuple(work)
