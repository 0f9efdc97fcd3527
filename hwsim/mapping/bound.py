"""Bounds in closed form: what no schedule can beat, from the ops alone, never from tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def bound(work: Sequence[Mapping[str, Fraction]]) -> Bound:
    """Bound of a run from each op's cycles by server; ties go to the earlier server, DRAM first."""
    total = {s: sum((w.get(s, Fraction(0)) for w in work), Fraction(0)) for s in SERVERS}
    limited_by = max(SERVERS, key=lambda s: total[s])
    roofline = sum((max(w.values()) for w in work), Fraction(0))
    return Bound(ceil(total[limited_by]), limited_by, ceil(roofline))
