"""Bounds in closed form: what no schedule can beat, from the ops alone, never from tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

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
    work = list(work)
    parts = lcm(*{each.denominator for cycles, _ in work for each in cycles.values()})  # of a cycle, all whole numbers
    total, roofline = dict.fromkeys(SERVERS, 0), 0
    for cycles, times in work:
        most = 0
        for server, each in cycles.items():
            needed = each.numerator * (parts // each.denominator)
            total[server] += times * needed
            most = max(most, needed)
        roofline += times * most
    limited_by = max(SERVERS, key=total.__getitem__)
    return Bound(-(-total[limited_by] // parts), limited_by, -(-roofline // parts))
