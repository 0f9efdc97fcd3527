"""Units of the seed path: LFSR block, seed decoder."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.errors import InputError
from hwsim.formats.lfsr import SeedCodec
from hwsim.specs.staged import Staged


@dataclass(frozen=True)
class LfsrBlock(Staged):
    """All C x P LFSR states of a seed block at once.

    codec:  C, P and the register.
    stages: "seed" before the XOR trees, "states" (alone the default) after them.
    source: SeedLM (arXiv 2410.10714), Algorithm 1 and Figure 4.
    """

    codec: SeedCodec

    @property
    def cuts(self) -> tuple[str, ...]:
        """Before and after the XOR trees."""
        return ("seed", "states")

    @property
    def default_stages(self) -> tuple[str, ...]:
        """One register, after the trees."""
        return ("states",)

    @property
    def states(self) -> int:
        """States delivered per cycle."""
        return self.codec.C * self.codec.P

    def __call__(self, seed: int) -> list[int]:
        """The states in the order of emission: V row by row.

        raises: InputError for seed 0, which is none, and for a seed of more than K bits.
        """
        if not 0 < seed <= self.codec.lfsr.period:
            raise InputError(f"LfsrBlock: seed {seed}; write 1 to {self.codec.lfsr.period}")
        return self.codec.lfsr.states(seed, self.states)


@dataclass(frozen=True)
class SeedDecoder(Staged):
    """One seed record to its C weights, each an exact integer S_i; the weight is S_i 2^exponent.

    codec:  the seed codec.
    stages: "stream" after the LFSR's bit stream, "row0" ... after each coefficient's multiples, "sum" at the end.
    source: SeedLM (arXiv 2410.10714), section 3; the integer form is the seed codec's.
    """

    codec: SeedCodec

    @property
    def cuts(self) -> tuple[str, ...]:
        """The stream, one cut per coefficient, the last sum."""
        return ("stream", *(f"row{p}" for p in range(self.codec.P)), "sum")

    @property
    def value_bits(self) -> int:
        """Signed bits of a weight's integer."""
        return self.codec.value_bits

    def negate(self, word: int) -> bool:
        """Whether the RTL delivers all integers negated: where the first coefficient's low radix-4 digit is < 0."""
        return bool(word >> (self.codec.K + self.codec.exponent_bits + 1) & 1)

    def __call__(self, word: int) -> tuple[int, list[int]]:
        """(exponent, the C integers S_i) of a record as `SeedCodec.pack` makes it.

        raises: InputError for a record with seed 0, which is none.
        """
        seed, exponent, q = self.codec.unpack(word)
        return exponent, self.codec.decode_block(seed, q)
