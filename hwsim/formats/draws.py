"""The random bits of stochastic rounding: eight fresh bits per element, from a register that any seed starts fairly.

Element i uses the low 8 bits of state 8 (i + 1) of the 32-bit LFSR, so that no two of the first 2^29 - 1 elements share
a bit of the stream. State 0 is `mix(seed)`: small seeds have few ones, and a register loaded with them gives nearly
constant bits at first. Element 2^29 - 1 starts again from the next seed.

source: MurmurHash3's 32-bit finaliser (Austin Appleby, public domain), a bijection of 32-bit words that keeps 0.
"""

from __future__ import annotations

from numbers import Integral

from hwsim.errors import InputError
from hwsim.formats.lfsr import Lfsr

EPOCH = (1 << 29) - 1
"""Elements after which the register starts again: eight steps each use the whole period of 2^32 - 1 once."""

SEEDS = (1 << 32) - 1
"""Number of seeds: 1 to 2^32 - 1, counted around without 0."""

STEPS = 8
"""Steps of the register per element: one for each bit that it uses."""

_REGISTER = Lfsr(32)


def mix(seed: int) -> int:
    """State 0 of the register of a seed: the murmur3 finaliser. seed: 1 to 2^32 - 1; other seeds give other states."""
    h = seed & 0xFFFFFFFF
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def start(seed: int, first: int) -> tuple[int, int, int]:
    """(state before element `first` draws, elements left until the register starts again, seed of this part)."""
    epoch, at = divmod(first, EPOCH)
    part = (seed - 1 + epoch) % SEEDS + 1
    return _REGISTER.jump(mix(part), STEPS * at), EPOCH - at, part


def draws(seed: int, count: int, first: int = 0) -> list[int]:
    """The eight bits r of `count` elements from element `first`, each 0 to 255."""
    state, left, part = start(seed, first)
    found = []
    for _ in range(count):
        if not left:
            part = part % SEEDS + 1
            state, left = mix(part), EPOCH
        for _ in range(STEPS):
            state = _REGISTER.step(state)
        left -= 1
        found.append(state & 255)
    return found


def seed_problems(seed: object) -> list[str]:
    """What is wrong with a seed; empty for an integer from 1 to 2^32 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 < int(seed) <= SEEDS:
        return [f"seed: {seed!r} is not a seed of the 32-bit register; write an integer from 1 to {SEEDS}"]
    return []


def checked_seed(seed: int) -> int:
    """The seed as a plain integer. raises: InputError for one that cannot be."""
    problems = seed_problems(seed)
    if problems:
        raise InputError(*problems)
    return int(seed)
