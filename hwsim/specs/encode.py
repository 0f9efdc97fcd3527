"""`MxEncoder` and `Nvfp4Encoder`: blocks of FP32 or BF16 numbers to the records of a block format.

source: OCP Microscaling Formats (MX) v1.0, section 6.3 (conversion); arXiv 2509.25149 (NVFP4).
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from hwsim.errors import InputError
from hwsim.formats.draws import EPOCH, STEPS, draws, mix, seed_problems
from hwsim.formats.elements import E2M1, E4M3, E8M0_NAN, INT8, Element
from hwsim.formats.lfsr import Lfsr
from hwsim.formats.names import FormatSource, layout, row
from hwsim.specs.dot import Operand, Side, operand
from hwsim.specs.staged import Staged

SOURCES = {"fp32": 23, "bf16": 7}
"""Stored fraction bits of the numbers that come in; both have eight exponent bits."""


def _problems(source: str, block: int) -> list[str]:
    problems = []
    if source not in SOURCES:
        problems.append(f"source: {source!r}; write {' or '.join(SOURCES)}")
    if not 2 <= block <= 64:
        problems.append(f"block: {block} elements; write 2 to 64")
    return problems


class Encoder(Staged):
    """What both encoders share: a block comes in and its record leaves, one per cycle."""

    source: str
    block: int

    @property
    def fraction_bits(self) -> int:
        """Stored fraction bits of a number that comes in."""
        return SOURCES[self.source]

    @property
    def number_bits(self) -> int:
        """Bits of a number that comes in."""
        return 9 + self.fraction_bits

    @property
    @abstractmethod
    def operand(self) -> Operand:
        """The coding of the record."""

    @property
    def max_levels(self) -> int:
        """Levels of the maximum over a block."""
        return (self.block - 1).bit_length()

    def magnitude(self, bits: int) -> Fraction | None:
        """The magnitude of a number's bits; None where it is not finite."""
        magnitude = bits & ((1 << (self.number_bits - 1)) - 1)
        field, fraction = magnitude >> self.fraction_bits, magnitude & ((1 << self.fraction_bits) - 1)
        if field == 255:
            return None
        significand = fraction | (field > 0) << self.fraction_bits
        return significand * Fraction(2) ** (max(field, 1) - 127 - self.fraction_bits)

    def sign(self, bits: int) -> int:
        """1 for a number with its sign bit set, -0 too."""
        return bits >> (self.number_bits - 1)


@dataclass(frozen=True)
class MxEncoder(Encoder):
    """A block of numbers to an OCP MX record: scale rule floor.

    element:  the element format.
    source:   "fp32" or "bf16".
    rounding: "rne" or "stochastic".
    seed:     of stochastic rounding, 1 to 2^32 - 1; else 0.
    block:    elements that share the scale; they come in together, so they are the unit's lanes.
    stages:   "max1" ... after each level of the largest exponent, "scale", "distance" (of each element from its place),
              "clamp", "shift", "round".
    Stochastic: element i of a tensor adds the low 8 bits of LFSR state 8 (i + 1) below its last kept bit, truncated in
    magnitude, as `formats` does. The register steps by 8 `block` with each block; after the last block of a tensor it
    begins at the seed again. One seed serves `blocks_max` blocks.
    """

    element: Element
    source: str = "fp32"
    rounding: str = "rne"
    seed: int = 0
    block: int = 32

    REGISTER: ClassVar[Lfsr] = Lfsr(32)
    ROUNDINGS: ClassVar[tuple[str, ...]] = ("rne", "stochastic")

    def __post_init__(self) -> None:
        problems = _problems(self.source, self.block)
        if self.rounding not in self.ROUNDINGS:
            problems.append(f"rounding: {self.rounding!r}; write rne or stochastic")
        elif self.stochastic:
            problems += seed_problems(self.seed)
        elif self.seed:
            problems.append(f"seed: {self.seed}, and rounding rne draws nothing; write rounding stochastic, or no seed")
        if self.element.is_integer and self.element != INT8:
            problems.append(f"element: {self.element.name} has no MX format; write INT8 or a float")
        if problems:
            raise InputError(*(f"MxEncoder: {each}" for each in problems))
        super().__post_init__()

    @classmethod
    def of(cls, target: FormatSource, source: str = "fp32", rounding: str = "rne", seed: int = 0) -> MxEncoder:
        """The encoder to an MX format. raises: InputError for another format."""
        found = row(layout(target))
        if found.made_by != "mx:BlockFormat" or set(found.options) - {"element", "block"}:
            raise InputError(
                f"MxEncoder: {found.layout.name} is no MX format with scale rule floor; write for example mxfp4"
            )
        coding, block = operand(target)
        assert coding.element is not None
        return cls(coding.element, source, rounding, seed, block)

    @property
    def stochastic(self) -> bool:
        """Whether it draws."""
        return self.rounding == "stochastic"

    @property
    def operand(self) -> Operand:
        """The record."""
        return Operand(self.element)

    @property
    def cuts(self) -> tuple[str, ...]:
        """Where a register can be."""
        levels = tuple(f"max{i}" for i in range(1, self.max_levels + 1))
        return (*levels, "scale", "distance", "clamp", "shift", "round")

    @property
    def state(self) -> int:
        """What the register holds before the first block of a tensor: state 0 of the seed."""
        return mix(self.seed)

    @property
    def steps(self) -> int:
        """Steps of the register per block."""
        return STEPS * self.block

    @property
    def blocks_max(self) -> int:
        """Blocks of a tensor that one seed serves; `formats` takes the next seed in mid-block after them."""
        return EPOCH // self.block

    def check_row(self, k: int) -> None:
        """Refuse rows that the unit would not encode as `formats` does.

        raises: InputError for stochastic rounding of rows whose length is no multiple of the block: the elements that
        fill their last blocks draw nothing in `formats`, and the unit cannot tell them from zeros.
        """
        if self.stochastic and k % self.block:
            raise InputError(
                f"MxEncoder: stochastic rounding of rows of {k} elements, {self.block} of them at a time; write a "
                f"multiple of {self.block}, or rounding rne"
            )

    def __call__(self, numbers: Sequence[int], at: int = 0) -> Side:
        """The record of a block of numbers. at: the block's number in its tensor, from 0.

        raises: InputError for stochastic rounding beyond `blocks_max`.
        """
        if self.stochastic and not 0 <= at < self.blocks_max:
            raise InputError(f"MxEncoder: block {at} of a tensor; one seed serves {self.blocks_max}")
        values = [self.magnitude(bits) for bits in numbers]
        if None in values:
            return Side([0] * self.block, E8M0_NAN)
        top = max(bits >> self.fraction_bits & 0xFF for bits in numbers)
        scale = max(top - self.element.emax, 0)
        drawn = draws(self.seed, self.block, at * self.block) if self.stochastic else [0] * self.block
        codes = []
        for bits, value, r in zip(numbers, values, drawn, strict=True):
            assert value is not None
            code, sign = self._code(value / Fraction(2) ** (scale - 127), r), self.sign(bits)
            if self.element.is_integer:
                codes.append(-code & ((1 << self.element.bits) - 1) if sign else code)
            else:
                codes.append(code | sign << (self.element.bits - 1))
        return Side(codes, scale)

    def _code(self, value: Fraction, r: int) -> int:
        """The magnitude code of a value, rounded once."""
        e = self.element
        exponent = e.emin
        if value and not e.is_integer:  # its denominator is a power of two
            exponent = max(exponent, value.numerator.bit_length() - value.denominator.bit_length())
        exact = value / Fraction(2) ** (exponent - e.mantissa_bits)
        kept = exact.numerator // exact.denominator
        rest, base = exact - kept, (exponent - e.emin) << e.mantissa_bits
        if self.stochastic:
            up = rest * 256 // 1 + r >= 256
        else:
            up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and (base + kept) & 1 == 1)
        return min(base + kept + up, e.max_code)


