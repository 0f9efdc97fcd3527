"""Units of activations and results: numbers to blocks of a format, and FP32 products.

source: OCP Microscaling Formats (MX) v1.0, section 6.3; arXiv 2509.25149 (NVFP4); MurmurHash3's finaliser (Austin
Appleby, public domain).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.rtl.independent.numbers import (
    E4M3,
    ELEMENTS,
    INFINITY,
    MXFP4,
    MXFP8,
    NAN,
    float32,
    mx_block,
    units32,
    value32,
)  # fmt: skip
from tests.rtl.independent.unit import Kind, Ports, Words, joined, parted

NAN_NUMBERS = (INFINITY, 0x7FFF0000, 0x7F810000, 0xFF800000, 0xFFC00000)
FRACTIONS = (0x7FFFFF, 0x7FFFFF, 0x7FFFFF, 0x7E0000, 0x780000, 0x700000, 0x600000, 0)
"""Masks of the fraction: short ones stand half way between two codes, or on one."""


def numbers(draw: random.Random, count: int, source: str) -> tuple[list[int], int]:
    """(float32 bits of a block, the largest exponent field meant): of one binade or of many, few of them not finite.

    Of BF16 the low 16 bits are 0.
    """
    base = draw.choice([0, 1, 2, 5, 127, 254, *draw.choices(range(1, 255), k=10)])
    spread, mask = draw.choice([0, 1, 3, 6, 14]), draw.choice(FRACTIONS)
    bits = draw.getrandbits(24 * count)
    block = []
    for i in range(count):
        part = bits >> 24 * i & 0xFFFFFF
        field = max(0, base - draw.randrange(spread + 1))
        block.append((part >> 23) << 31 | field << 23 | part & mask)
    kind = draw.random()
    if kind < 0.02:
        block[draw.randrange(count)] = draw.choice(NAN_NUMBERS)
    elif kind < 0.04:
        block = [draw.choice([0, 1 << 31]) for _ in block]
    elif kind < 0.3:
        for _ in range(count // 4):
            block[draw.randrange(count)] = draw.choice([0, 1 << 31])
    if source == "bf16":
        block = [number & 0xFFFF0000 for number in block]
    return block, base


def not_finite(block: list[int]) -> bool:
    """Whether a block holds an infinity or a NaN."""
    return any(number & INFINITY == INFINITY for number in block)


def word_of(ports: Ports, block: list[int], source: str, **others: int) -> int:
    """The input of an encoder."""
    width = 16 if source == "bf16" else 32
    return ports.pack(numbers=joined([number >> 32 - width for number in block], width), **others)


class Register:
    """The bytes of stochastic rounding: the low 8 bits of every eighth state of a 32-bit LFSR, taps 0, 10, 30, 31."""

    def __init__(self, seed: int):
        h = seed
        h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
        h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
        self.state, self.found = h ^ h >> 16, []

    def bytes(self, first: int, count: int) -> list[int]:
        """Those of the elements of a tensor from `first` on."""
        while len(self.found) < first + count:
            for _ in range(8):
                s = self.state
                self.state = s >> 1 | ((s ^ s >> 10 ^ s >> 30 ^ s >> 31) & 1) << 31
            self.found.append(self.state & 255)
        return self.found[first : first + count]


def encoder_words(target: str, source: str, seed: int | None = None) -> Callable[[Ports, random.Random, int], Words]:
    """Blocks of 32 numbers to (scale, codes); with a seed the first tensor has a tenth of the blocks, others few."""
    element = ELEMENTS[target]

    def words(ports: Ports, draw: random.Random, n: int) -> Words:
        register, at = seed and Register(seed), 0
        for i in range(n):
            block, _ = numbers(draw, 32, source)
            drawn = register and register.bytes(32 * at, 32)
            if not_finite(block):
                answer = 255, [0] * 32
            else:
                answer = mx_block([units32(b) for b in block], [bool(b >> 31) for b in block], -149, element, drawn)
            last = i >= n // 10 and draw.random() < 0.1
            at = 0 if last else at + 1
            yield word_of(ports, block, source), int(last), ((int(last), answer),)

    return words


def nvfp4_words(source: str) -> Callable[[Ports, random.Random, int], Words]:
    """Blocks of 16 numbers and the tensor's scale to (scale, codes); that scale from too small to too large."""

    def words(ports: Ports, draw: random.Random, n: int) -> Words:
        for _ in range(n):
            block, base = numbers(draw, 16, source)
            field = min(254, max(0, base + draw.choice([-13, -12, -11, -10, -9, -3, draw.randint(-24, 14)])))
            tensor = max(1, field << 23 | draw.getrandbits(23) & draw.choice(FRACTIONS))
            answer = nvfp4_block(block, tensor)
            last = draw.getrandbits(1)
            yield word_of(ports, block, source, tensor_scale=tensor), last, ((last, answer),)

    return words


