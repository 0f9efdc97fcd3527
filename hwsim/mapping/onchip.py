"""Bytes written to and read from on-chip buffers: what crosses DRAM, operands again for every tile, partial sums.

A byte is counted each time it enters a buffer and each time it leaves one. The dot array holds a tile's operands while
it works on the tile, so a tile reads each of them once; its partial sums, at the accumulator's width, are written for
every tile of K and read before the next is added and when the result leaves. Queues between servers are not counted.
"""

from __future__ import annotations

from dataclasses import replace

from hwsim.arch.machine import TileMachine
from hwsim.mapping.operands import Operands
from hwsim.mapping.plan import Shape, Tiled
from hwsim.mapping.traffic import activation_bytes, needed, weight_bytes
from hwsim.workload.op import Gemm, Op


def buffer_bytes(arch: TileMachine, op: Op, opd: Operands, shape: Shape, tiled: Tiled) -> int:
    """Bytes that an op writes to and reads from the buffers in tiles of a shape.

    On a machine with `cores:` the reuse inside a kernel is not known: each byte counts once in and once out, a lower
    bound. Where activations stay on chip an op reads its inputs and writes its outputs; the op before wrote its inputs.
    """
    moved = tiled.moved
    if arch.cores:
        return 2 * moved.total
    here = arch.activations == "on_chip"
    inputs, outputs = activation_bytes(opd, op.inputs), activation_bytes(opd, op.outputs)
    total = 2 * (moved.kv + moved.state)  # in from DRAM and out to a server, or the other way
    if not op.gemms:
        total += 2 * moved.weights
        return total + (inputs + outputs + moved.activations if here else 2 * moved.activations)
    total += moved.weights + moved.activations  # what DRAM gives; on chip, what overflowed, once more in or out
    if op.params:
        total += weight_bytes(replace(op, gemms=()), opd)
    for gemm in op.gemms:
        total += gemm.count * _tiles(arch, gemm, opd, shape)
    if here:
        return total + outputs
    # Results go to DRAM from where their sums are, which is counted there.
    return total - sum(g.count * activation_bytes(opd, g.m * g.n) for g in op.gemms)


def _tiles(arch: TileMachine, g: Gemm, opd: Operands, shape: Shape) -> int:
    """Operand reads and partial sums of one GEMM."""
    rows, columns = -(-g.m // min(shape.m, g.m)), -(-g.n // min(shape.n, g.n))
    steps = -(-g.k // min(shape.k, g.k))
    weights = g.n * needed(opd.weights).row_nbytes(g.k)
    sums = 2 * steps * g.m * g.n * arch.dot.accumulator_bytes
    return rows * weights + columns * activation_bytes(opd, g.m * g.k) + sums


def ends_bytes(arch: TileMachine, first: tuple[Op, Operands], last: tuple[Op, Operands]) -> int:
    """A run's first inputs are written to their buffer and its last results read from it, where they stay on chip.

    On cores all of it crosses the memory, and counts there.
    """
    if arch.activations != "on_chip" or arch.cores:
        return 0
    return activation_bytes(first[1], first[0].inputs) + activation_bytes(last[1], last[0].outputs)


def stays(arch: TileMachine, unit: str) -> tuple[str, ...]:
    """A note on samples that no memory moves, on machines that keep activations on chip. unit: of the workload.

    Of a language model these are the numbers of tokens, which are few bytes.
    """
    if arch.activations != "on_chip" or unit != "sample":
        return ()
    return (
        "inputs and outputs of the network are not moved: with `activations: on_chip` they are on the chip before and "
        "after the step; write `dram` to count them",
    )
