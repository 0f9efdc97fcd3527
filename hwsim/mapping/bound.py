"""Bounds in closed form: what no schedule can beat, from the ops alone, never from tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from hwsim.mapping.program import SERVERS


@dataclass(frozen=True, slots=True)
class Bound:
    """bound_cycles: the busiest server's work for the whole run. roofline_cycles: sum of per-op maxima."""

    bound_cycles: int
    limited_by: str
    roofline_cycles: int


def bound(work: Iterable[tuple[Mapping[str, Fraction], int]]) -> Bound:
    """Bound of a run from the cycles by server of each different op, and how often it comes.

    Ties go to the earlier server, DRAM first.
    """
    total, roofline = dict.fromkeys(SERVERS, Fraction(0)), Fraction(0)
    for cycles, times in work:
        roofline += times * max(cycles.values())
        for server, each in cycles.items():
            total[server] += times * each
    limited_by = max(SERVERS, key=lambda s: total[s])
    return Bound(ceil(total[limited_by]), limited_by, ceil(roofline))
