"""Banked on-chip memory: how long groups of rows take whose places only the data tell.

Row i lies in words i w, i w + 1, ..., where w is its number of words, and word j in bank j mod B. A group of P rows is
served together and takes as many cycles as its fullest bank has words; the next group starts after it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from math import factorial
from random import Random

from hwsim.workload.graph.edges import edge_indices, of_edges

#: Groups that are drawn where there is no closed form: the mean is then within about half a percent.
DRAWN = 20_000
#: Rows that a Zipf distribution tells apart; the rest are as rare as the last of them.
RANKS = 1_000_000


def fullest(balls: int, bins: int) -> Fraction:
    """Expected count of the fullest of `bins` bins after `balls` balls fell into them at random, exact.

    Ways in which none holds more than t: balls! [x^balls] (sum of x^j / j!, j <= t)^bins.
    """
    expected = Fraction(0)
    for most in range(balls):  # E = sum over t of P(max > t)
        one = [Fraction(1, factorial(j)) for j in range(most + 1)]
        ways = [Fraction(1)] + [Fraction(0)] * balls
        for _ in range(bins):
            ways = [sum((ways[i - j] * one[j] for j in range(min(i, most) + 1)), Fraction(0)) for i in range(balls + 1)]
        expected += 1 - ways[balls] * factorial(balls) / Fraction(bins) ** balls
    return expected


@lru_cache(maxsize=1024)
def group_cycles(ports: int, banks: int, words: int, distribution: str = "uniform", rows: int = 0) -> Fraction:
    """Mean cycles of a group of `ports` rows of `words` words. rows: of the whole tensor (0: many)."""
    if of_edges(distribution):
        return _of_all(edge_indices(distribution), ports, banks, words)
    if distribution == "sequential":
        return Fraction(-(-ports * words // banks))
    places = banks // words if banks % words == 0 else 1 if words % banks == 0 else 0
    even = not rows or rows % places == 0 or rows >= 100 * places if places else False
    if distribution == "uniform" and even:
        return max(1, words // banks) * fullest(ports, places)
    drawn = _indices(distribution, rows or banks * 1000)
    total = sum(_cycles([next(drawn) for _ in range(ports)], banks, words) for _ in range(DRAWN))
    return Fraction(total, DRAWN)


def _cycles(group: Sequence[int], banks: int, words: int) -> int:
    """Of one group of rows: what its fullest bank holds."""
    whole, rest = divmod(words, banks)
    held = [0] * banks
    for row in group:
        for j in range(rest):
            held[(row * words + j) % banks] += 1
    return max(held) + whole * len(group)


def _of_all(rows: Sequence[int], ports: int, banks: int, words: int) -> Fraction:
    """Mean cycles of `ports` rows of exactly these, in order; the last group may be short."""
    total = sum(_cycles(rows[i : i + ports], banks, words) for i in range(0, len(rows), ports))
    return Fraction(total * ports, len(rows))


def _indices(distribution: str, rows: int) -> Iterator[int]:
    """Indices without end, the same each time."""
    draw, kind = Random(1), distribution.partition("(")[0]
    if kind == "zipf":
        a = float(distribution[5:-1])
        shares = list(accumulate((r + 1) ** -a for r in range(min(rows, RANKS))))
        places = list(range(len(shares)))
        draw.shuffle(places)  # popular rows lie anywhere
        while True:
            yield places[bisect(shares, draw.random() * shares[-1], hi=len(shares) - 1)]
    near, last = float(distribution[6:-1]) if kind == "local" else 0.0, 0
    while True:
        last = (last + 1) % rows if draw.random() < near else draw.randrange(rows)
        yield last
