"""`Requantizer`: the integers of seed blocks to whole blocks of an MX format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from hwsim.errors import InputError
from hwsim.formats.elements import ELEMENTS, Element
from hwsim.formats.lfsr import SeedCodec
from hwsim.formats.names import layout
from hwsim.specs.dot import Operand, Side
from hwsim.specs.seed import SeedDecoder
from hwsim.specs.staged import Staged


@dataclass(frozen=True)
class Requantizer(Staged):
    """Gathers seed blocks that make whole target blocks, and encodes their weights S_i 2^e in the target format.

    codec:  the seed codec.
    target: "mxint8" or "mxfp4_e2m1"; scale rule floor, rounding to nearest even.
    stages: "magnitude", "any" (of each part's magnitudes), "top" (their leading bit), "max1" ..., "distance" (of each
            part below the block's largest), "clamp", "wide" and "narrow" (the shift), "round".

    A part is the intersection of a seed block and a target block; it has one exponent.
    """

    codec: SeedCodec
    target: str = "mxint8"

    def __post_init__(self) -> None:
        if layout(self.target).name not in ("mxint8", "mxfp4_e2m1"):
            raise InputError(f"Requantizer: target {self.target!r}; write mxint8 or mxfp4_e2m1")
        low, high = self.codec.exponent_range
        lowest, highest = (127 - self.element.emax + e for e in (low, high + self.magnitude_bits - 1))
        if lowest < 1 or highest > 254:
            raise InputError(
                f"Requantizer: exponents of {self.codec.exponent_bits} bits give scale codes {lowest} to {highest}, "
                "and E8M0 has 1 to 254 here; write fewer exponent_bits"
            )
        super().__post_init__()

    @property
    def decoder(self) -> SeedDecoder:
        """The unit whose output is gathered."""
        return SeedDecoder(self.codec)

    @property
    def element(self) -> Element:
        """The target's element format."""
        return ELEMENTS[layout(self.target).element]

    @property
    def operand(self) -> Operand:
        """The target as an operand of a block dot product."""
        return Operand(self.element)

    @property
    def block(self) -> int:
        """Weights of a target block."""
        return layout(self.target).block

    @property
    def seed_blocks(self) -> int:
        """Seed blocks gathered at once."""
        return math.lcm(self.codec.C, self.block) // self.codec.C

    @property
    def blocks(self) -> int:
        """Target blocks made of them."""
        return self.seed_blocks * self.codec.C // self.block

    @property
    def parts(self) -> tuple[tuple[tuple[int, int, int], ...], ...]:
        """For each target block, its parts: (seed block, first weight, end) counted over all weights gathered."""
        c = self.codec.C
        found = []
        for block in range(self.blocks):
            at, end, mine = block * self.block, (block + 1) * self.block, []
            while at < end:
                stop = min(end, (at // c + 1) * c)
                mine.append((at // c, at, stop))
                at = stop
            found.append(tuple(mine))
        return tuple(found)

    @property
    def kept_bits(self) -> int:
        """Bits of the fixed-point magnitude that is rounded; its leading bit is the block's leading bit."""
        return int(math.log2(self.element.max_normal)) - self.element.quantum_exponent + 1

    @property
    def magnitude_bits(self) -> int:
        """Bits of |S_i|."""
        return self.codec.value_bits - 1

    @property
    def max_levels(self) -> int:
        """Levels of the maximum over a target block's parts."""
        return (max(len(parts) for parts in self.parts) - 1).bit_length()

    @property
    def cuts(self) -> tuple[str, ...]:
        """Where a register can be."""
        levels = tuple(f"max{i}" for i in range(1, self.max_levels + 1))
        return ("magnitude", "any", "top", *levels, "distance", "clamp", "wide", "narrow", "round")

    @property
    def rounding_table(self) -> tuple[int, ...]:
        """Magnitude code for each (sticky, guard, kept) index, sticky lowest: to nearest even, saturated."""
        codes = range(self.element.max_code + 1)
        table = []
        for index in range(1 << (self.kept_bits + 2)):
            value = Fraction(index >> 2) + Fraction(index >> 1 & 1, 2) + Fraction(index & 1, 4)
            nearest = min(codes, key=lambda code: (abs(self.element.integers[code] - value), code & 1))
            table.append(nearest)
        return tuple(table)

    def __call__(self, seed_blocks: Sequence[tuple[int, Sequence[int]]]) -> list[Side]:
        """The target blocks of decoded seed blocks, each (exponent, integers): `get_format(target).encode` of them."""
        import numpy as np

        from hwsim.formats.catalog import get_format
        from hwsim.formats.format import present

        weights = [math.ldexp(s, exponent) for exponent, integers in seed_blocks for s in integers]
        encoded = get_format(self.target).encode(np.array(weights, np.float32).reshape(self.blocks, self.block))
        codes, scales = encoded.codes.reshape(self.blocks, self.block), present(encoded.scales).reshape(self.blocks)
        return [Side([int(c) for c in row], int(scale)) for row, scale in zip(codes, scales, strict=True)]
