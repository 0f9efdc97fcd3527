"""How long a sorter of p comparators takes.

Bitonic: n keys, rounded up to a power of two N = 2^s, in s (s + 1) / 2 stages of N / 2 comparisons each (Batcher, AFIPS
1968). Of k keys that are kept, one key of the list after another meets all k at once: n ceil(k / p) cycles. A sorter
does what is faster.
"""

from __future__ import annotations

from hwsim.workload.op import Sorting


def stages(keys: int) -> int:
    """Stages of a bitonic sorter of so many keys."""
    steps = (keys - 1).bit_length()
    return steps * (steps + 1) // 2


def bitonic_cycles(keys: int, comparators: int) -> int:
    """Cycles of one list that is sorted whole; each stage begins when the one before is complete."""
    return stages(keys) * -(-(1 << (keys - 1).bit_length()) // (2 * comparators))


def inserted_cycles(keys: int, keep: int, comparators: int) -> int:
    """Cycles of one list of which `keep` keys are kept in order."""
    return keys * -(-keep // comparators)


def sort_cycles(what: Sorting, comparators: int) -> int:
    """Cycles of all lists, one after another."""
    whole = bitonic_cycles(what.keys, comparators)
    return what.lists * min(whole, inserted_cycles(what.keys, what.keep, comparators))
