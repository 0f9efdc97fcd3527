"""`Scale`: the factor of a tensor or a row, applied to results."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.specs.accumulate import FP32_INF, FP32_NAN, round_fp32
from hwsim.specs.staged import Staged


@dataclass(frozen=True)
class Scale(Staged):
    """FP32 times FP32, rounded once to nearest even: what tensor and row scales do to y after the last block.

    stages: "norm" (subnormal factors get a leading one), "parts" of the product, "pairs" of them, "product", "lead",
            "place" (subnormal results lose theirs), "round".
    Subnormals are kept; overflow is infinite; NaN, and infinity times 0, is 0x7fc00000.
    """

    @property
    def cuts(self) -> tuple[str, ...]:
        """Where a register can be."""
        return ("norm", "parts", "pairs", "product", "lead", "place", "round")

    def __call__(self, value: int, scale: int) -> int:
        """float32 bits of the product of two numbers' bits."""
        sign = (value ^ scale) & 1 << 31
        a, b = value & 0x7FFFFFFF, scale & 0x7FFFFFFF
        if max(a, b) > FP32_INF or (max(a, b) == FP32_INF and min(a, b) == 0):
            return FP32_NAN
        if max(a, b) == FP32_INF:
            return sign | FP32_INF
        (x, e), (y, f) = _parts(a), _parts(b)
        return sign | (round_fp32(x * y, e + f) if x and y else 0)


def _parts(magnitude: int) -> tuple[int, int]:
    """(significand, exponent) of a finite magnitude's bits."""
    field = magnitude >> 23
    return (magnitude & 0x7FFFFF) | (field > 0) << 23, max(field, 1) - 150
