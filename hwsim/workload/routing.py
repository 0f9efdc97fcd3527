"""Which experts a step reads: how many distinct ones, and how many rows each multiplies."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import floor

#: b^n must divide 2E for E(1 - (a/b)^n) to lie on a half: no tie beyond this many tokens (E up to 2^63).
_EXACT = 64
_PRECISION = Context(prec=40)


def expected_distinct(experts: int, top_k: int, tokens: int) -> float:
    """Experts that `tokens` independent, evenly routed tokens touch: E (1 - (1 - k/E)^n), unrounded."""
    return float(_expected(experts, top_k, tokens))


def distinct_experts(experts: int, top_k: int, tokens: int) -> int:
    """`expected_distinct` rounded half up, within [top_k, experts]."""
    rounded = floor(_expected(experts, top_k, tokens) + Fraction(1, 2))
    return min(experts, max(top_k, rounded))


def spread(assignments: int, experts: int) -> tuple[tuple[int, int], ...]:
    """(experts, rows each): assignments as even as whole numbers allow, at most two groups."""
    rows, more = divmod(assignments, experts)
    return tuple((n, r) for n, r in ((more, rows + 1), (experts - more, rows)) if n and r)


@lru_cache(maxsize=1024)
def _expected(experts: int, top_k: int, tokens: int) -> Fraction:
    """Exact up to 64 tokens, where a tie can be; beyond, to 38 digits (the same on every machine)."""
    missed = Fraction(experts - top_k, experts)
    if tokens <= _EXACT:
        return experts * (1 - missed**tokens)
    base = _PRECISION.divide(Decimal(missed.numerator), Decimal(missed.denominator))
    return experts * (1 - Fraction(_PRECISION.power(base, tokens)))
