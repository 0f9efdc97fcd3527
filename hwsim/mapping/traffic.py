"""What an op moves and computes: bytes by kind, passes and blocks, and each server's cycles at its peak rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

from hwsim.arch.compute import SystolicArray
from hwsim.arch.machine import TileMachine
from hwsim.mapping.operands import Operands
from hwsim.mapping.program import DEQUANTISE, DOT, DRAM, GATHER, LINK, REGENERATE, ROUND, SERVERS, SORT, VECTOR
from hwsim.mapping.sorting import stages
from hwsim.workload.op import CACHES, Op

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes an op must move at least once, by kind; activations only where they live in DRAM."""

    weights: int = 0
    kv: int = 0
    state: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.kv + self.state + self.activations


def needed(part: T | None) -> T:
    """A part that is there: `operands` has refused every op whose path lacks one."""
    assert part is not None
    return part


def cache_bytes(op: Op, opd: Operands) -> tuple[int, int]:
    """Bytes that the op reads of its cache and writes to it, in whole rows."""
    cache, stored = op.cache, opd.cache
    if cache is None or stored is None:
        return 0, 0

    def nbytes(elements: int) -> int:
        rows, rest = divmod(elements, cache.row) if elements else (0, 0)
        return rows * stored.row_nbytes(cache.row) + (stored.row_nbytes(rest) if rest else 0)

    return nbytes(cache.read), nbytes(cache.write)


