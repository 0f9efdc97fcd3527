"""Plan: the tiles of one op in amounts, without any time; and what it becomes in the ticks of one machine.

Bytes, multiply-adds and elements do not depend on how fast a machine is, so machines that differ only in rates,
latencies and clocks share their plans. Ticks are amount x unit, exactly, because a tick divides every unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import NamedTuple

from hwsim.arch.machine import TileMachine
from hwsim.mapping.gpu.kernels import Kernel
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import (
    DOT,
    DRAM,
    LAUNCH,
    LINK,
    SERVERS,
    Loop,
    Numbering,
    Program,
    Step,
    Tile,
    Tree,
)
from hwsim.mapping.traffic import Traffic, activation_bytes, compulsory, dot_slots
from hwsim.workload.op import Op

Credits = Sequence[tuple[int, int]]

#: The distance of writes that no buffer limits.
UNLIMITED = 1 << 62

#: What of a GEMM stays on chip between its tiles: nothing; the operand that the outer loop repeats, as a whole panel
#: (K long); or that and, where both operands come from DRAM, all of the weights.
NONE, PANEL, BOTH = range(3)


class Shape(NamedTuple):
    """A tile of the machine's menu, which each op clips; and what stays on chip between tiles."""

    m: int
    n: int
    k: int
    resident: int = NONE

    @property
    def chunk(self) -> int:
        """Bytes of one transfer of an op that has no weight matrix."""
        return self.n * self.k

    def __str__(self) -> str:
        return f"{self.m}x{self.n}x{self.k}{('', ', resident panel', ', resident panel and weights')[self.resident]}"


class Policy(NamedTuple):
    """How all ops of a run are tiled. distance: writes are placed this many reads later."""

    shape: Shape
    distance: int = 1

    def __str__(self) -> str:
        return str(self.shape)


