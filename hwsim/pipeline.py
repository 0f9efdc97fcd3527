"""Pipeline: an Arch in integer ticks, and the tile programs that its servers run.

One tick is 1/q cycle, q a common multiple of every rate's numerator, so each interval is exact.
A program is static: which server does what for which tile, in which order, and which bytes of
which buffer it takes and gives back. Times are found by `hwsim.sim`, from `max` and `+` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import NamedTuple

from hwsim.arch.machine import Arch, Dram

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


@dataclass(frozen=True)
class Pipeline:
    """Servers and buffers of one machine in ticks.

    q: ticks a cycle. latency: ticks, by server. capacity: bytes or tiles, by buffer.
    period, stall: all-bank refresh in ticks (0, 0: none).
    """

    q: int
    latency: tuple[int, ...]
    capacity: tuple[int, ...]
    period: int = 0
    stall: int = 0
    arch: Arch | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, arch: Arch) -> Pipeline:
        """The machine in ticks."""
        rates = [dram_rate(arch.dram)] + [r.macs_per_cycle for r in arch.dot.rates]
        cycles, latency = [], [0] * len(SERVERS)
        latency[DRAM], latency[DOT] = arch.dram.latency_cycles, arch.dot.latency_cycles + arch.dot.fill_cycles
        if arch.regenerate:
            rates.append(arch.regenerate.blocks_per_cycle)
            latency[REGENERATE] = arch.regenerate.latency_cycles
        if arch.dequantise:
            rates.append(arch.dequantise.weights_per_cycle)
            latency[DEQUANTISE] = arch.dequantise.latency_cycles
        if arch.vector:
            rates.append(arch.vector.elements_per_cycle)
            latency[VECTOR] = arch.vector.latency_cycles
        if arch.round:
            rates.append(arch.round.elements_per_cycle)
            latency[ROUND] = arch.round.latency_cycles
        if arch.launch:  # an op may begin when its launch is complete
            cycles.append(arch.launch.interval_cycles)
            latency[LAUNCH] = arch.launch.interval_cycles
        refresh = arch.dram.refresh
        if refresh.kind == "all_bank":
            cycles += [refresh.period_cycles, refresh.stall_cycles]
        q = lcm(*(Fraction(r).numerator for r in rates), *(Fraction(c).denominator for c in cycles))
        stops = refresh.kind == "all_bank"
        return cls(
            q=q,
            # a kernel's launch, as measured, holds its first access and last result
            latency=tuple(0 if arch.cores else int(c * q) for c in latency),
            capacity=(
                arch.buffers.weights,
                arch.buffers.activations,
                arch.buffers.outputs,
                QUEUE_TILES,
                QUEUE_TILES,
                QUEUE_TILES,
            ),
            period=int(refresh.period_cycles * q) if stops else 0,
            stall=int(refresh.stall_cycles * q) if stops else 0,
            arch=arch,
        )

    def ticks(self, amount: int, rate: Fraction) -> int:
        """Ticks to serve `amount` at `rate` a cycle; exact for every rate of the machine."""
        rate = Fraction(rate)
        return -(-amount * self.q * rate.denominator // rate.numerator)

    def read_ticks(self, nbytes: int) -> int:
        """Ticks the DRAM channel needs for `nbytes` in whole beats, spread refresh included."""
        return self.ticks(self.beats(nbytes), self._dram_rate)

    @cached_property
    def _dram_rate(self) -> Fraction:
        return dram_rate(self.arch.dram)

    def beats(self, nbytes: int) -> int:
        """`nbytes` rounded up to whole beats."""
        beat = self.arch.dram.beat_bytes
        return -(-nbytes // beat) * beat


def dram_rate(dram: Dram) -> Fraction:
    """Bytes a cycle of the channel, less the share that spread refresh takes."""
    rate, refresh = dram.bytes_per_cycle, dram.refresh
    if refresh.kind == "spread":
        rate = rate * (1 - Fraction(refresh.stall_cycles) / Fraction(refresh.period_cycles))
    return Fraction(rate)
