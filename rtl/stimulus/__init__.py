"""Random and special inputs of each unit with the answers of its spec: (payload, answer).

An answer is None where the input ends inside the unit (a block that does not end its row), or (answer, mask) where some
bits mean nothing.
"""

import random
from collections.abc import Iterator

from hwsim.specs import Accumulator, BlockDot, LfsrBlock, MxMac, Requantizer, SeedDecoder, SeedMac

from .dot import accumulator_cases, dot_cases
from .mac import mx_mac_cases, seed_mac_cases
from .seed import lfsr_cases, requantizer_cases, seed_decoder_cases

__all__ = ["cases"]

CASES = {
    LfsrBlock: lfsr_cases,
    SeedDecoder: seed_decoder_cases,
    Requantizer: requantizer_cases,
    BlockDot: dot_cases,
    Accumulator: accumulator_cases,
    MxMac: mx_mac_cases,
    SeedMac: seed_mac_cases,
}


def cases(spec, n: int, seed: int = 0) -> Iterator[tuple]:
    """`n` cases: special ones first or among the others; the same ones for the same seed."""
    return CASES[type(spec)](spec, n, random.Random(seed))
