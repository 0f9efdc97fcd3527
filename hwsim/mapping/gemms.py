"""GEMMs as tiles: output-stationary, K innermost.

for outer: for inner: for k, where the inner loop is over M if weights are read once (activations on chip), else over
N. All full tiles of a loop are alike, so each loop is a few parts and no size makes a program longer.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import NamedTuple

from hwsim.formats.layout import Layout
from hwsim.mapping.plan import BOTH, NONE, PANEL, Draft, Plan, Shape, Stay
from hwsim.mapping.program import ACTIVATIONS, DOT, DOT_QUEUE, OUTPUTS, REGENERATE, VECTOR, WEIGHTS, Loop, Tile, repeat
from hwsim.mapping.traffic import activation_bytes, vector_passes, weight_bytes
from hwsim.workload.op import Gemm

#: Up to so many tiles along K are written out.
SHORT = 8


class Slice(NamedTuple):
    """K elements start..stop of a row, and the bytes of one row of weights in them.

    scale_bytes: those of the scales that `scale_rows` rows share (fp8_block); each output tile reads its own.
    """

    start: int
    stop: int
    row_bytes: int
    scale_bytes: int
    scale_rows: int

    def nbytes(self, n: int) -> int:
        """Bytes of `n` rows of weights, the first of them at the edge of a tile of scales."""
        return n * self.row_bytes + -(-n // self.scale_rows) * self.scale_bytes


class Stays(NamedTuple):
    """Which operands of a tile are read for it, as no earlier one left them on chip, and are let go of after it."""

    read_inputs: bool
    free_inputs: bool
    read_weights: bool
    free_weights: bool


#: K in steps: slices, and how often they come.
Depth = list[tuple[int, tuple[Slice, ...]]]


class Gemms(Draft):
    """The weight matrices of one op, one after the other."""

    def plan(self) -> Plan | None:
        """All tiles, or None where tiles of this shape do not fit the buffers."""
        op, opd = self.op, self.opd
        assert opd.weights is not None and opd.rate is not None, "a GEMM has weights and a rate"
        self.stored, self.rate = opd.weights, opd.rate
        self.results = sum(g.count * g.m * g.n for g in op.gemms)
        self.passes = vector_passes(self.arch, op)
        loops = self._read_ahead("activations", self._ahead)
        if op.params:
            loops += self._read_ahead("weights", weight_bytes(replace(op, gemms=()), self.opd))
        for gemm in op.gemms:
            one = self._gemm(gemm)
            if one is None:
                return None
            loops += repeat(gemm.count, one)
        return self.whole(loops)

    @property
    def _ahead(self) -> int:
        """Bytes of activations read before the matrices: what overflowed, or what joined ops read of the DRAM."""
        return activation_bytes(self.opd, self.op.others) if self.in_dram else self.spill_in

    @property
    def clipped(self) -> Shape:
        """The least shape with the same tiles."""
        m, n, k, resident = self.shape
        most = [max(getattr(g, side) for g in self.op.gemms) for side in "mnk"]
        if resident == BOTH and not (self.in_dram and most[0] > m):
            resident = PANEL
        if resident == PANEL and not (most[1] > n if self.in_dram else most[0] > m):
            resident = NONE
        if not (self._ahead or self.op.params):  # what is read ahead comes in chunks of n x k
            n, k = min(n, most[1]), min(k, most[2])
        return Shape(min(m, most[0]), n, k, resident)

    def _read_ahead(self, kind: str, nbytes: int) -> list[Loop]:
        """Bytes read before the matrices: inputs that overflowed the activation buffer or joined ops read, biases."""
        self.moved[kind] += nbytes
        chunk = min(self.shape.chunk, self.arch.buffers.weights)
        chunks, rest = divmod(nbytes, chunk)
        loops = []
        for size, times in ((chunk, chunks), (rest, 1)):
            if size and times:
                credit = ((WEIGHTS, size),)
                loops.append(self.loop(times, Tile((self.transfer(size, takes=credit, gives=credit),), None, False)))
        return loops

    def _gemm(self, g: Gemm) -> list[Loop] | None:
        """One matrix; the outer loop is over M where activations are in DRAM, else over N."""
        shape = self.shape
        tm, tn, tk = min(shape.m, g.m), min(shape.n, g.n), min(shape.k, g.k)
        depth = slices(self.stored, g.k, tk)
        outer, inner = ((g.m, tm), (g.n, tn)) if self.in_dram else ((g.n, tn), (g.m, tm))
        panel = shape.resident > NONE and inner[0] > inner[1]
        both = shape.resident == BOTH and self.in_dram and outer[0] > outer[1]
        if not self._fits(g, tm, tn, tk, depth, panel, both):
            return None
        loops: list[Loop] = []
        for times, side, begins, ends in uses(*outer, both):
            once: list[Loop] = []
            for n, other, first, last in uses(*inner, panel):
                m_n = (side, other) if self.in_dram else (other, side)
                stays = Stays(first, last, begins, ends) if self.in_dram else Stays(first, last, first, last)
                self._count(g, *m_n, stays, times * n * g.count)
                once += repeat(n, self._output_tile(g, *m_n, depth, stays))
            loops += repeat(times, once)
        return loops

    def _fits(self, g: Gemm, tm: int, tn: int, tk: int, depth: Depth, panel: bool, both: bool) -> bool:
        """Two tiles of each operand, two of the results, two panels where one stays; all weights where they stay."""
        buffers, opd = self.arch.buffers, self.opd
        slots = buffers.outputs // (tm * tn * self.arch.dot.accumulator_bytes)
        widest = max(one.nbytes(tn) for _, group in depth for one in group)
        if 2 * widest > buffers.weights or slots < 2:
            return False
        if self.in_dram and 2 * activation_bytes(opd, g.inputs(tm, tk)) > buffers.activations:
            return False
        if panel and self.in_dram and 2 * self._panel_bytes(g, tm, tk) > buffers.activations:
            return False
        if panel and not self.in_dram and 2 * self.stored.matrix_nbytes(tn, g.k) > buffers.weights:
            return False
        sides = parts(g.n, tn)
        held = sum(n * times * one.nbytes(side) for n, side in sides for times, group in depth for one in group)
        if both and held > buffers.weights:
            return False
        self.deepest = min(self.deepest, (slots - 1) * -(-g.k // tk))
        return True

    def _panel_bytes(self, g: Gemm, m: int, k: int) -> int:
        """Bytes of `m` whole rows of X; of windows that overlap, of the tiles of `k` columns that they come in."""
        if not g.distinct:
            return m * activation_bytes(self.opd, g.k)
        return sum(times * activation_bytes(self.opd, g.inputs(m, side)) for times, side in parts(g.k, k))

    def _count(self, g: Gemm, m: int, n: int, stays: Stays, times: int) -> None:
        """What `times` output tiles of m x n move."""
        if stays.read_weights:
            self.moved["weights"] += times * self.stored.matrix_nbytes(n, g.k)
        if self.in_dram and stays.read_inputs:
            row = parts(g.k, min(self.shape.k, g.k))
            self.moved["activations"] += times * sum(
                each * activation_bytes(self.opd, g.inputs(m, k)) for each, k in row
            )
        self.moved["activations"] += times * self._result_bytes(m * n)

    def _result_bytes(self, elements: int) -> int:
        """Of a tile's results, those that go to DRAM."""
        if self.in_dram:
            return activation_bytes(self.opd, elements)
        return -(-self.spill_out * elements // max(self.op.outputs, 1))

    def _output_tile(self, g: Gemm, m: int, n: int, depth: Depth, stays: Stays) -> list[Loop]:
        """All K tiles of one m x n output tile."""
        return [self.loop(times, *(self._tile(g, m, n, each, stays) for each in group)) for times, group in depth]

    def _tile(self, g: Gemm, m: int, n: int, part: Slice, stays: Stays) -> Tile[Stay]:
        """read -> convert -> dot -> vector -> write, the last two only where K ends."""
        opd, final = self.opd, part.stop == g.k
        weights = part.nbytes(n)
        inputs = activation_bytes(opd, g.inputs(m, part.stop - part.start)) if self.in_dram else 0
        held = m * n * self.arch.dot.accumulator_bytes
        kept = self._result_bytes(m * n)
        read = weights if stays.read_weights else 0, inputs if stays.read_inputs else 0
        freed = weights if stays.free_weights else 0, inputs if stays.free_inputs else 0
        steps = []
        if any(read):
            steps.append(self.transfer(*read, takes=((WEIGHTS, read[0]), (ACTIVATIONS, read[1]))))
        gives = [(ACTIVATIONS, freed[1])]
        if opd.converter is None:
            gives.append((WEIGHTS, freed[0]))
        else:
            block = self.stored.block if opd.converter == REGENERATE else 1
            amount = n * (-(-part.stop // block) - -(-part.start // block))
            credit = ((DOT_QUEUE, 1),)
            steps.append(self.compute(opd.converter, amount, credit, ((WEIGHTS, freed[0]),), waits=not steps))
            gives += credit
        vector = final and self.arch.vector is not None
        if final and not vector and not kept:
            gives.append((OUTPUTS, held))
        slots = self.arch.dot.slots(m, n, part.stop - part.start, self.rate)
        steps.append(self.compute(DOT, slots, ((OUTPUTS, held),) if part.start == 0 else (), gives, waits=True))
        if vector:
            amount = -(-self.passes * m * n // self.results)
            steps.append(self.compute(VECTOR, amount, gives=() if kept else ((OUTPUTS, held),)))
        write = self.transfer(kept, write=True, gives=((OUTPUTS, held),)) if final and kept else None
        return Tile(tuple(steps), write, final)


def parts(size: int, step: int) -> list[tuple[int, int]]:
    """`size` in steps, as (times, step): the whole ones, and what is left."""
    whole, rest = divmod(size, step)
    return [(times, side) for times, side in ((whole, step), (1, rest)) if times and side]


def uses(size: int, step: int, resident: bool) -> list[tuple[int, int, bool, bool]]:
    """Parts of a loop as (times, step, first use, last use) of what stays on chip through all of it.

    What does not stay is read for each tile and let go after it.
    """
    if not resident:
        return [(times, side, True, True) for times, side in parts(size, step)]
    tiles = -(-size // step)
    last = size - (tiles - 1) * step
    middle = [(tiles - 2, step, False, False)] if tiles > 2 else []
    return [(1, step, True, False), *middle, (1, last, False, True)]


def slices(layout: Layout, k: int, step: int) -> Depth:
    """K in steps, as (times, slices).

    The first slice holds the row's scale and the last may be short; between them the bytes repeat as soon as some
    slices are whole blocks and whole bytes.
    """

    def one(number: int) -> Slice:
        start, stop = number * step, min((number + 1) * step, k)
        row = layout.codes_nbytes(stop) - (layout.codes_nbytes(start) if start else 0)
        scales = layout.scales_nbytes(stop) - layout.scales_nbytes(start)
        return Slice(start, stop, row, scales, max(layout.tile_rows, 1))

    tiles = -(-k // step)
    whole = layout.block * 8 // gcd(layout.record_bits, 8)
    period = whole // gcd(whole, step)
    times, rest = divmod(tiles - 2, period)
    if tiles <= SHORT or times < 2:
        return [(1, tuple(map(one, range(tiles))))]
    pattern = tuple(one(1 + i) for i in range(period))
    tail = tuple(one(tiles - 1 - i) for i in range(rest, -1, -1))
    return [(1, (one(0),)), (times, pattern), (1, tail)]
