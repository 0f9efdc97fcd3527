"""Tile programs: what the servers of a machine run.

A program is static: which server does what for which tile, in which order, and which bytes of
which buffer it takes and gives back. Times are found by `hwsim.sim`, from `max` and `+` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

#: Servers, in pipeline order.
SERVERS = ("dram", "regenerate", "dequantise", "dot", "vector", "round", "link", "launch")
DRAM, REGENERATE, DEQUANTISE, DOT, VECTOR, ROUND, LINK, LAUNCH = range(len(SERVERS))

#: Buffers. The first three count bytes; the queues in front of a compute server count tiles.
BUFFERS = ("weights", "activations", "outputs", "dot_queue", "vector_queue", "round_queue")
WEIGHTS, ACTIVATIONS, OUTPUTS, DOT_QUEUE, VECTOR_QUEUE, ROUND_QUEUE = range(len(BUFFERS))
QUEUE_TILES = 4

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


@dataclass(frozen=True)
class Program:
    """The tiles of one op: `runs` of (tiles, repeat).

    distance: a write is placed after this many later reads (or earlier, if its buffer is full).
    flush: all writes are placed before the op ends (the next op reads them).
    extra: (server, cause, ticks) of the occupied time that is not plain work.
    """

    runs: tuple[tuple[tuple[Tile, ...], int], ...]
    distance: int = 1
    flush: bool = False
    extra: tuple[tuple[int, str, int], ...] = ()

    def tiles(self):
        """Every tile in program order."""
        for tiles, repeat in self.runs:
            for _ in range(repeat):
                yield from tiles

    @cached_property
    def work(self) -> tuple[int, ...]:
        """Ticks that each server is occupied."""
        return occupied(self.runs)

    @cached_property
    def numbers(self) -> tuple:
        """What decides the time of this program: equal numbers, equal times."""
        return (self.runs, self.distance, self.flush)

    @cached_property
    def digest(self) -> int:
        """Hash of `numbers`, computed once."""
        return hash(self.numbers)


def occupied(runs) -> tuple[int, ...]:
    """Ticks that each server spends on `runs`, writes included."""
    work = [0] * len(SERVERS)
    for tiles, repeat in runs:
        for tile in tiles:
            for step in tile.steps:
                work[step.server] += repeat * step.interval
            if tile.write:
                work[DRAM] += repeat * tile.write.interval
    return tuple(work)
