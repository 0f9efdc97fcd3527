"""Linear feedback shift registers and the seed codec built on them; exact integers, standard library only.

source: SeedLM (arXiv 2410.10714), Algorithm 1 and Figure 4 (register, fill order), Table 6 (taps).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from hwsim.errors import InputError

# Width -> bit positions (least significant = 0) whose XOR is fed back; every row is maximal (tests prove it
# by matrix order). 2..24: SeedLM Table 6; 32: Xilinx XAPP052, positions 32,22,2,1.
TAPS: dict[int, tuple[int, ...]] = {
    2: (0, 1), 3: (0, 1), 4: (0, 1), 5: (0, 2), 6: (0, 1), 7: (0, 1), 8: (0, 2, 3, 4), 9: (0, 4),
    10: (0, 3), 11: (0, 2), 12: (0, 1, 2, 8), 13: (0, 1, 2, 5), 14: (0, 1, 2, 12), 15: (0, 1),
    16: (0, 1, 3, 12), 17: (0, 3), 18: (0, 7), 19: (0, 1, 2, 5), 20: (0, 3), 21: (0, 2), 22: (0, 1),
    23: (0, 5), 24: (0, 1, 2, 7), 32: (0, 10, 30, 31),
}  # fmt: skip


def _compose(after: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """Row masks of `after . before` over GF(2)."""
    rows = []
    for row in after:
        mask = 0
        while row:
            low = row & -row
            mask ^= before[low.bit_length() - 1]
            row ^= low
        rows.append(mask)
    return tuple(rows)


@dataclass(frozen=True)
class Lfsr:
    """Fibonacci register: shift right, the XOR of the tapped bits enters the top bit.

    The register shows a window of one bit stream: bits 0..width-1 are the seed (least significant first), and
    the state after n steps is bits n..n+width-1.

    width:  bits of the register, at least 2.
    taps:   bit positions, least significant = 0; they hold 0, else a step could not be undone.
            None: the row of `TAPS`.
    raises: InputError for taps outside the register or a width without a row in `TAPS`.
    """

    width: int
    taps: tuple[int, ...] = None  # type: ignore[assignment]  # __post_init__ fills None

    def __post_init__(self) -> None:
        given: tuple[int, ...] | None = self.taps
        if given is None and self.width not in TAPS:
            raise InputError(f"no taps known for an LFSR of {self.width} bits; give taps=")
        taps = TAPS[self.width] if given is None else tuple(given)
        if len(set(taps)) != len(taps) or 0 not in taps or min(taps) < 0 or max(taps) >= self.width:
            raise InputError(f"taps {taps} of a {self.width}-bit LFSR: write different bits of it, with 0")
        object.__setattr__(self, "taps", taps)

    @cached_property
    def tap_mask(self) -> int:
        """The tapped bits as a mask."""
        return sum(1 << tap for tap in self.taps)

    @property
    def period(self) -> int:
        """States of the cycle of every non-zero seed (maximal taps)."""
        return (1 << self.width) - 1

    def step(self, state: int) -> int:
        """The state one clock later."""
        return (state >> 1) | (((state & self.tap_mask).bit_count() & 1) << (self.width - 1))

    def states(self, seed: int, n: int) -> list[int]:
        """The n states after `seed`; the seed itself is not among them."""
        states = []
        for _ in range(n):
            seed = self.step(seed)
            states.append(seed)
        return states

    def walk(self, seed: int) -> Iterator[int]:
        """The states after `seed`, without end."""
        while True:
            seed = self.step(seed)
            yield seed

    def matrix(self, n: int = 1) -> tuple[int, ...]:
        """n steps as a GF(2) matrix: row i is the mask of seed bits whose parity is bit i of the state."""
        power = tuple(1 << i for i in range(self.width))
        square = (*(1 << i for i in range(1, self.width)), self.tap_mask)
        while n:
            if n & 1:
                power = _compose(square, power)
            square = _compose(square, square)
            n >>= 1
        return power

    def jump(self, seed: int, n: int) -> int:
        """The state n steps after `seed`, in log n matrix products."""
        return sum(((seed & row).bit_count() & 1) << i for i, row in enumerate(self.matrix(n)))

    def masks(self, n: int) -> tuple[int, ...]:
        """For each of the next n stream bits, the mask of seed bits whose parity it is.

        Bit j is the top bit of the state after j + 1 steps; so all states of n steps are windows of
        seed | bit_0 << width | bit_1 << (width + 1) | ...
        """
        stream = [1 << i for i in range(self.width)]
        for _ in range(n):
            mask = 0
            for tap in self.taps:
                mask ^= stream[len(stream) - self.width + tap]
            stream.append(mask)
        return tuple(stream[self.width :])


class SeedRecord(NamedTuple):
    """One seed block as stored: w_i = S_i 2^exponent, up to the tensor scale."""

    seed: int
    exponent: int
    q: tuple[int, ...]


def _signed(code: int, bits: int) -> int:
    return code - ((code >> (bits - 1)) << bits)


@dataclass(frozen=True)
class SeedCodec:
    """C weights as one LFSR seed, one exponent and P coefficients.

    The C x P states after the seed fill V row by row (row = weight); the integer of weight i is
    S_i = sum_p (V_ip - 2^(K-1)) q_p, and w_i = S_i 2^e 2^s / (2^(K-1) - 1), 2^s the tensor scale.

    C, P:             weights and coefficients of a seed block.
    K:                bits of the register and of the seed.
    coefficient_bits: bits of each q, two's complement.
    exponent_bits:    bits of e, two's complement.
    raises:           InputError for a point that cannot be stored in 64 bits or has P > C.
    source:           SeedLM (arXiv 2410.10714), sections 3.1-3.3, Equation 3; the record's layout is hwsim's own.
    """

    C: int
    P: int
    K: int = 16
    coefficient_bits: int = 4
    exponent_bits: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.P <= self.C:
            raise InputError(f"seed codec: P = {self.P} must be between 1 and C = {self.C}")
        if self.coefficient_bits < 2 or self.exponent_bits < 2:
            raise InputError("seed codec: coefficient_bits and exponent_bits must be at least 2")
        if self.block_bits > 64:
            raise InputError(f"seed codec: a seed block of {self.block_bits} bits does not fit in 64")
        self.lfsr  # noqa: B018 - a width without taps is an error here, not at first use

    @cached_property
    def lfsr(self) -> Lfsr:
        """The register, taps from `TAPS`."""
        return Lfsr(self.K)

    @property
    def block_bits(self) -> int:
        """Bits of a record: K + exponent_bits + P coefficient_bits."""
        return self.K + self.exponent_bits + self.P * self.coefficient_bits

    @property
    def bits_per_value(self) -> Fraction:
        """Stored bits per weight, tensor scale excluded."""
        return Fraction(self.block_bits, self.C)

    @property
    def centre(self) -> int:
        """The offset subtracted from a state: 2^(K-1)."""
        return 1 << (self.K - 1)

    @property
    def denominator(self) -> int:
        """The divisor of an integer S_i: 2^(K-1) - 1."""
        return self.centre - 1

    @property
    def q_range(self) -> tuple[int, int]:
        """Least and largest coefficient, both stored."""
        return -(1 << (self.coefficient_bits - 1)), (1 << (self.coefficient_bits - 1)) - 1

    @property
    def exponent_range(self) -> tuple[int, int]:
        """Least and largest exponent, both stored."""
        return -(1 << (self.exponent_bits - 1)), (1 << (self.exponent_bits - 1)) - 1

    @property
    def value_bits(self) -> int:
        """Signed bits that hold every S_i: |S_i| <= P (2^(K-1) - 1) 2^(coefficient_bits-1)."""
        return (self.P * self.denominator << (self.coefficient_bits - 1)).bit_length() + 1

    @property
    def zero(self) -> SeedRecord:
        """The record of a block of zeros: seed 1, least exponent, q = 0."""
        return SeedRecord(1, self.exponent_range[0], (0,) * self.P)

    def states(self, seed: int) -> list[list[int]]:
        """V of `seed`: C rows of P states."""
        flat = self.lfsr.states(seed, self.C * self.P)
        return [flat[row : row + self.P] for row in range(0, len(flat), self.P)]

    def decode_block(self, seed: int, q: Sequence[int]) -> list[int]:
        """The C exact integers S_i of one seed block."""
        return [sum((v - self.centre) * c for v, c in zip(row, q, strict=True)) for row in self.states(seed)]

    def pack(self, seed: int, exponent: int, q: Sequence[int]) -> int:
        """The record as one unsigned word: seed at bit 0, exponent (two's complement), q_0, q_1, ...

        raises: InputError for a field out of range.
        """
        (e_low, e_high), (q_low, q_high) = self.exponent_range, self.q_range
        if not (0 < seed <= self.lfsr.period and e_low <= exponent <= e_high and len(q) == self.P):
            raise InputError(f"seed {seed}, exponent {exponent} or {len(q)} coefficients: out of range")
        if not all(q_low <= c <= q_high for c in q):
            raise InputError(f"coefficients {tuple(q)} must be between {q_low} and {q_high}")
        word, at = seed | (exponent & ((1 << self.exponent_bits) - 1)) << self.K, self.K + self.exponent_bits
        for c in q:
            word |= (c & ((1 << self.coefficient_bits) - 1)) << at
            at += self.coefficient_bits
        return word

    def unpack(self, word: int) -> SeedRecord:
        """The record held in a word made by `pack`.

        raises: InputError for seed 0, which is none.
        """
        if not word & self.lfsr.period:
            raise InputError(f"seed record {word:#x}: seed 0 is none; write 1 to {self.lfsr.period}")
        at, bits = self.K + self.exponent_bits, self.coefficient_bits
        return SeedRecord(
            word & ((1 << self.K) - 1),
            _signed(word >> self.K & ((1 << self.exponent_bits) - 1), self.exponent_bits),
            tuple(_signed(word >> (at + p * bits) & ((1 << bits) - 1), bits) for p in range(self.P)),
        )


SEEDLM4 = SeedCodec(C=8, P=3)
SEEDLM3 = SeedCodec(C=12, P=4)
CODECS = {"seedlm4": SEEDLM4, "seedlm3": SEEDLM3}
"""The published points by name of their format."""
