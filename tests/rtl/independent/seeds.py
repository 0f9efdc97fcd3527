"""Units of LFSR seeds: the states, the weights of a record, and those weights in an MX format.

source: SeedLM (arXiv 2410.10714), Algorithm 1 and Table 6.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.rtl.independent.numbers import ELEMENTS, mx_block
from tests.rtl.independent.unit import Kind, Ports, Words, joined, parted


def states(seed: int, count: int) -> list[int]:
    """Of the 16-bit LFSR with taps at bits 0, 1, 3, 12, from the state after one step on."""
    found = []
    for _ in range(count):
        feedback = (seed ^ seed >> 1 ^ seed >> 3 ^ seed >> 12) & 1
        seed = seed >> 1 | feedback << 15
        found.append(seed)
    return found


def weights(seed: int, q: list[int]) -> list[int]:
    """The eight integers of a record of three coefficients: V is 8 x 3, row by row."""
    v = states(seed, 24)
    return [sum((v[3 * i + p] - 32768) * q[p] for p in range(3)) for i in range(8)]


def record(draw: random.Random) -> tuple[int, int, list[int]]:
    """(seed, exponent, coefficients); one in forty is seed 0, which no encoder writes."""
    seed = 0 if draw.random() < 0.025 else draw.randrange(1, 1 << 16)
    corner = draw.random() < 0.1
    q = [draw.choice([-8, 7, 0]) if corner else draw.randint(-8, 7) for _ in range(3)]
    return seed, draw.randint(-8, 7), q


def requantized(values: list[int], target: str) -> tuple[int, list[int]]:
    """(E8M0 code, codes) of 32 weights in units of 2^-8, the lowest that a record's exponent makes."""
    return mx_block([abs(v) for v in values], [v < 0 for v in values], -8, ELEMENTS[target])


def lfsr_words(ports: Ports, draw: random.Random, n: int) -> Words:
    """Every seed once where there are inputs enough; seed 0 first, whose states are all 0."""
    for i in range(n):
        seed = i if n > 1 << 16 and i < 1 << 16 else draw.choice([0, 1, 0xFFFF, *(draw.getrandbits(16),) * 9])
        last = draw.getrandbits(1)
        yield seed, last, ((last, joined(states(seed, 24), 16)),)


def decoder_words(ports: Ports, draw: random.Random, n: int) -> Words:
    """Records to (exponent, weights)."""
    for _ in range(n):
        seed, e, q = record(draw)
        word, last = ports.pack(seed=seed, exponent=e, q0=q[0], q1=q[1], q2=q[2]), draw.getrandbits(1)
        yield word, last, ((last, (e, weights(seed, q))),)


def decoder_right(ports: Ports, word: int, answer: object) -> bool:
    """The sign may stand with the record or with its weights."""
    sign = -1 if ports.cut(word, "negate") else 1
    found = parted(ports.cut(word, "weights"), 21, 8, signed=True)
    return (ports.cut(word, "exponent", signed=True), [sign * w for w in found]) == answer


def requantizer_words(target: str) -> Callable[[Ports, random.Random, int], Words]:
    """Four decoded records to a block of an MX format."""

    def words(ports: Ports, draw: random.Random, n: int) -> Words:
        for _ in range(n):
            values, fields = [], {}
            quiet = draw.random() < 0.05
            for block in range(4):
                seed, e, q = record(draw)
                found = weights(seed, [0, 0, 0] if quiet and draw.random() < 0.9 else q)
                negate = draw.getrandbits(1)
                fields |= {f"[{block}].exponent": e, f"[{block}].negate": negate}
                fields[f"[{block}].weights"] = joined([-w if negate else w for w in found], 21)
                values += [w << e + 8 for w in found]
            last = draw.getrandbits(1)
            yield ports.pack(**fields), last, ((last, requantized(values, target)),)

    return words


def requantizer_right(ports: Ports, word: int, answer: object) -> bool:
    """Scale and codes."""
    width = ports.fields[ports.given]["[0].codes"][1] // 32
    codes = parted(ports.cut(word, "[0].codes"), width, 32)
    return (ports.cut(word, "[0].scale"), codes) == answer


KINDS = (
    Kind("lfsr-block", lfsr_words),
    Kind("seed-decoder", decoder_words, decoder_right),
    Kind("requantizer", requantizer_words("mxint8"), requantizer_right),
    Kind("requantizer --target mxfp4_e2m1", requantizer_words("mxfp4"), requantizer_right),
)
