"""`Accumulator`: float32 sums of exact block results, one rounding each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from hwsim.errors import InputError
from hwsim.specs.dot import BlockDot, BlockSum
from hwsim.specs.staged import Staged
from hwsim.timing import Paced, Rigid, Timing


@dataclass(frozen=True)
class Accumulator(Staged):
    """FP32 sums of exact block results: acc + total 2^exponent, rounded once, to nearest even; in block order.

    dot:        the unit whose results are added.
    interleave: rows in turn: input n belongs to row n mod interleave. At least `loop_latency`, with one input per
                cycle; or 1: one row after another, with one input in `loop_latency` cycles. None: `loop_latency`.
    stages:     "magnitude", "lead_in" and "norm" normalise the total to a leading one; the others are the loop.

    A row begins at +0. A total of 0 leaves the sum as it is; exact cancellation gives +0; NaN is 0x7fc00000;
    subnormals are kept; overflow is infinite.
    """

    dot: BlockDot
    interleave: int = None  # type: ignore[assignment]  # __post_init__ fills None

    LOOP: ClassVar[tuple[str, ...]] = (
        "read", "compare", "swap", "coarse", "align", "sum", "abs", "lead", "limit", "left", "fine", "guard", "round",
    )  # fmt: skip

    INTERLEAVE_MAX: ClassVar[int] = 1 << 16
    """Words of the memory in which the rows' sums wait."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interleave is None:
            object.__setattr__(self, "interleave", max(1, self.loop_latency))
        least = max(1, self.loop_latency)
        if self.interleave != 1 and not least <= self.interleave <= self.INTERLEAVE_MAX:
            raise InputError(
                f"Accumulator: interleave {self.interleave}; write {least} (the stages of its loop) to "
                f"{self.INTERLEAVE_MAX}, or 1 for one row after another"
            )

    @property
    def cuts(self) -> tuple[str, ...]:
        """Normalising the total, then the loop."""
        return ("magnitude", "lead_in", "norm", *self.LOOP)

    @property
    def loop_latency(self) -> int:
        """Edges from reading a row's sum to its being readable again."""
        return sum(stage in self.LOOP for stage in self.stages)

    @property
    def timing(self) -> Timing:
        """One input per cycle; of one row after another, one for each turn of the loop."""
        return Timing(len(self.stages), max(1, self.loop_latency) if self.interleave == 1 else 1)

    def cycle_model(self) -> Rigid:
        """The handshake, cycle by cycle."""
        timing = self.timing
        return Rigid(timing.latency) if timing.interval == 1 else Paced(timing.latency, timing.interval)

    @property
    def magnitude_bits(self) -> int:
        """Bits of the total's magnitude."""
        return self.dot.total_max.bit_length()

    @property
    def window_bits(self) -> int:
        """Bits of the larger addend in the adder; three more are kept below it."""
        return max(self.magnitude_bits, 24)

    def add(self, acc: int, block: BlockSum) -> int:
        """One step on float32 bits."""
        return add_fp32(acc, block)

    def __call__(self, blocks: Iterable[BlockSum]) -> int:
        """The float32 bits of one row's sum."""
        acc = 0
        for block in blocks:
            acc = add_fp32(acc, block)
        return acc


FP32_NAN, FP32_INF = 0x7FC00000, 0x7F800000


def add_fp32(acc: int, block: BlockSum) -> int:
    """float32 bits of acc + block: exact, then rounded once to nearest even. The rules are `Accumulator`'s."""
    sign, magnitude = acc >> 31, acc & 0x7FFFFFFF
    if block.nan or magnitude > FP32_INF or (block.inf and magnitude == FP32_INF and (block.inf < 0) != sign):
        return FP32_NAN
    if block.inf or magnitude == FP32_INF:
        return (int(block.inf < 0) << 31 | FP32_INF) if block.inf else acc
    if block.total == 0:
        return acc
    field = magnitude >> 23
    significand = (magnitude & 0x7FFFFF) + (0x800000 if field else 0)
    e_acc = max(field, 1) - 150
    unit = min(e_acc, block.exponent)
    exact = ((-significand if sign else significand) << (e_acc - unit)) + (block.total << (block.exponent - unit))
    if exact == 0:
        return 0
    return int(exact < 0) << 31 | round_fp32(abs(exact), unit)


def round_fp32(magnitude: int, exponent: int) -> int:
    """float32 bits of magnitude 2^exponent (magnitude > 0), to nearest even; subnormals kept, overflow infinite."""
    ulp = max(magnitude.bit_length() + exponent - 24, -149)
    drop = ulp - exponent
    kept = magnitude << -drop if drop <= 0 else magnitude >> drop
    if drop > 0:
        rest, half = magnitude & ((1 << drop) - 1), 1 << (drop - 1)
        kept += rest > half or (rest == half and kept & 1)
    if kept >= 1 << 24:
        kept, ulp = kept >> 1, ulp + 1
    if ulp + 24 > 128:
        return FP32_INF
    return kept if kept < 1 << 23 else (ulp + 150 << 23) + (kept - (1 << 23))
