"""The experts that a step reads: the number of distinct ones, and the number of rows that each multiplies.

Tokens choose independently. Evenly: each expert with probability k/E. Skewed, zipf(a): the i-th most popular expert
with probability min(1, c / i^a), with c such that the probabilities sum to k; real routers are between a = 0 (even)
and 1. Decimal arithmetic with 40 digits gives the same numbers on every machine.
"""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import floor

from hwsim.errors import InputError

#: E(1 - (a/b)^n) can be halfway between integers only if b^n divides 2E: no tie above this many tokens (E up to 2^63).
_EXACT = 64
_DECIMAL = Context(prec=40)


def skew_exponent(text: str) -> Decimal:
    """`zipf(0.8)` as 0.8; `even` as 0. raises: InputError for anything else."""
    if text == "even":
        return Decimal(0)
    found = re.fullmatch(r"zipf\((\d{1,2}(?:\.\d{1,6})?)\)", text)
    if not found or Decimal(found[1]) > 10:
        raise InputError(f"skew: `{text[:40]}` is not a distribution; write `even` or `zipf(0.8)`, at most zipf(10)")
    return Decimal(found[1])


def expected_distinct(experts: int, top_k: int, tokens: int, skew: str = "even") -> float:
    """Expected number of distinct experts that `tokens` tokens choose, unrounded; even: E (1 - (1 - k/E)^n)."""
    return float(_expected(experts, top_k, tokens, skew_exponent(skew)))


def distinct_experts(experts: int, top_k: int, tokens: int, skew: str = "even") -> int:
    """`expected_distinct` rounded half up, limited to [top_k, experts]."""
    rounded = floor(_expected(experts, top_k, tokens, skew_exponent(skew)) + Fraction(1, 2))
    return min(experts, max(top_k, rounded))


@lru_cache(maxsize=1024)
def groups(experts: int, top_k: int, tokens: int, skew: str = "even") -> tuple[tuple[int, int], ...]:
    """(experts, rows each) of the distinct experts of a step, most rows first; tokens * top_k rows in total.

    Even: as even as whole numbers allow, at most two groups. Skewed: one row each, and the remaining rows in proportion
    to popularity, at most one per token and expert, rounded by largest remainder.
    """
    distinct, exponent = distinct_experts(experts, top_k, tokens, skew), skew_exponent(skew)
    if not exponent:
        return spread(tokens * top_k, distinct)
    more = _fill(_chosen(experts, top_k, exponent)[:distinct], tokens * top_k - distinct, tokens - 1)
    whole = [int(x.to_integral_value(ROUND_FLOOR)) for x in more]
    left = tokens * top_k - distinct - sum(whole)
    for i in sorted(range(distinct), key=lambda i: (whole[i] - more[i], i))[:left]:
        whole[i] += 1
    return tuple((whole.count(w), 1 + w) for w in sorted(set(whole), reverse=True))


def first_chip(rows_of: tuple[tuple[int, int], ...], chips: int) -> tuple[tuple[int, int], ...]:
    """(experts, rows each) on the first chip: `chips` get the experts in turn, most rows first; none has more."""
    mine, assigned = [], 0
    for experts, rows in rows_of:
        first = -assigned % chips
        assigned += experts
        if experts > first:
            mine.append((-(-(experts - first) // chips), rows))
    return tuple(mine)


def spread(assignments: int, experts: int) -> tuple[tuple[int, int], ...]:
    """(experts, rows each): `assignments` rows, distributed as evenly as whole numbers allow, in at most two groups."""
    rows, more = divmod(assignments, experts)
    return tuple((n, r) for n, r in ((more, rows + 1), (experts - more, rows)) if n and r)


@lru_cache(maxsize=1024)
def _expected(experts: int, top_k: int, tokens: int, exponent: Decimal) -> Fraction:
    """Even: exact up to 64 tokens, where ties are possible; above that, and skewed, to 38 digits."""
    if not exponent and tokens <= _EXACT:
        return experts * (1 - Fraction(experts - top_k, experts) ** tokens)
    with localcontext(_DECIMAL):
        if not exponent:
            return experts * (1 - Fraction((Decimal(experts - top_k) / experts) ** tokens))
        return Fraction(sum(1 - (1 - p) ** tokens for p in _chosen(experts, top_k, exponent)))


@lru_cache(maxsize=64)
def _chosen(experts: int, top_k: int, exponent: Decimal) -> tuple[Decimal, ...]:
    """Probability that a token chooses the i-th most popular expert; they sum to top_k."""
    with localcontext(_DECIMAL):
        return _fill(tuple(Decimal(i) ** -exponent for i in range(1, experts + 1)), top_k, 1)


def _fill(weights: tuple[Decimal, ...], total: int, most: int) -> tuple[Decimal, ...]:
    """Shares of `total` in proportion to descending weights, each at most `most`; the excess is given to the others."""
    with localcontext(_DECIMAL):
        for full, weight in enumerate(weights):
            share = (total - full * most) / sum(weights[full:], Decimal(0))
            if weight * share <= most:
                return (Decimal(most),) * full + tuple(w * share for w in weights[full:])
    return (Decimal(most),) * len(weights)