def nvfp4_block(block: list[int], tensor: int) -> tuple[int, list[int]]:
    """s = E4M3(largest / (6 t)); codes E2M1(x / (s t)): quotients as pairs of integers, each rounded once."""
    if not_finite(block):
        return 0x7F, [0] * 16
    sizes, t = [units32(b) for b in block], units32(tensor)
    scale = MXFP8.nearest(max(sizes) << 9, 6 * t)
    if not scale:
        return 0, [0] * 16
    d = E4M3[scale] * t
    return scale, [MXFP4.signed(MXFP4.nearest(x << 10, d), bool(b >> 31)) for x, b in zip(sizes, block, strict=True)]


def record_right(ports: Ports, word: int, answer: object) -> bool:
    """Scale and codes of a record."""
    assert isinstance(answer, tuple)
    count = len(answer[1])
    codes = parted(ports.cut(word, "codes"), ports.fields[ports.given]["codes"][1] // count, count)
    return (ports.cut(word, "scale"), codes) == answer


def scale_words(ports: Ports, draw: random.Random, n: int) -> Words:
    """Two FP32 numbers to their product; sums of exponents that reach both ends of the range, and special numbers."""
    special = (0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x3F800000, *NAN_NUMBERS)
    for _ in range(n):
        a = draw.getrandbits(32)
        field = draw.choice([127, 254, 381, draw.randrange(255), draw.randrange(100, 130)]) - (a >> 23 & 255)
        field += draw.randint(-25, 3)
        b = draw.getrandbits(1) << 31 | min(254, max(0, field)) << 23 | draw.getrandbits(23) & draw.choice(FRACTIONS)
        if draw.random() < 0.1:
            a = draw.choice(special) ^ draw.getrandbits(1) << 31
        if draw.random() < 0.1:
            b = draw.choice(special) ^ draw.getrandbits(1) << 31
        last = draw.getrandbits(1)
        yield ports.pack(value=a, scale=b), last, ((last, product(a, b)),)


def product(a: int, b: int) -> int:
    """Bits of the product of two float32, rounded once."""
    sign, x, y = (a ^ b) >> 31 << 31, a & 0x7FFFFFFF, b & 0x7FFFFFFF
    if max(x, y) > INFINITY or (max(x, y) == INFINITY and min(x, y) == 0):
        return NAN
    if max(x, y) == INFINITY:
        return sign | INFINITY
    return float32(value32(a) * value32(b)) if x and y else sign


KINDS = (
    *(Kind(f"encoder --format {name} --source {source}", encoder_words(name, source), record_right)
      for name in ("mxfp4", "mxfp8") for source in ("fp32", "bf16")),
    Kind("encoder --format mxint8", encoder_words("mxint8", "fp32"), record_right),
    Kind("encoder --format mxfp4 --rounding stochastic --seed 1", encoder_words("mxfp4", "fp32", 1), record_right),
    Kind("encoder --format mxfp8 --source bf16 --rounding stochastic --seed 4294967295",
         encoder_words("mxfp8", "bf16", 4294967295), record_right),
    Kind("encoder --format nvfp4", nvfp4_words("fp32"), record_right),
    Kind("encoder --format nvfp4 --source bf16", nvfp4_words("bf16"), record_right),
    Kind("scale", scale_words),
)  # fmt: skip
