"""One side of a dot product, taken apart: exact elements, the scales inside the dot, the scale applied after it.

An element is significand * 2^(exponent - fraction_bits), |significand| < 2^(fraction_bits + 1): as hardware reads it,
subnormals and integers not normalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwsim.errors import InputError
from hwsim.formats.bdr import BdrFormat
from hwsim.formats.dense import ScaledDenseFormat, WideFormat
from hwsim.formats.elements import E4M3, E8M0_VALUES, Element
from hwsim.formats.format import Encoded, padded, per_row
from hwsim.formats.mx import BlockFormat
from hwsim.formats.nvfp4 import ScaledFormat

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
    after: float32[rows], what y is multiplied with after the last block.
    element_bits: bits that hold every element in units of the least one, without sign; 0: no such bound.
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
    """Take an encoded array of rows apart.

    raises: InputError for an array that is not a matrix with its blocks along the last axis.
    """
    if len(encoded.shape) != 2 or encoded.axis != 1:
        raise InputError(f"shape {encoded.shape}, axis {encoded.axis}: write a matrix, blocks along the last axis")
    form, rows = encoded.format, encoded.rows
    one = np.ones(rows, np.float32)
    none = np.ones((rows, 0))
    if isinstance(form, BlockFormat):
        scales = per_row(np.array(E8M0_VALUES)[encoded.scales], rows)
        return _table_operand(encoded, form.table, form.block, scales, 1, one)
    if isinstance(form, ScaledFormat):
        scales = per_row(np.array(E4M3.values)[encoded.scales], rows)
        after = np.full(rows, encoded.tensor_scale, np.float32)
        return _table_operand(encoded, form.table, form.block, scales, 4, after)
    if isinstance(form, ScaledDenseFormat):
        scales = form.scales(encoded)
        if form.kind == "int4_g128":
            return _table_operand(encoded, form.table, form.group, scales, 11, one)
        after = np.broadcast_to(scales[:, 0], rows).astype(np.float32)
        return _table_operand(encoded, form.table, 0, none, 1, after)
    if isinstance(form, BdrFormat):
        return _bdr_operand(encoded, form, one)
    if isinstance(form, WideFormat):
        values = form.decode(encoded).astype(np.float64)
        bits = {"fp32": 23, "bf16": 7, "fp16": 10}[form.kind]
        exponents = np.maximum(_exponents(values), -14 if form.kind == "fp16" else -126)
        significands = np.where(np.isfinite(values), np.ldexp(values, bits - exponents), 0).astype(np.int64)
        return Operand(values, significands, exponents, bits, 0, none, 1, one, 0)
    return _seed_operand(encoded, none)


def _exponents(values: np.ndarray) -> np.ndarray:
    """int32 floor(log2 |v|); far below every other for 0 and what is not finite."""
    e = np.frexp(np.where(np.isfinite(values), values, 0.0))[1].astype(np.int32) - 1
    return np.where(values == 0, np.int32(-(1 << 20)), e)


def _table_operand(encoded: Encoded, e: Element, block: int, scales, scale_bits: int, after) -> Operand:
    values = np.array(e.values)
    if e.is_integer:
        fraction_bits = e.bits - 2
        exponents = np.full(len(values), fraction_bits - e.mantissa_bits, np.int32)
        significands = np.array(e.integers)
    else:
        fraction_bits = e.mantissa_bits
        exponents = np.maximum(_exponents(values), e.emin).astype(np.int32)
        significands = np.where(np.isfinite(values), np.ldexp(values, fraction_bits - exponents), 0)
    return Operand(
        values[encoded.codes], significands.astype(np.int64)[encoded.codes], exponents[encoded.codes], fraction_bits,
        block, scales, scale_bits, after, max(map(abs, e.integers)).bit_length(),
    )  # fmt: skip


def _bdr_operand(encoded: Encoded, form: BdrFormat, one: np.ndarray) -> Operand:
    k, rows = encoded.row_length, encoded.rows
    significands = form.values[encoded.codes].astype(np.int64)
    exponents = np.zeros((rows, k), np.int32)
    if encoded.shifts is not None:
        exponents -= np.repeat(per_row(encoded.shifts, rows).astype(np.int32), form.k2, axis=1)[:, :k]
    scale = np.ldexp(1.0, per_row(encoded.scales, rows).astype(np.int64) - form.bias)
    scale[per_row(encoded.scales, rows) == form.nan_scale] = np.nan
    elements = np.ldexp(significands.astype(np.float64), exponents - (form.m - 1))
    deepest = (1 << form.d2) - 1
    return Operand(elements, significands, exponents, form.m - 1, form.k1, scale, 1, one, form.m + deepest)


def _seed_operand(encoded: Encoded, none: np.ndarray) -> Operand:
    """Elements are the integers S_i 2^e; 2^s / (2^(K-1) - 1) comes after."""
    form, k, rows = encoded.format, encoded.row_length, encoded.rows
    sums, powers = form.integers(encoded)
    significands = sums.reshape(rows, -1)[:, :k] if k else np.zeros((rows, 0), np.int64)
    exponents = np.repeat(per_row(powers, rows).astype(np.int32), form.codec.C, axis=1)[:, :k]
    fraction_bits = form.codec.value_bits - 2
    after = np.float32(math.ldexp(1.0, encoded.tensor_scale) / form.codec.denominator)
    return Operand(
        np.ldexp(significands.astype(np.float64), exponents), significands, exponents + fraction_bits, fraction_bits,
        0, none, 1, np.full(rows, after), form.codec.value_bits + 15,
    )  # fmt: skip


def whole_rows(a: np.ndarray, multiple: int) -> np.ndarray:
    """Rows padded with zeros to a multiple, contiguous."""
    return np.ascontiguousarray(padded(a, multiple))
