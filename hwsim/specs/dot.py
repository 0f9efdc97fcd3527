"""`BlockDot`: the exact dot product of two blocks, and the coding of its operands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from hwsim.errors import InputError
from hwsim.formats.elements import E4M3, E8M0_NAN, Element, element
from hwsim.formats.names import FormatSource, layout, row
from hwsim.specs.staged import Staged


@dataclass(frozen=True)
class Operand:
    """The coding of one side of a dot product: its elements, their block's scale, their sub-blocks' shifts.

    element:        the element format; None: sign-magnitude of `magnitude_bits` (BDR), sign on top.
    scale:          "e8m0", "e4m3" (NVFP4; without a sign: bit 7 of the byte is ignored), or "none".
    magnitude_bits: BDR's m; the value is magnitude 2^(-shift - (m-1)).
    sub_block:      elements that share a shift of `shift_bits` bits (BDR's k2 and d2); 0: no shifts.
    source:         OCP MX v1.0, section 5; arXiv 2302.08007 (BDR).
    """

    element: Element | None
    scale: Literal["e8m0", "e4m3", "none"] = "e8m0"
    magnitude_bits: int = 0
    sub_block: int = 0
    shift_bits: int = 0

    @property
    def code_bits(self) -> int:
        """Bits of an element's code."""
        return self.element.bits if self.element else self.magnitude_bits + 1

    @property
    def is_integer(self) -> bool:
        """Two's complement elements."""
        return self.element is not None and self.element.is_integer

    @property
    def significand_bits(self) -> int:
        """Bits of an element's magnitude without its exponent."""
        if self.element is None:
            return self.magnitude_bits
        return self.element.bits if self.element.is_integer else self.element.mantissa_bits + 1

    @property
    def shift_max(self) -> int:
        """Largest sub-block shift."""
        return (1 << self.shift_bits) - 1 if self.sub_block else 0

    @property
    def steps(self) -> int:
        """Widest alignment shift in bits: largest minus smallest element exponent."""
        if self.element is None:
            return self.shift_max
        return 0 if self.element.is_integer else (self.element.max_code >> self.element.mantissa_bits) - 1

    @property
    def least_step(self) -> int:
        """The exponent field that the RTL gives a subnormal: 1, as max(exponent, 1) is one lookup table."""
        return 0 if self.element is None or self.element.is_integer else 1

    @property
    def quantum_exponent(self) -> int:
        """log2 of the unit that every element is an integer multiple of, at its deepest shift."""
        return self.element.quantum_exponent if self.element else 1 - self.magnitude_bits - self.shift_max

    @cached_property
    def integer_max(self) -> int:
        """Largest magnitude of an element in that unit."""
        if self.element is None:
            return ((1 << self.magnitude_bits) - 1) << self.shift_max
        return max(map(abs, self.element.integers))

    @property
    def has_nan(self) -> bool:
        """Whether an element can be NaN."""
        return self.element is not None and self.element.specials > 0

    @property
    def has_inf(self) -> bool:
        """Whether an element can be infinite."""
        return self.element is not None and self.element.specials > 1

    @property
    def scale_bits(self) -> int:
        """Bits of the scale's code."""
        return 0 if self.scale == "none" else 8

    @property
    def scale_significand_max(self) -> int:
        """Largest significand of a scale that is not a power of two; 1 for those that are."""
        return (2 << E4M3.mantissa_bits) - 1 if self.scale == "e4m3" else 1

    @property
    def scale_exponent_max(self) -> int:
        """Largest exponent field of a finite scale."""
        return {"e8m0": E8M0_NAN - 1, "e4m3": E4M3.max_code >> E4M3.mantissa_bits, "none": 0}[self.scale]

    @property
    def scale_offset(self) -> int:
        """The scale's power of two less its exponent field (which is at least 1 for E4M3)."""
        return {"e8m0": -127, "e4m3": E4M3.quantum_exponent - 1, "none": 0}[self.scale]

    def integer(self, code: int, shift: int = 0) -> int | float:
        """The element in units of `quantum_exponent`; inf or nan where it is not finite."""
        if self.element is None:
            magnitude = (code & ((1 << self.magnitude_bits) - 1)) << (self.shift_max - shift)
            return -magnitude if code >> self.magnitude_bits else magnitude
        value = self.element.values[code]
        return self.element.integers[code] if math.isfinite(value) else value

    def scale_parts(self, code: int) -> tuple[int | None, int]:
        """(significand, exponent field) of a scale's code; the significand is None for NaN."""
        if self.scale == "none":
            return 1, 0
        if self.scale == "e8m0":
            return (None if code == E8M0_NAN else 1), code
        code &= E4M3.sign_bit - 1
        if not math.isfinite(E4M3.values[code]):
            return None, 0
        exponent = max(code >> E4M3.mantissa_bits, 1)
        return E4M3.integers[code] >> (exponent - 1), exponent


def operand(source: FormatSource) -> tuple[Operand, int]:
    """The coding of a format's blocks in a dot product, and their length (0: no scaled blocks).

    source: as for `get_format`.
    raises: InputError for a format that a block dot unit cannot multiply.
    """
    found = row(layout(source))
    form = found.layout
    point = {key: value for key, value in found.options.items() if isinstance(value, int)}
    match found.made_by:
        case "mx:BlockFormat":
            return Operand(element(form.element), "e8m0"), form.block
        case "nvfp4:ScaledFormat":
            return Operand(element(form.element), "e4m3"), form.block
        case "bdr:BdrFormat" if point["d1"] == 8:
            return Operand(None, "e8m0", point["m"], point["k2"], point["d2"]), form.block
        case "dense:ScaledDenseFormat" if form.kind == "dense":
            return Operand(element(form.element), "none"), 0
    raise InputError(f"{form.name}: not an operand of a block dot unit; write an MX, NVFP4 or BDR format, fp8 or int8")


class Side(NamedTuple):
    """One operand's block as codes: elements, the scale, the sub-blocks' shifts."""

    codes: Sequence[int]
    scale: int = 0
    shifts: Sequence[int] = ()


class BlockSum(NamedTuple):
    """The exact dot product of two blocks: total 2^exponent, unless it is NaN (`nan`) or infinite (`inf` = +-1)."""

    total: int
    exponent: int
    nan: bool = False
    inf: int = 0


@dataclass(frozen=True)
class BlockDot(Staged):
    """The exact dot product of two blocks: integers, nothing is rounded; exponents of the scales add.

    a, b:   the coding of the two blocks.
    lanes:  elements of a dot block.
    stages: "part..." inside a product, "product", "low_shift" and "shift" by the elements' exponents, "tree1" ...
            after each level of the adder tree, "upper" after the upper bits of the last (see `split`), "scale..." after
            each row of an E4M3 scale product.
    source: OCP MX v1.0, section 6.2 (dot product); NVFP4: E4M3 scale significands multiply the sum.
    """

    a: Operand
    b: Operand
    lanes: int = 32

    @classmethod
    def of(cls, a: FormatSource, b: FormatSource) -> BlockDot:
        """The dot unit of two formats; its lanes are the smaller scaled block, or 32.

        raises: InputError for formats without a block dot product, or blocks that do not nest.
        """
        (left, *sizes), (right, size) = operand(a), operand(b)
        sizes = sorted(each for each in (*sizes, size) if each)
        if sizes and sizes[-1] % sizes[0]:
            raise InputError(f"blocks of {sizes[0]} and {sizes[-1]} elements do not nest: no dot block")
        return cls(left, right, sizes[0] if sizes else 32)

    @property
    def both_integer(self) -> bool:
        """Both sides are two's complement numbers: the sum has no deferred sign."""
        return self.a.is_integer and self.b.is_integer

    @property
    def deferred_sign(self) -> bool:
        """Whether the RTL delivers the sum up to a sign, that of the first lane's product, on a port of its own."""
        return not self.both_integer

    @property
    def is_table(self) -> bool:
        """Whether a table of the two magnitude codes is the product, exponents included (E2M1 x E2M1)."""
        return self.has_leading_bits and self.a.code_bits + self.b.code_bits <= 8

    @property
    def product_rows(self) -> int:
        """Additions inside one product."""
        wide, narrow = sorted((self.a.significand_bits, self.b.significand_bits), reverse=True)
        if self.is_table:
            return 0
        if self.uses_booth:
            return -(-(narrow + (not self.both_integer)) // 2) - self.both_integer
        return max(0, narrow - (6 - wide if wide <= 4 else 1))

    @property
    def uses_booth(self) -> bool:
        """Whether products are sums of radix-4 rows: where both significands are wide."""
        return min(self.a.significand_bits, self.b.significand_bits) > 4

    @property
    def has_leading_bits(self) -> bool:
        """Whether both sides' significands begin with a bit that their exponent fields tell."""
        return all(side.element and not side.is_integer for side in (self.a, self.b))

    @property
    def steps(self) -> int:
        """Largest shift of a product by its elements' exponents."""
        return 0 if self.is_table else self.a.steps + self.b.steps

    @property
    def levels(self) -> int:
        """Levels of the adder tree."""
        return (self.lanes - 1).bit_length()

    @property
    def split(self) -> int:
        """Lower bits of a sum that the adder tree adds one stage before the others; 0: all at once.

        A carry chain of more than 64 bits would set the clock.
        """
        bits = (self.lanes * self.product_max).bit_length() + 1
        return bits // 2 if self.levels and bits > 64 else 0

    @property
    def scale_rows(self) -> int:
        """Additions in the product of the sum and the scales' significands: radix-4 digits of an unsigned number."""
        bits = (self.a.scale_significand_max * self.b.scale_significand_max).bit_length()
        return 0 if bits == 1 else bits // 2 + 1

    @property
    def cuts(self) -> tuple[str, ...]:
        """Where a register can be."""
        return (
            *(f"part{i}" for i in range(1, self.product_rows)),
            "product",
            *(("low_shift",) if self.steps else ()),
            *(("shift",) if self.steps + self.a.least_step + self.b.least_step > 3 and self.steps else ()),
            *(f"tree{i}" for i in range(1, self.levels + 1)),
            *(("upper",) if self.split else ()),
            *(f"scale{i}" for i in range(1, self.scale_rows + 1)),
        )

    @property
    def product_max(self) -> int:
        """Largest magnitude of one product."""
        return self.a.integer_max * self.b.integer_max

    @property
    def total_max(self) -> int:
        """Largest magnitude of the exact sum."""
        return self.lanes * self.product_max * self.a.scale_significand_max * self.b.scale_significand_max

    @property
    def total_bits(self) -> int:
        """Signed bits of the exact sum."""
        return self.total_max.bit_length() + 1

    @property
    def exponent_bits(self) -> int:
        """Bits of the sum of the scales' exponent fields; at least 1."""
        return max(1, (self.a.scale_exponent_max + self.b.scale_exponent_max).bit_length())

    @property
    def exponent_offset(self) -> int:
        """The power of two of the total's unit less that sum."""
        a, b = self.a, self.b
        return a.scale_offset + b.scale_offset + a.quantum_exponent + b.quantum_exponent

    def __call__(self, a: Side, b: Side) -> BlockSum:
        """The dot product of two blocks of codes.

        NaN: a NaN scale or element, infinity times zero, or infinities of both signs.
        """
        (sa, ea), (sb, eb) = self.a.scale_parts(a.scale), self.b.scale_parts(b.scale)
        exponent = ea + eb + self.exponent_offset
        if sa is None or sb is None:
            return BlockSum(0, exponent, nan=True)
        total, specials = 0, set()
        for i, (code_a, code_b) in enumerate(zip(a.codes, b.codes, strict=True)):
            x = self.a.integer(code_a, a.shifts[i // self.a.sub_block] if self.a.sub_block else 0)
            y = self.b.integer(code_b, b.shifts[i // self.b.sub_block] if self.b.sub_block else 0)
            product = sa * x * sb * y
            if isinstance(product, int):
                total += product
            else:
                specials.add("nan" if math.isnan(product) else "inf" if product > 0 else "-inf")
        if not specials:
            return BlockSum(total, exponent)
        if len(specials) > 1 or "nan" in specials:
            return BlockSum(0, exponent, nan=True)
        return BlockSum(0, exponent, inf=1 if "inf" in specials else -1)