class Stay(NamedTuple):
    """A step before it is timed: a tile's stay on one server.

    amount: bytes on the DRAM, else what the server's rate counts; a launch is 1, a collective is in ticks.
    rows, turns: DRAM rows opened, and changes between reading and writing. takes, gives, waits: as in `program.Step`.
    pieces, piece: of the bytes, how many pieces at unrelated addresses, and bytes of each in whole beats.
    """

    server: int
    amount: int
    rows: int = 0
    turns: int = 0
    takes: tuple[tuple[int, int], ...] = ()
    gives: tuple[tuple[int, int], ...] = ()
    waits: bool = False
    pieces: int = 0
    piece: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One op in tiles of one shape.

    table: the distinct tiles, with a Stay for each Step. amounts, rows, turns: sums over all tiles, amounts by server.
    deepest: the largest distance of writes, above 1, that the buffers allow; writes: whether there are any.
    reads: how many; a write waits for no more than that, as it is placed before the op ends, where `flush` is set.
    largest: the largest amount of one tile, by server.
    moved: payload by kind; again: bytes of it beyond the op's compulsory traffic.
    link_ticks: latency within the ticks of a collective.
    """

    tree: Tree
    table: tuple[Tile[Stay], ...]
    deepest: int
    writes: bool
    flush: bool
    reads: int
    amounts: tuple[int, ...]
    largest: tuple[int, ...]
    rows: int
    turns: int
    moved: Traffic
    again: int
    dot_slots: int
    link_ticks: int


@dataclass(frozen=True, slots=True)
class Tiled:
    """One op as a program, with the payload it moves by kind and the bytes of whole beats."""

    program: Program
    moved: Traffic
    dram_bytes: int
    kernel: Kernel | None = None


class Draft:
    """A plan in the making: shapes stays and tiles, and counts what they move."""

    def __init__(self, arch: TileMachine, op: Op, opd: Operands, shape: Shape):
        self.arch, self.op, self.opd, self.shape = arch, op, opd, shape
        self.in_dram = arch.activations == "dram"
        room = arch.buffers.activations
        self.spill_in = 0 if self.in_dram else max(0, activation_bytes(opd, op.inputs) - room)
        self.spill_out = 0 if self.in_dram else max(0, activation_bytes(opd, op.outputs) - room)
        self.moved = {"weights": 0, "kv": 0, "state": 0, "activations": 0}
        self.deepest = UNLIMITED
        self.numbering: Numbering[Stay] = Numbering()

    def transfer(
        self,
        *parts: int,
        write: bool = False,
        takes: Credits = (),
        gives: Credits = (),
        waits: bool = False,
        pieces: tuple[int, int] = (0, 0),
    ) -> Stay:
        """One stay on the DRAM; each part, and each of the (pieces, bytes of each), is rounded up to whole beats."""
        dram = self.arch.dram
        nbytes = sum(-(-part // dram.beat_bytes) for part in parts) * dram.beat_bytes
        rows = -(-nbytes // dram.row_bytes) if dram.row_bytes else 0
        times, piece = pieces[0], -(-pieces[1] // dram.beat_bytes) * dram.beat_bytes
        if times and dram.row_bytes:
            rows += times * -(-piece // dram.row_bytes)
        turns = 2 if write else 0
        return Stay(DRAM, nbytes + times * piece, rows, turns, _some(takes), _some(gives), waits, times, piece)

    def compute(self, server: int, amount: int, takes: Credits = (), gives: Credits = (), waits: bool = False) -> Stay:
        """One stay on any other server."""
        return Stay(server, amount, 0, 0, _some(takes), _some(gives), waits)

    def loop(self, times: int, *tiles: Tile[Stay]) -> Loop:
        """`times` passes over `tiles`."""
        return self.numbering.loop(times, tiles)

    def whole(self, loops: list[Loop], link_ticks: int = 0) -> Plan:
        """The op of these loops: with its launch, and what each server is occupied with."""
        if self.arch.launch and loops:
            loops = self._launched(loops)
        tree, table = Tree(tuple(loops)), self.numbering.tiles
        amounts, largest, reads, rows, turns = [0] * len(SERVERS), [0] * len(SERVERS), 0, 0, 0
        for number, times in tree.counts.items():
            steps, write, _ = table[number]
            reads += times * sum(stay.server == DRAM for stay in steps)
            for stay in (*steps, write) if write else steps:
                amounts[stay.server] += times * stay.amount
                largest[stay.server] = max(largest[stay.server], stay.amount)
                rows += times * stay.rows
                turns += times * stay.turns
        moved = Traffic(**self.moved)
        again = max(0, moved.total - compulsory(self.arch, self.op, self.opd).total)
        fewest = dot_slots(self.arch, self.op, self.opd)
        sums = reads, tuple(amounts), tuple(largest), rows, turns, moved, again, fewest, link_ticks
        return Plan(tree, table, self.deepest, any(tile.write for tile in table), self.in_dram, *sums)

    def _launched(self, loops: list[Loop]) -> list[Loop]:
        """The same passes, the first tile of all behind a launch."""
        first, rest = loops[0], loops[1:]
        once = self._launched(list(first.loops)) if first.loops else []
        if first.tiles:
            steps, write, result = self.numbering.tiles[first.tiles[0]]
            head = Tile((self.compute(LAUNCH, 1, waits=True), *steps), write, result)
            once = [self.loop(1, head, *(self.numbering.tiles[number] for number in first.tiles[1:]))]
        return [*once, *([first.passes(first.times - 1)] if first.times > 1 else []), *rest]


def _some(credits: Credits) -> tuple[tuple[int, int], ...]:
    return tuple(credit for credit in credits if credit[1])


def timed(pipeline: Pipeline, plan: Plan, units: Sequence[int]) -> Program:
    """The plan in ticks, its writes placed one read later. units: as `Pipeline.units` gives them for its operands."""
    dram, q = pipeline.arch.dram, pipeline.q
    miss, turn = dram.row_miss_cycles * q, dram.turnaround_cycles * q
    burst = dram.beat_bytes * units[DRAM]

    def step(stay: Stay) -> Step:
        server, amount, rows, turns, takes, gives, waits, pieces, _ = stay
        ticks = amount * units[server] + rows * miss + turns * turn
        if pieces:
            ticks += apart(pipeline, stay, units)
        beat = burst if server == DRAM else q
        return Step(server, ticks, ticks if beat > ticks or server == LAUNCH else beat, takes, gives, waits)

    table = tuple(
        [
            Tile(tuple([step(s) for s in steps]), step(write) if write else None, result)
            for steps, write, result in plan.table
        ]
    )
    return Program(plan.tree, table, 1, plan.flush, partial(_extra, pipeline, plan, units))


def apart(pipeline: Pipeline, stay: Stay, units: Sequence[int]) -> int:
    """Ticks that pieces at unrelated addresses take longer than the same bytes of a stream."""
    if not stay.pieces:
        return 0
    dram = pipeline.arch.dram
    cycles = dram.scattered_cycles(stay.pieces, stay.piece)
    if dram.refresh.kind == "all_bank":  # its stops are placed one by one
        cycles *= 1 - dram.refresh.share
    return max(0, ceil(cycles * pipeline.q) - stay.pieces * stay.piece * units[DRAM])


def _extra(pipeline: Pipeline, plan: Plan, units: Sequence[int]) -> tuple[tuple[int, str, int], ...]:
    """What of the occupied ticks is not plain work, and why."""
    dram, q = pipeline.arch.dram, pipeline.q
    channel = plan.amounts[DRAM] * units[DRAM]
    refresh = channel * pipeline.refreshed.numerator // pipeline.refreshed.denominator
    reread = (channel - refresh) * plan.again // plan.moved.total if plan.moved.total else 0
    padding = (plan.amounts[DOT] - plan.dot_slots) * units[DOT]
    counts = plan.tree.counts.items() if any(s.pieces for tile in plan.table for s in tile.steps) else ()
    scattered = sum(n * apart(pipeline, step, units) for number, n in counts for step in plan.table[number].steps)
    extra = (
        (DRAM, "row_miss", plan.rows * dram.row_miss_cycles * q + scattered),
        (DRAM, "turnaround", plan.turns * dram.turnaround_cycles * q),
        (DRAM, "refresh", refresh),
        (DRAM, "reread", reread),
        (DOT, "padding", padding),
        (LINK, "latency", plan.link_ticks),
    )
    return tuple(entry for entry in extra if entry[2])