def activation_bytes(opd: Operands, elements: int) -> int:
    """Bytes of activations; their few row scales are not counted."""
    return -(-elements * opd.activations.bits_per_value.numerator // (8 * opd.activations.bits_per_value.denominator))


def pieces(op: Op, opd: Operands, in_dram: bool) -> tuple[int, int]:
    """(pieces, bytes of each) that the op reads of the DRAM row by row, or (0, 0). in_dram: activations are there.

    Rows that the cache holds are not among them.
    """
    rows = op.irregular
    if rows is None or rows.adds or not rows.scattered or not (rows.table or in_dram):
        return 0, 0
    stored = needed(opd.weights) if rows.table else opd.activations
    return rows.rows - opd.held, stored.row_nbytes(rows.row)


def banked(arch: TileMachine, op: Op, opd: Operands) -> tuple[int, int]:
    """(words per row, accesses per word) of the rows that the op reads or adds to in banked memory; (0, 0): none."""
    rows = op.irregular
    if arch.gather is None or rows is None or rows.table or (arch.activations == "dram" and not rows.adds):
        return 0, 0
    return -(-activation_bytes(opd, rows.row) // arch.gather.width_bytes), 2 if rows.adds else 1


def cached_cycles(arch: TileMachine, op: Op, opd: Operands) -> Fraction:
    """Cycles in which the cache delivers the rows that it holds."""
    if not opd.held or op.irregular is None:
        return Fraction(0)
    return opd.held * needed(opd.weights).row_nbytes(op.irregular.row) / needed(arch.cache).bytes_per_cycle


def weight_bytes(op: Op, opd: Operands) -> int:
    """Bytes of every weight that the op reads from the DRAM, scales of blocks, rows and tiles and seeds included.

    A tensor's one scale (at most 4 B) is a constant of the kernel and not counted as traffic.
    """
    stored = opd.weights
    if stored is None:
        return 0
    total = sum(g.count * stored.matrix_nbytes(g.n, g.k) for g in op.gemms)
    if op.irregular and op.irregular.table:
        total += (op.irregular.rows - opd.held) * stored.row_nbytes(op.irregular.row)
    if op.params:
        bits = stored.bits_per_value
        total += -(-op.params * bits.numerator // (8 * bits.denominator))
    return total


def traffic(op: Op, opd: Operands) -> Traffic:
    """Each weight, KV and state byte of the op once, and its activations, by kind."""
    cache, kind = sum(cache_bytes(op, opd)), CACHES[op.cache.role] if op.cache else ""
    return Traffic(
        weights=weight_bytes(op, opd) if op.weights else 0,
        kv=cache if kind == "kv" else 0,
        state=cache if kind == "state" else 0,
        activations=activation_bytes(opd, op.inputs) + activation_bytes(opd, op.outputs),
    )


def compulsory(arch: TileMachine, op: Op, opd: Operands) -> Traffic:
    """Each weight, KV and state byte once, and the op's activations once where they live in DRAM."""
    moved = traffic(op, opd)
    return moved if arch.activations == "dram" else replace(moved, activations=0)


def vector_passes(arch: TileMachine, op: Op) -> int:
    """Element passes on the vector unit; a GEMM's results leave through it, one pass each. A sorter compares itself."""
    if arch.vector is None:
        return 0
    sorted_elsewhere = op.sorting.passes if op.sorting and arch.sort else 0
    return op.vector - sorted_elsewhere + op.vector_macs + sum(g.count * g.m * g.n for g in op.gemms)


def seed_blocks(op: Op, opd: Operands) -> int:
    """Seed blocks that the op's weights are regenerated from; each row begins one."""
    block = needed(opd.weights).block
    return sum(g.count * g.n * -(-g.k // block) for g in op.gemms)


def dot_slots(arch: TileMachine, op: Op, opd: Operands) -> int:
    """MACs of the dot array, with those that its geometry leaves idle where each GEMM is a single tile.

    No tiling needs fewer: of a side cut in two, both parts are rounded up to the array's own, and weights that a
    systolic array holds for fewer rows than it has are loaded for each part.
    """
    if not op.dot_macs:
        return 0
    rate, dot = needed(opd.rate), arch.dot
    return product_slots(arch, op, opd) + sum(g.count * dot.slots(g.m, g.n, g.k, rate) for g in op.gemms)


def product_slots(arch: TileMachine, op: Op, opd: Operands) -> int:
    """The same of multiply-adds with tensors that are not weights.

    Several GEMMs go through all grids of a systolic array one after the other, or one through each grid, as is faster.
    """
    if not op.products:
        return op.macs
    rate, dot, found = needed(opd.rate), arch.dot, 0
    for g in op.products:
        together = g.count * dot.slots(g.m, g.n, g.k, rate)
        if isinstance(dot, SystolicArray):
            one = replace(dot, arrays=1).cycles(g.m, g.n, g.k, int(rate / dot.macs_per_cycle))
            together = min(together, -(-g.count // dot.arrays) * one * int(rate))
        found += together
    return max(op.macs, found)


def work_cycles(arch: TileMachine, op: Op, opd: Operands) -> dict[str, Fraction]:
    """Cycles each server needs at its peak rate for this op: what the bound is made of."""
    work = {SERVERS[DRAM]: Fraction(compulsory(arch, op, opd).total) / arch.dram.bytes_per_cycle}
    if opd.converter == REGENERATE:
        work[SERVERS[REGENERATE]] = Fraction(seed_blocks(op, opd)) / needed(opd.converter_rate)
    if opd.converter == DEQUANTISE:
        work[SERVERS[DEQUANTISE]] = Fraction(sum(g.weights for g in op.gemms)) / needed(opd.converter_rate)
    if op.link:
        link = needed(arch.link)
        volume = link.volume(op.link, activation_bytes(opd, op.link_elements), op.peers)
        work[SERVERS[LINK]] = volume / link.bytes_per_cycle
    if opd.stochastic:
        work[SERVERS[ROUND]] = Fraction(op.cached) / needed(arch.round).elements_per_cycle
    words, accesses = banked(arch, op, opd)
    if words and op.irregular:
        gather = needed(arch.gather)
        most = max(Fraction(1, gather.ports), Fraction(words * accesses, gather.banks))
        work[SERVERS[GATHER]] = op.irregular.rows * max(most, Fraction(accesses, gather.ports))
    if opd.held:
        work[SERVERS[GATHER]] = cached_cycles(arch, op, opd)
    if op.sorting and arch.sort:
        keys, width = op.sorting.keys, arch.sort.comparators
        every = Fraction(stages(keys) << (keys - 1).bit_length(), 2 * width)
        work[SERVERS[SORT]] = op.sorting.lists * min(every, keys * max(Fraction(op.sorting.keep, width), Fraction(1)))
    if op.dot_macs:
        work[SERVERS[DOT]] = Fraction(dot_slots(arch, op, opd)) / needed(opd.rate)
    passes = vector_passes(arch, op)
    if passes:
        work[SERVERS[VECTOR]] = Fraction(passes) / needed(arch.vector).elements_per_cycle
    if arch.launch:
        work["launch"] = Fraction(arch.launch.interval_cycles)
    return work
