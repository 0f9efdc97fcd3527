"""The chunked scan of Mamba-2 as the kernels that training runs: what each of them reads and writes.

Five kernels forward and fourteen backward hand tensors to one another through the memory (state-spaces/mamba,
ops/triton/ssd_combined.py, `_mamba_chunk_scan_combined_fwd` and `_bwd`): states of chunks in FP32, C B^T of every chunk
in FP32, steps and their sums in FP32. Backward computes sums, states and C B^T again. Each tensor counts once per
kernel, however many heads of a group read it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hwsim.workload.language.parts.mamba2 import Mamba2
from hwsim.workload.op import Op
from hwsim.workload.training.sites import Plain, scan

#: Elements of 16 bits in one of FP32.
SINGLE = 2


class Sizes(NamedTuple):
    """Elements of the tensors of one scan. x: also of its results; b: of B or C; states: one per chunk and channel.

    pairs: of C B^T, whole squares; steps: dt, one per position and head.
    """

    x: int
    b: int
    states: int
    pairs: int
    steps: int

    @classmethod
    def of(cls, part: Mamba2, tokens: int) -> Sizes:
        """Of so many positions; the last chunk is filled up."""
        chunks = -(-tokens // part.chunk)
        return cls(
            tokens * part.inner,
            tokens * part.groups * part.state,
            chunks * part.state_elements,
            chunks * part.groups * part.chunk**2,
            tokens * part.heads,
        )


def forward_elements(s: Sizes) -> tuple[int, int]:
    """(read, written) of the forward kernels, in elements of 16 bits."""
    sums, both = SINGLE * s.steps, 2 * SINGLE * s.steps  # dA summed over a chunk; dA and dt
    kernels = (
        (s.steps, both),  # softplus, times A, summed over each chunk
        (s.x + s.b + both, SINGLE * s.states),  # the state that each chunk adds
        (SINGLE * s.states + sums, s.states),  # states passed from chunk to chunk, 16 bits
        (2 * s.b, SINGLE * s.pairs),  # C B^T
        (SINGLE * s.pairs + s.x + both + s.b + s.states, s.x),  # results
    )
    return _sums(kernels)


def backward_elements(s: Sizes) -> tuple[int, int]:
    """(read, written) of the backward kernels, in elements of 16 bits."""
    sums, both = SINGLE * s.steps, 2 * SINGLE * s.steps
    states, pairs = SINGLE * s.states, SINGLE * s.pairs
    kernels = (
        (s.steps, both),  # four of the forward pass again, states in FP32
        (2 * s.b, pairs),
        (s.x + s.b + both, states),
        (states + sums, states),
        (s.b + s.x + sums, states),  # gradient of the states, of each chunk
        (2 * states + sums, 2 * s.states),  # passed from chunk to chunk; both then in 16 bits
        (2 * s.x + pairs + both + s.b + s.states, s.x + sums),  # gradients of x and dt
        (s.x + both + s.states + s.b, SINGLE * s.b + sums),  # of B by the states, of dA
        (s.states + sums + s.x + s.b, SINGLE * s.b + sums),  # of C by the states, of dA
        (2 * s.x + both, pairs),  # of C B^T
        (s.b + pairs + SINGLE * s.b, s.b),  # of B by C B^T
        (s.b + pairs + SINGLE * s.b, s.b),  # of C by C B^T
        (2 * s.x + both + pairs, sums),  # of dA inside the chunks
        (2 * sums + s.steps, s.steps),  # of dt
    )
    return _sums(kernels)


def _sums(kernels: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    return sum(read for read, _ in kernels), sum(written for _, written in kernels)


def mamba2_scan(op: Op, part: Mamba2, tokens: int, states: int) -> Plain:
    """The scan of so many positions on one chip. op: its forward pass; states: elements that it keeps."""
    site, sizes = scan(op, states), Sizes.of(part, tokens)
    assert site.backward is not None
    moved = [forward_elements(sizes), backward_elements(sizes)]
    ops = [replace(each, inputs=read, outputs=written)
           for each, (read, written) in zip((site.forward, site.backward), moved, strict=True)]  # fmt: skip
    return replace(site, forward=ops[0], backward=ops[1])
