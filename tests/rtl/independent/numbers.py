"""Small floats, FP32 and blocks that share a scale, in plain integers.

source: OCP Microscaling Formats (MX) v1.0, sections 5 and 6.3; IEEE 754-2019, section 4.3 (rounding).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

NAN, INFINITY = 0x7FC00000, 0x7F800000


def minifloat(code: int, exponents: int, fractions: int) -> int:
    """A value in units of the smallest subnormal."""
    sign, rest = code >> exponents + fractions, code & (1 << exponents + fractions) - 1
    e, f = rest >> fractions, rest & (1 << fractions) - 1
    value = f if e == 0 else (f | 1 << fractions) << e - 1
    return -value if sign else value


def floor_log2(n: int, d: int) -> int:
    """Of n/d, both above 0."""
    power = n.bit_length() - d.bit_length()
    below = n < d << power if power >= 0 else n << -power < d
    return power - below


class Element:
    """An element of a block: magnitudes by code in units of 2^unit, as far as the largest finite one.

    fractions: bits of a float's fraction; None of an integer. emax: exponent of the largest magnitude.
    """

    def __init__(self, bits: int, magnitudes: list[int], unit: int, emax: int, fractions: int | None = None):
        self.bits, self.unit, self.emax, self.fractions = bits, unit, emax, fractions
        self.largest = magnitudes[-1]
        self.code_of = {value: code for code, value in enumerate(magnitudes)}

    def nearest(self, n: int, d: int, drawn: int | None = None) -> int:
        """The code of n/d units, n >= 0: nearest, ties to even; or truncated after adding drawn/256 of a step."""
        up = 0
        if n and self.fractions is not None:
            up = max(0, floor_log2(n, d) - self.fractions)
        d <<= up
        if drawn is None:
            steps, rest = divmod(n, d)
            steps += 2 * rest > d or (2 * rest == d and steps & 1)
        else:
            steps = (256 * n + drawn * d) // (256 * d)
        return self.code_of[min(steps << up, self.largest)]

    def signed(self, magnitude: int, negative: bool) -> int:
        """The code of a magnitude's code with its sign."""
        if self.fractions is None:
            return -magnitude & (1 << self.bits) - 1 if negative else magnitude
        return magnitude | negative << self.bits - 1


E2M1 = [minifloat(code, 2, 1) for code in range(16)]  # in halves
E4M3 = [minifloat(code, 4, 3) for code in range(256)]  # in 2^-9; codes 0x7F and 0xFF are NaN
E5M2 = [minifloat(code, 5, 2) for code in range(256)]  # in 2^-16; 0x7C is infinity, above it NaN
INT8 = [code - 256 if code > 127 else code for code in range(256)]  # in 2^-6
MXFP4 = Element(4, E2M1[:8], -1, 2, 1)
MXFP8 = Element(8, E4M3[:0x7F], -9, 8, 3)
MXINT8 = Element(8, INT8[:128], -6, 0)
ELEMENTS = {"mxfp4": MXFP4, "mxfp8": MXFP8, "mxint8": MXINT8}


def mx_block(
    magnitudes: list[int], negative: list[bool], unit: int, element: Element, drawn: list[int] | None = None
) -> tuple[int, list[int]]:
    """(E8M0 code, codes) of a block in units of 2^unit by OCP MX's rule: the exponent of the largest, less emax."""
    top = max(magnitudes).bit_length() - 1 + unit
    scale = max(-127, min(127, top - element.emax)) if any(magnitudes) else -127
    shift = unit - scale - element.unit
    up, d = max(shift, 0), 1 << max(-shift, 0)
    rounded = (element.nearest(m << up, d, drawn and drawn[i]) for i, m in enumerate(magnitudes))
    return scale + 127, [element.signed(code, sign) for code, sign in zip(rounded, negative, strict=True)]


def float32(exact: Fraction) -> int:
    """Bits of the float32 nearest to a value that is not 0, ties to even."""
    sign, size = (1, -exact) if exact < 0 else (0, exact)
    unit = max(floor_log2(size.numerator, size.denominator) - 23, -149)
    digits = round(size / Fraction(2) ** unit)  # Python rounds a Fraction's ties to even
    if digits >= 1 << 24:
        digits, unit = digits >> 1, unit + 1
    bits = digits if digits < 1 << 23 else (unit + 150 << 23) + digits - (1 << 23)
    return sign << 31 | min(bits, INFINITY)


def units32(bits: int) -> int:
    """The magnitude of a finite float32 in units of 2^-149."""
    field, digits = bits >> 23 & 255, bits & (1 << 23) - 1
    return (digits | 1 << 23) << field - 1 if field else digits


def value32(bits: int) -> Fraction:
    """A finite float32."""
    size = units32(bits) / Fraction(2) ** 149
    return -size if bits >> 31 else size


@dataclass(frozen=True)
class Sum:
    """An exact block result: total 2^exponent; or NaN, or an infinity of that sign."""

    total: int
    exponent: int
    nan: bool = False
    infinity: int = 0

    def same(self, total: int, exponent: int) -> bool:
        """Whether it is that number."""
        low = min(self.exponent, exponent)
        return self.total << self.exponent - low == total << exponent - low


def add(bits: int, block: Sum) -> int:
    """One step of an FP32 accumulator."""
    infinite = bits & 0x7FFFFFFF == INFINITY
    sign = -1 if bits >> 31 else 1
    if block.nan or bits == NAN or (infinite and block.infinity == -sign):
        return NAN
    if block.infinity:
        return INFINITY | (block.infinity < 0) << 31
    if infinite or block.total == 0:
        return bits
    exact = value32(bits) + block.total * Fraction(2) ** block.exponent
    return float32(exact) if exact else 0
