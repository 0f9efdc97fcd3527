"""Dot products of two blocks, their sums in FP32, and both in one unit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.rtl.independent.numbers import E2M1, E4M3, E5M2, INT8, Sum, add
from tests.rtl.independent.seeds import record, requantized, weights
from tests.rtl.independent.unit import Kind, Ports, Words, joined

Draws = Callable[[Ports, random.Random, int], Words]


@dataclass(frozen=True)
class Operand:
    """One side of a dot product: element values in units of 2^unit, what a scale stands for, sub-blocks of two."""

    lanes: int
    bits: int
    values: list[int]
    unit: int
    scale: str = "e8m0"
    nans: frozenset[int] = frozenset()
    infinities: frozenset[int] = frozenset()
    shared: bool = False

    def draw(self, draw: random.Random) -> tuple[dict[str, int], list[int], int, int, bool]:
        """(fields, codes, factor and exponent of the block, NaN or not): its values are factor 2^(exponent + unit)."""
        tame = [code for code in range(1 << self.bits) if code not in self.nans | self.infinities]
        kind = draw.random()
        if kind < 0.05:
            codes = [draw.choice([tame[0], tame[-1], *tame[:3]]) for _ in range(self.lanes)]
        elif kind < 0.15:
            codes = [draw.randrange(1 << self.bits) for _ in range(self.lanes)]
        else:
            codes = draw.choices(tame, k=self.lanes)
        scale = 255 if draw.random() < 0.02 else draw.choice([0, 1, 127, 254, *draw.choices(range(100, 155), k=9)])
        fields = {"scale": scale}
        if self.scale == "e4m3":
            scale &= 127  # bit 7 means nothing
            factor, exponent, nan = E4M3[scale], -9, scale == 127
        else:
            factor, exponent, nan = 1, scale - 127, scale == 255
        if self.shared:
            fields["shifts"] = draw.getrandbits(self.lanes // 2)
        fields["codes"] = joined(codes, self.bits)
        return fields, codes, factor, exponent, nan

    def value(self, code: int, i: int, shifts: int) -> int:
        """In units of 2^unit; a shift of its sub-block halves it, so with shifts a unit is half as large."""
        value = self.values[code]
        return value << 1 - (shifts >> i // 2 & 1) if self.shared else value


MX9_VALUES = [code if code < 128 else -(code - 128) for code in range(256)]
OPERANDS = {
    "mxfp4": Operand(32, 4, E2M1, -1),
    "nvfp4": Operand(16, 4, E2M1, -1, "e4m3"),
    "mxint8": Operand(32, 8, INT8, -6),
    "mxfp8": Operand(32, 8, E4M3, -9, nans=frozenset({0x7F, 0xFF})),
    "mxfp8_e5m2": Operand(32, 8, E5M2, -16, nans=frozenset({0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF}),
                          infinities=frozenset({0x7C, 0xFC})),
    "mx9": Operand(16, 8, MX9_VALUES, -7, shared=True),
}  # fmt: skip


def pair(operand: Operand, draw: random.Random) -> tuple[dict[str, int], Sum]:
    """Fields of two blocks and their exact dot product."""
    a_fields, a, a_factor, a_exponent, a_nan = operand.draw(draw)
    b_fields, b, b_factor, b_exponent, b_nan = operand.draw(draw)
    fields = {f"a.{k}": v for k, v in a_fields.items()} | {f"b.{k}": v for k, v in b_fields.items()}
    nan, signs, total = a_nan or b_nan, set(), 0
    a_shifts, b_shifts = a_fields.get("shifts", 0), b_fields.get("shifts", 0)
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        if x in operand.nans or y in operand.nans:
            nan = True
        elif x in operand.infinities or y in operand.infinities:
            sign = (operand.values[x] > 0) - (operand.values[x] < 0)
            sign *= (operand.values[y] > 0) - (operand.values[y] < 0)
            nan |= sign == 0
            signs.add(sign)
        else:
            total += operand.value(x, i, a_shifts) * operand.value(y, i, b_shifts)
    if nan or signs == {1, -1}:
        return fields, Sum(0, 0, nan=True)
    if signs:
        return fields, Sum(0, 0, infinity=signs.pop())
    return fields, Sum(total * a_factor * b_factor, a_exponent + b_exponent + 2 * operand.unit)


def dot_words(operand: Operand) -> Draws:
    """Pairs of blocks to exact sums."""

    def words(ports: Ports, draw: random.Random, n: int) -> Words:
        for _ in range(n):
            fields, answer = pair(operand, draw)
            last = draw.getrandbits(1)
            yield ports.pack(**fields), last, ((last, answer),)

    return words


def dot_right(ports: Ports, word: int, answer: object) -> bool:
    """NaN and infinity by their flags, a number by its value."""
    assert isinstance(answer, Sum)
    nan, infinite, negative = (ports.cut(word, name) for name in ("nan", "inf", "negate"))
    if answer.nan or answer.infinity:
        return bool(nan) if answer.nan else bool(not nan and infinite and negative == (answer.infinity < 0))
    total = ports.cut(word, "total", signed=True)
    exponent = ports.cut(word, "exponent") + ports.offset
    return not nan and not infinite and answer.same(-total if negative else total, exponent)


def rows_of(blocks: Iterator[tuple[int, Sum]], draw: random.Random, rows: int) -> Words:
    """Blocks of `rows` rows in turn, each ended at random, and the sum that leaves with its last."""
    sums = [0] * rows
    for i, (word, block) in enumerate(blocks):
        row = i % rows
        sums[row] = add(sums[row], block)
        last = draw.random() < 0.2
        yield word, int(last), ((1, sums[row]),) if last else ()
        if last:
            sums[row] = 0


def accumulator_words(rows: int, largest: int) -> Draws:
    """Totals up to the largest that the dot unit of that format gives, exponents that meet and that do not."""

    def blocks(ports: Ports, draw: random.Random, n: int) -> Iterator[tuple[int, Sum]]:
        middle = 254
        for i in range(n):
            if i % (40 * rows) == 0:
                middle = draw.choice([0, 60, 110, 254, 380, 508, *draw.choices(range(150, 350), k=6)])
            total = draw.choice([0, 1, -1, largest, -largest, *(draw.randint(-largest, largest) for _ in range(8))])
            exponent = min(508, max(0, middle + draw.choice([0, 0, 1, -1, 12, -12, draw.randint(-40, 40)])))
            negate, nan = draw.getrandbits(1), draw.random() < 0.005
            infinite = draw.random() < 0.005
            word = ports.pack(total=total, negate=negate, exponent=exponent, nan=nan, inf=infinite)
            sign = -1 if negate else 1
            yield word, Sum(sign * total, exponent + ports.offset, nan, sign if infinite and not nan else 0)

    return lambda ports, draw, n: rows_of(blocks(ports, draw, n), draw, rows)


def mac_words(operand: Operand, rows: int) -> Draws:
    """Pairs of blocks to sums of rows."""

    def blocks(ports: Ports, draw: random.Random, n: int) -> Iterator[tuple[int, Sum]]:
        for _ in range(n):
            fields, answer = pair(operand, draw)
            yield ports.pack(**fields), answer

    return lambda ports, draw, n: rows_of(blocks(ports, draw, n), draw, rows)


def seed_mac_words(rows: int) -> Draws:
    """Four records become a block of MXINT8, which meets a block of activations."""

    def blocks(ports: Ports, draw: random.Random, n: int) -> Iterator[tuple[int, Sum]]:
        operand = OPERANDS["mxint8"]
        for _ in range(n):
            values, fields = [], {}
            for number in range(4):
                seed, e, q = record(draw)
                name = f"records[{number}]"
                fields |= {f"{name}.seed": seed, f"{name}.exponent": e}
                fields |= {f"{name}.q{p}": q[p] for p in range(3)}
                values += [w << e + 8 for w in weights(seed, q)]
            scale, codes = requantized(values, "mxint8")
            given, x, _, exponent, nan = operand.draw(draw)
            fields |= {"activations.scale": given["scale"], "activations.codes": given["codes"]}
            total = sum(INT8[a] * INT8[b] for a, b in zip(codes, x, strict=True))
            yield ports.pack(**fields), Sum(total, scale - 127 + exponent - 12, nan)

    return lambda ports, draw, n: rows_of(blocks(ports, draw, n), draw, rows)


KINDS = (
    *(Kind(f"block-dot --format {name}", dot_words(operand), dot_right) for name, operand in OPERANDS.items()),
    Kind("accumulator --format mxfp4", accumulator_words(13, 32 * 12 * 12)),
    Kind("accumulator --format mxfp4 --interleave 1", accumulator_words(1, 32 * 12 * 12)),
    Kind("mx-mac --format nvfp4", mac_words(OPERANDS["nvfp4"], 13)),
    Kind("seed-mac", seed_mac_words(13)),
)
