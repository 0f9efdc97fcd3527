"""One side of a dot product, taken apart: exact elements, the scales inside the dot, the scale applied after it.

Each class of formats makes its own `Operand` with these functions.
An element is significand * 2^(exponent - fraction_bits), |significand| < 2^(fraction_bits + 1): as hardware reads it,
subnormals and integers not normalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.errors import InputError
from hwsim.formats.elements import Element
from hwsim.formats.format import Encoded, padded

DEFAULT_BLOCK = 32
"""Dot block of two operands of which neither has scaled blocks."""


@dataclass(frozen=True, eq=False)
class Operand:
    """Rows of one operand.

    elements: float64[rows, k], exact; block scales are not in them, BDR shifts and seed exponents are.
    significands: int64[rows, k] and exponents: int32[rows, k] of the same values; 0 where not finite.
    fraction_bits: of the significands.
    block: elements of a scaled block; 0: there are none.
    scales: float64[rows, blocks] of the scaled blocks, exact; a power of two, or E4M3 or float16 values.
    scale_bits: significant bits of those; 1 for powers of two.
    after: float32[rows], the factor of y after the last block.
    element_bits: bits that hold every element in units of the least one, without sign; 0: no such bound.
    block_rounds: the product of both sides' scales is rounded to float32, and so is each dot block times that product,
        before it is added (fp8_block); else nothing is rounded before the sum.
    """

    elements: np.ndarray
    significands: np.ndarray
    exponents: np.ndarray
    fraction_bits: int
    block: int
    scales: np.ndarray
    scale_bits: int
    after: np.ndarray
    element_bits: int
    block_rounds: bool = False

    def dot_scales(self, block: int, count: int) -> np.ndarray:
        """float64[rows, count]: the scale of each dot block of `block` elements."""
        if not self.block:
            return np.ones((len(self.elements), count))
        return self.scales[:, np.arange(count) * block // self.block]


def dot_block(x: Operand, w: Operand) -> int:
    """Elements of a dot block: the smaller scaled block of the two.

    raises: InputError where it does not divide the larger one.
    """
    sizes = sorted(b for b in (x.block, w.block) if b)
    if not sizes:
        return DEFAULT_BLOCK
    if sizes[-1] % sizes[0]:
        raise InputError(f"blocks of {sizes[0]} and {sizes[-1]} elements do not nest: no dot block")
    return sizes[0]


def operand(encoded: Encoded) -> Operand:
    """Take an encoded matrix apart.

    raises: InputError for an array that is not a matrix with its blocks along the last axis.
    """
    if not isinstance(encoded, Encoded):
        kind = type(encoded).__name__
        raise InputError(f"a dot takes encoded matrices, and this is {kind}; write get_format(...).encode(x)")
    if len(encoded.shape) != 2 or encoded.axis != 1:
        raise InputError(f"shape {encoded.shape}, axis {encoded.axis}: write a matrix, blocks along the last axis")
    return encoded.format.operand(encoded)


def floor_exponents(values: np.ndarray) -> np.ndarray:
    """int32 floor(log2 |v|); far below every other for 0, Inf and NaN."""
    e = np.frexp(np.where(np.isfinite(values), values, 0.0))[1].astype(np.int32) - 1
    return np.where(values == 0, np.int32(-(1 << 20)), e)


def element_operand(
    encoded: Encoded,
    e: Element,
    block: int = 0,
    scales: np.ndarray | None = None,
    scale_bits: int = 1,
    after: np.ndarray | None = None,
) -> Operand:
    """The operand of codes of an element format. block, scales, scale_bits, after: as `Operand` has them."""
    values = np.array(e.values)
    if e.is_integer:
        fraction_bits = e.bits - 2
        exponents = np.full(len(values), fraction_bits - e.mantissa_bits, np.int32)
        significands = np.array(e.integers)
    else:
        fraction_bits = e.mantissa_bits
        exponents = np.maximum(floor_exponents(values), e.emin).astype(np.int32)
        significands = np.where(np.isfinite(values), np.ldexp(values, fraction_bits - exponents), 0)
    return Operand(
        values[encoded.codes], significands.astype(np.int64)[encoded.codes], exponents[encoded.codes], fraction_bits,
        block, no_scales(encoded.rows) if scales is None else scales, scale_bits,
        no_factor(encoded.rows) if after is None else after, max(map(abs, e.integers)).bit_length(),
    )  # fmt: skip


def float_operand(
    values: np.ndarray,
    fraction_bits: int,
    emin: int = -126,
    block: int = 0,
    scales: np.ndarray | None = None,
    scale_bits: int = 1,
) -> Operand:
    """The operand of any values with at most `fraction_bits` + 1 significant bits, such as those of a value table.

    values: float64[rows, k], exact, without their blocks' scales. emin: exponent of the least normal value.
    block, scales, scale_bits: as `Operand` has them.
    """
    exponents = np.maximum(floor_exponents(values), emin)
    significands = np.where(np.isfinite(values), np.ldexp(values, fraction_bits - exponents), 0).astype(np.int64)
    rows = len(values)
    scales = no_scales(rows) if scales is None else scales
    return Operand(values, significands, exponents, fraction_bits, block, scales, scale_bits, no_factor(rows), 0)


def no_scales(rows: int) -> np.ndarray:
    """`Operand.scales` where there are no scaled blocks."""
    return np.ones((rows, 0))


def no_factor(rows: int) -> np.ndarray:
    """`Operand.after` where no scale comes after the last block."""
    return np.ones(rows, np.float32)


def whole_rows(a: np.ndarray, multiple: int) -> np.ndarray:
    """Rows padded with zeros to a multiple of columns, contiguous."""
    return np.ascontiguousarray(padded(a, multiple))
