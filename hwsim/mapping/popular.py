"""How many rows of tables a cache holds already: closed form for a cache that keeps the rows that were read last.

A row that is read with the share p of all reads is found in the cache with chance 1 - exp(-p T), where T is the number
of reads that a row stays in the cache without being read; T is such that the rows found fill it, sum of 1 - exp(-p T) =
room (Che, Tung and Wang, IEEE JSAC 20(7), 2002, doi 10.1109/JSAC.2002.801752; why it is accurate for Zipf: Fricker,
Robert and Roberts, arXiv 1202.3974). The cache is warm, and reads do not depend on one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import expm1, log

#: Ranks that are summed one by one; beyond them ranks are taken together whose shares differ by at most WIDTH.
EXACT = 64
WIDTH = 1.1


@lru_cache(maxsize=256)
def found_share(tables: tuple[tuple[int, int], ...], distribution: str, room: int) -> float:
    """Share of the reads that find their row in a cache with `room` rows; tables: by table, its rows and its reads.

    Tables are read in turns, each with its own popular rows. `local(p)` rows count as uniform ones: over time each row
    is read as often as any other. Rows in order (`sequential`) are a stream, which finds nothing.
    """
    reads = sum(count for _, count in tables)
    if not reads or room <= 0 or distribution == "sequential":
        return 0.0
    if sum(rows for rows, _ in tables) <= room:
        return 1.0
    groups = [  # (how many rows, the share of all reads of each)
        (many, share * count / reads) for rows, count in tables if count for many, share in shares(rows, distribution)
    ]
    low, high = 0.0, float(room)
    while _held(groups, high) < room:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _held(groups, middle) < room else (low, middle)
    return round(sum(many * share * -expm1(-share * high) for many, share in groups), 6)


def _held(groups: Sequence[tuple[float, float]], time: float) -> float:
    return sum(many * -expm1(-share * time) for many, share in groups)


@lru_cache(maxsize=256)
def shares(rows: int, distribution: str) -> tuple[tuple[float, float], ...]:
    """(how many rows, the share of the reads of each) of a table, popular rows first; the shares sum to 1."""
    if not distribution.startswith("zipf("):
        return ((rows, 1 / rows),)
    a = float(distribution[5:-1])
    groups = [(1.0, rank**-a) for rank in range(1, min(rows, EXACT) + 1)]
    first = EXACT + 1
    while first <= rows:  # ranks first to last as one: the integral of r^-a from first - 1/2 to last + 1/2
        last = min(rows, int(first * WIDTH))
        many, low, high = last - first + 1, first - 0.5, last + 0.5
        whole = log(high / low) if a == 1 else (high ** (1 - a) - low ** (1 - a)) / (1 - a)
        groups.append((float(many), whole / many))
        first = last + 1
    total = sum(many * share for many, share in groups)
    return tuple((many, share / total) for many, share in groups)