@dataclass(frozen=True)
class Nvfp4Encoder(Encoder):
    """A block of 16 numbers and the tensor's scale to an NVFP4 record.

    source: "fp32" or "bf16".
    stages: "max1" ... after each level of the largest magnitude, "norm" of it, "triple" (six tensor scales), "order"
            (the exponent of the block's scale), "ahead" (both sides of its comparisons), "passed", "code" (the block's
            scale), "product" of both scales, "multiples" of it, "lead" and "place" on the grid of the numbers, "least"
            that has each code, "reached" by each number, "pack".
    The tensor scale is an FP32 number above 0; each block brings its own, so rows may have theirs. Nothing is divided:
    the quotients' roundings are comparisons of numbers with exact products of the scales.
    """

    source: str = "fp32"
    block: int = 16

    THRESHOLDS: ClassVar[tuple[int, ...]] = (1, 3, 5, 7, 10, 14, 20)
    """Quarters at which the quotient's code goes up by one: half way between two values of E2M1."""

    def __post_init__(self) -> None:
        if problems := _problems(self.source, self.block):
            raise InputError(*(f"Nvfp4Encoder: {each}" for each in problems))
        super().__post_init__()

    @property
    def operand(self) -> Operand:
        """The record."""
        return Operand(E2M1, "e4m3")

    @property
    def cuts(self) -> tuple[str, ...]:
        """Where a register can be."""
        levels = tuple(f"max{i}" for i in range(1, self.max_levels + 1))
        of_scale = ("norm", "triple", "order", "ahead", "passed", "code")
        return (*levels, *of_scale, "product", "multiples", "lead", "place", "least", "reached", "pack")

    def __call__(self, numbers: Sequence[int], tensor_scale: int) -> Side:
        """The record of a block of numbers. tensor_scale: float32 bits.

        raises: InputError for a tensor scale that is 0, negative, infinite or NaN.
        """
        if not 0 < tensor_scale < 0x7F800000:
            raise InputError(f"Nvfp4Encoder: tensor scale {tensor_scale:#010x}; write the bits of a float32 above 0")
        field = tensor_scale >> 23
        s_t = ((tensor_scale & 0x7FFFFF) | (field > 0) << 23) * Fraction(2) ** (max(field, 1) - 150)
        values = [self.magnitude(bits) for bits in numbers]
        finite = [value for value in values if value is not None]
        if len(finite) < len(values):
            return Side([0] * self.block, E4M3.sign_bit - 1)
        scale = _nearest(max(finite) / (6 * s_t), E4M3)
        s_b = Fraction(E4M3.values[scale])
        if not scale:
            return Side([0] * self.block, 0)
        codes = [_nearest(value / (s_b * s_t), E2M1) for value in finite]
        return Side([code | self.sign(bits) << 3 for code, bits in zip(codes, numbers, strict=True)], scale)


_VALUES = {e: tuple(map(Fraction, e.values[: e.max_code + 1])) for e in (E4M3, E2M1)}


def _nearest(value: Fraction, e: Element) -> int:
    """The code of the element nearest to a magnitude; ties to the even code, beyond the largest the largest."""
    values = _VALUES[e]
    below = bisect_right(values, value) - 1
    if below == e.max_code:
        return below
    twice = 2 * value - values[below] - values[below + 1]
    return below + (twice > 0 or (twice == 0 and below & 1))
