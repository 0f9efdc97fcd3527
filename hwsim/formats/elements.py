"""Element formats and the E8M0 scale as value tables: an element has at most 8 bits, so it *is* its table.

Standard library only. Source: OCP Microscaling Formats (MX) v1.0, section 5.3 and 5.4.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

from hwsim.errors import InputError, nearest


@dataclass(frozen=True)
class Element:
    """One element format: a value for each code.

    exponent_bits: 0 for two's-complement integers.
    mantissa_bits: stored fraction bits (integers: the fraction bits of the value, 6 for INT8, 0 for INT4).
    bias: exponent bias; a code with exponent field 0 is subnormal.
    specials: codes at the top of the last binade that are not finite: 0 none, 1 NaN only (E4M3),
        2**mantissa_bits a whole binade of Inf and NaN (E5M2).
    """

    name: str
    bits: int
    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: int = 0

    @property
    def is_integer(self) -> bool:
        """True for two's-complement elements."""
        return self.exponent_bits == 0

    @property
    def sign_bit(self) -> int:
        """The code's sign bit as a mask."""
        return 1 << (self.bits - 1)

    @property
    def max_code(self) -> int:
        """Code of the largest finite value; the symmetric one for integers."""
        return self.sign_bit - 1 - self.specials

    @property
    def nan_code(self) -> int | None:
        """The canonical NaN code, or None where the element has no NaN."""
        return self.sign_bit - 1 if self.specials else None

    @property
    def emin(self) -> int:
        """Exponent of the least normal value (of the least step + mantissa_bits for integers: 0)."""
        return 0 if self.is_integer else 1 - self.bias

    @property
    def emax(self) -> int:
        """Exponent of the largest finite value, the `emax` of the scale rules."""
        return math.frexp(self.max_normal)[1] - 1

    @property
    def quantum_exponent(self) -> int:
        """log2 of the least positive value; every value is an integer multiple of it."""
        return self.emin - self.mantissa_bits

    @cached_property
    def max_normal(self) -> float:
        """Largest finite value."""
        return self.values[self.max_code]

    @cached_property
    def values(self) -> tuple[float, ...]:
        """The value of every code, in code order; -0.0, inf and nan included."""
        return tuple(self._value(code) for code in range(1 << self.bits))

    @cached_property
    def integers(self) -> tuple[int, ...]:
        """value / 2**quantum_exponent for every code, as int; 0 where the code is not finite."""
        unit = 2.0**self.quantum_exponent
        return tuple(int(v / unit) if math.isfinite(v) else 0 for v in self.values)

    def _value(self, code: int) -> float:
        if self.is_integer:
            signed = code - (1 << self.bits) if code & self.sign_bit else code
            return math.ldexp(signed, -self.mantissa_bits)
        magnitude = code & (self.sign_bit - 1)
        sign = -1.0 if code & self.sign_bit else 1.0
        if magnitude > self.max_code:
            is_inf = self.specials > 1 and magnitude == self.max_code + 1
            return sign * math.inf if is_inf else sign * math.nan
        exponent, fraction = divmod(magnitude, 1 << self.mantissa_bits)
        if exponent:
            fraction += 1 << self.mantissa_bits
        return sign * math.ldexp(fraction, max(exponent, 1) - self.bias - self.mantissa_bits)


E5M2 = Element("E5M2", 8, 5, 2, 15, specials=4)
E4M3 = Element("E4M3", 8, 4, 3, 7, specials=1)
E3M2 = Element("E3M2", 6, 3, 2, 3)
E2M3 = Element("E2M3", 6, 2, 3, 1)
E2M1 = Element("E2M1", 4, 2, 1, 1)
INT8 = Element("INT8", 8, 0, 6, 0)
INT4 = Element("INT4", 4, 0, 0, 0)

ELEMENTS: dict[str, Element] = {each.name: each for each in (E5M2, E4M3, E3M2, E2M3, E2M1, INT8)}
"""The six element formats of OCP MX; INT4 (the integer itself) belongs to int4_g128 only."""

E8M0_NAN = 0xFF
E8M0_VALUES: tuple[float, ...] = (*(2.0 ** (code - 127) for code in range(255)), math.nan)
"""E8M0: 2**(code - 127); no zero, no sign, 0xFF is NaN. OCP MX v1.0, section 5.4.1."""


_EXMY = re.compile(r"E([1-5])M([0-6])")


def element(name: str) -> Element:
    """The element format of that name (either case): one of OCP MX, or any other ExMy of at most 8 bits.

    ExMy has a sign, x (1 to 5) exponent bits with bias 2^(x-1) - 1, y fraction bits, subnormals, no Inf and no NaN.
    raises: InputError with the nearest name.
    """
    upper = name.upper()
    if upper in ELEMENTS:
        return ELEMENTS[upper]
    if found := _EXMY.fullmatch(upper):
        x, y = int(found[1]), int(found[2])
        if 3 <= 1 + x + y <= 8:
            return Element(upper, 1 + x + y, x, y, (1 << (x - 1)) - 1)
    raise InputError(
        f"unknown element {name!r}{nearest(upper, ELEMENTS)}; ExMy has 3 to 8 bits with its sign, and x at most 5"
    )
