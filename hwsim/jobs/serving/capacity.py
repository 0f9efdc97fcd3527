"""Capacity: the highest rate of requests that meets the limits, by bisection of whole runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.errors import InputError
from hwsim.jobs.serving.load import Load, Traffic

#: Share of requests that must meet the limits at the rate that `--find-rate` finds.
ATTAINED = 0.99
#: Requests per second at which the search for a rate gives up.
LEAST_RATE, MOST_RATE = 1e-4, 1e6


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest rate at which 99 % of the requests meet the limits: of each seed, and the runs that were made."""

    rates: tuple[float, ...]
    runs: tuple[tuple[float, float], ...]

    @property
    def rate(self) -> float:
        """Mean over the seeds."""
        return sum(self.rates) / len(self.rates)


def find_rate(traffic: Traffic, seeds: int = 3, within: float = 0.02) -> Capacity:
    """By bisection for each of `seeds` seeds. raises: InputError where not even a request alone meets the limits."""
    if not traffic.slo.limits or traffic.load.trace or traffic.load.users:
        raise InputError(
            "--find-rate: needs limits and drawn arrivals; write --slo, and --rate as the rate to begin at"
        )
    runs: list[tuple[float, float]] = []

    def good(rate: float, seed: int) -> bool:
        share = traffic.run(rate, seed, check=False).served.attained
        runs.append((rate, share))
        return share >= ATTAINED

    found: list[float] = []
    for seed in range(traffic.load.seed, traffic.load.seed + seeds):
        low = found[-1] if found else traffic.rate or 1.0
        while not good(low, seed):
            low /= 2
            if low < LEAST_RATE:
                raise InputError(
                    f"--find-rate: fewer than {ATTAINED:.0%} of the requests meet {traffic.load.slo} even where each "
                    "is alone; raise these limits in --slo"
                )
        high = 2 * low
        while good(high, seed):
            low, high = high, 2 * high
            if high > MOST_RATE:
                raise InputError(
                    f"--find-rate: {ATTAINED:.0%} of the requests meet {traffic.load.slo} even where all come at once; "
                    "lower these limits in --slo, or ask for more --requests"
                )
        while high / low > 1 + within:
            middle = (low * high) ** 0.5
            low, high = (middle, high) if good(middle, seed) else (low, middle)
        found.append(low)
    return Capacity(tuple(found), tuple(runs))


def with_rate(load: Load, rate: float) -> Load:
    """The same load at another rate."""
    return replace(load, rate=f"{rate:g}/s")
