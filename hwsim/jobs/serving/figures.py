"""Figures of a run under load, by vLLM's definitions: TTFT, TPOT (one per request), ITL (every gap), E2E, goodput."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass

from hwsim.errors import InputError, collect
from hwsim.jobs.serving.replica import Replica
from hwsim.jobs.serving.requests import TICKS, Sequence
from hwsim.quantities import quantity

#: Limits that `--slo` may name.
LIMITS = ("ttft", "tpot", "itl", "e2e")


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds: mean and percentiles, between neighbours by a straight line."""

    mean: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None without values."""
        return cls.weighted([(value, 1) for value in values])

    @classmethod
    def weighted(cls, values: Iterable[tuple[float, int]]) -> Spread | None:
        """Of (value, how often)."""
        merged: dict[float, int] = {}
        for value, count in values:
            merged[value] = merged.get(value, 0) + count
        found = sorted((value, count) for value, count in merged.items() if count)
        whole = sum(count for _, count in found)
        if not whole:
            return None
        mean = sum(value * count for value, count in found) / whole
        ends, seen = [], 0
        for _, count in found:
            seen += count
            ends.append(seen)
        return cls(mean, *(_at(found, ends, share * (whole - 1)) for share in (0.5, 0.9, 0.99)))


def _at(found: list[tuple[float, int]], ends: list[int], place: float) -> float:
    from bisect import bisect_right

    low = int(place)
    first = found[bisect_right(ends, low)][0]
    second = found[bisect_right(ends, min(low + 1, ends[-1] - 1))][0]
    return first + (second - first) * (place - low)


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits in seconds by name; a request is good if it meets all. itl: its longest gap counts by its mean."""

    limits: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, text: str | None) -> Slo:
        """`ttft=500ms,tpot=30ms`. raises: InputError with every error."""
        problems: list[str] = []
        found: dict[str, float] = {}
        for part in (text or "").split(","):
            if not part.strip():
                continue
            name, equal, value = (x.strip() for x in part.partition("="))
            if name not in ("ttft", "tpot", "e2e") or not equal:
                problems.append(f"--slo: unknown {part.strip()!r}; write ttft=500ms, tpot=30ms or e2e=20s")
                continue
            with collect(problems, f"--slo: {name}: "):
                found[name] = float(quantity(value, "s").value)
        if problems:
            raise InputError(*problems)
        return cls(tuple(found.items()))

    def missed(self, seq: Sequence) -> list[str]:
        """Names of the limits that a request does not meet."""
        figures = {"ttft": ttft(seq), "tpot": tpot(seq), "e2e": e2e(seq)}
        return [name for name, most in self.limits if (figures[name] or 0.0) > most]


def ttft(seq: Sequence) -> float:
    """Seconds from arrival to the first token."""
    return ((seq.first or 0) - seq.request.arrival) / TICKS


def tpot(seq: Sequence) -> float | None:
    """Seconds per output token after the first; None for one token."""
    return ((seq.last or 0) - (seq.first or 0)) / TICKS / (seq.output - 1) if seq.output > 1 else None


def e2e(seq: Sequence) -> float:
    """Seconds from arrival to the last token."""
    return ((seq.last or 0) - seq.request.arrival) / TICKS


def gaps(replicas: Many[Replica]) -> Spread | None:
    """Every gap between two tokens of one request, all requests in one pool."""

    def each() -> Iterable[tuple[float, int]]:
        for one in replicas:
            for ticks, count in one.log.gaps:
                yield ticks / TICKS, count
            for first, more, n, sequences in one.log.stretches:
                for j in range(n):
                    yield (first + j * more) / TICKS, sequences

    return Spread.weighted(each())


def mean_running(replicas: Many[Replica], ticks: int) -> tuple[float, int]:
    """Sequences that run: (mean over a run of so many ticks, most), summed over replicas."""
    whole = sum(p.running * p.ticks for one in replicas for p in one.log.passes)
    most = sum(max((p.running for p in one.log.passes), default=0) for one in replicas)
    return whole / ticks if ticks else 0.0, most


def mean_used(replicas: Many[Replica], ticks: int) -> tuple[float, int]:
    """Blocks held: (mean over a run of so many ticks, most), summed over replicas; they grow evenly in a stretch."""
    whole = sum((p.used + p.used_last) / 2 * p.ticks for one in replicas for p in one.log.passes)
    most = sum(max((p.used_last for p in one.log.passes), default=0) for one in replicas)
    return whole / ticks if ticks else 0.0, most
