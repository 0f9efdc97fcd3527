"""Capacity: the highest rate of requests that the engines sustain and that meets the limits, by bisection of runs.

Two things make a rate that was found in short runs too high, and both are excluded here. A run that ends before its
queue has grown meets every limit: so arrivals of every run that counts last `SPAN` times the p99 of its end-to-end
times, and a run is lengthened until they do. And limits that leave the queue free (TPOT alone) are met at any rate: so
the search goes no higher than the throughput of a backlog that never ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from statistics import stdev

from hwsim.errors import InputError
from hwsim.jobs.serving import figures
from hwsim.jobs.serving.checks import can_search
from hwsim.jobs.serving.figures import Spread
from hwsim.jobs.serving.fleet import Stopped
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.requests import TICKS, Sequence
from hwsim.jobs.serving.traffic import AT_ONCE, Traffic

#: Share of requests that must meet the limits at the rate that `--find-rate` finds.
ATTAINED = 0.99
#: Arrivals of a run that counts last at least so many times the p99 of its end-to-end times.
SPAN = 5
#: A run that is lengthened gets so many times the requests that it lacked: longer queues take longer.
ROOM = 1.1
#: Requests of one run above which the search asks before it goes on.
MOST_REQUESTS = 200_000
#: Requests per second at which the search for a rate gives up.
LEAST_RATE = 1e-4
#: Student's t of 95 %, two-sided, by the number of seeds.
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
#: A backlog is at least so many times as long as what runs at once, and of so many requests.
BACKLOG, LEAST_BACKLOG = 3, 1000


@dataclass(frozen=True, slots=True)
class Trial:
    """A run at one rate: its seed, its requests, whether 99 % of them meet the limits.

    e2e: the p99 of its end-to-end times in seconds; 0 where it ended early, as more than 1 % had missed the limits.
    """

    rate: float
    seed: int
    requests: int
    met: bool
    e2e: float = 0.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest rate at which 99 % of the requests meet the limits: of each seed, and the runs that were made.

    saturated: requests/s of an endless backlog, which no rate exceeds.
    """

    rates: tuple[float, ...]
    saturated: float
    runs: tuple[Trial, ...]

    @property
    def rate(self) -> float:
        """Mean over the seeds."""
        return sum(self.rates) / len(self.rates)

    @property
    def margin(self) -> float | None:
        """Half of the 95 % confidence interval of the mean, requests/s; None for one seed."""
        seeds = len(self.rates)
        return T95[min(seeds, 5)] * stdev(self.rates) / seeds**0.5 if seeds > 1 else None

    @property
    def requests(self) -> int:
        """Those of the longest run at a rate that was found."""
        return max(run.requests for run in self.runs if run.met)


def find_rate(
    traffic: Traffic, seeds: int = 3, within: float = 0.02, said: Callable[[str], None] = lambda text: None
) -> Capacity:
    """By bisection for each of `seeds` seeds. said: is told of each run before it begins.

    raises: InputError where not even a request alone meets the limits, and where a run would be too long.
    """
    can_search(traffic.load, bool(traffic.slo.limits), traffic.trace)
    runs: list[Trial] = []

    def good(rate: float, seed: int) -> bool:
        known = max((run.e2e for run in runs if run.rate <= rate), default=0.0)
        runs.append(trial(traffic, rate, seed, known, lambda text: said(f"trial {len(runs) + 1}: {text}")))
        return runs[-1].met

    most = saturated(traffic, said)
    found: list[float] = []
    for seed in range(traffic.load.seed, traffic.load.seed + seeds):
        step = 1.05 if found else 2.0
        low = min(found[-1] if found else traffic.rate or 1.0, most)
        high = most
        if good(low, seed):
            while low < most:
                high = min(step * low, most)
                if not good(high, seed):
                    break
                low = high
        else:
            high, low = low, low / step
            while not good(low, seed):
                step *= step
                high, low = low, low / step
                if low < LEAST_RATE:
                    raise InputError(
                        f"--find-rate: fewer than {ATTAINED:.0%} of the requests meet {traffic.load.slo} even where "
                        "each is alone; raise these limits in --slo"
                    )
        while high / low > 1 + within:
            middle = (low * high) ** 0.5
            low, high = (middle, high) if good(middle, seed) else (low, middle)
        found.append(low)
    return Capacity(tuple(found), most, tuple(runs))


def trial(
    traffic: Traffic, rate: float, seed: int, e2e: float = 0.0, said: Callable[[str], None] = lambda text: None
) -> Trial:
    """Whether the limits are met at a rate, in a run that is as long as `SPAN` asks; one that misses ends early.

    e2e: the p99 of end-to-end times at a lower rate, from which the length is guessed.
    raises: InputError where that takes more requests than the load has and than `MOST_REQUESTS`.
    """
    count = max(traffic.count, ceil(ROOM * SPAN * rate * e2e))
    longer = ""
    while True:
        said(f"{rate:.4g} requests/s arrive, seed {seed}, {count:,} requests{longer}")
        left = count - ceil(ATTAINED * count)

        def watch(seq: Sequence) -> None:
            nonlocal left
            left -= bool(traffic.slo.missed(seq))
            if left < 0:
                raise Stopped

        try:
            outcome = traffic.serve(traffic.drawn(count, traffic.gaps, rate, seed), seed, watch=watch)
        except Stopped:
            return Trial(rate, seed, count, False)
        whole = Spread.of(map(figures.e2e, outcome.sequences))
        needed = ceil(SPAN * rate * whole.p99) if whole else 0
        if count >= needed:
            return Trial(rate, seed, count, bool(whole), whole.p99 if whole else 0.0)
        if needed > max(MOST_REQUESTS, traffic.count):
            raise InputError(
                f"--find-rate: {count:,} requests at {rate:.4g}/s end before the queue has grown: arrivals must last "
                f"{SPAN} times the p99 of E2E, {whole.p99 if whole else 0:.4g} s; "
                f"write --requests {ceil(ROOM * needed)}, which takes long, or tighter limits in --slo"
            )
        count, longer = ceil(ROOM * needed), ": longer, as the last run ended before its queue had grown"


def saturated(traffic: Traffic, said: Callable[[str], None] = lambda text: None) -> float:
    """Requests/s of a backlog that never ends: the second half of one that is twice as long as another.

    The difference of two backlogs has neither the start of the one nor the end of the other. Replicas that share
    nothing are one of them, times their number.
    """
    replicas = None if traffic.prefills else 1
    count = max(traffic.count, LEAST_BACKLOG)

    def backlog(count: int) -> tuple[int, int]:
        """(ticks to the last token, most that ran at once)."""
        said(f"a backlog of {count:,} requests, for the ceiling: more than it serves per second cannot arrive")
        outcome = traffic.serve(traffic.drawn(count, AT_ONCE), replicas=replicas)
        ends = max(seq.last or 0 for seq in outcome.sequences)
        return ends, max(1, figures.mean_running(outcome.replicas, ends)[1])

    ends, running = backlog(count)
    while count < BACKLOG * running:  # until more wait than run; whole waves of those that run at once
        count = BACKLOG * running
        ends, running = backlog(count)
    twice, _ = backlog(2 * count)
    return count * TICKS / (twice - ends) * (1 if traffic.prefills else traffic.decodes)


def with_rate(load: Load, found: Capacity) -> Load:
    """The same load at the rate that was found, as long as the runs that found it."""
    return replace(load, rate=f"{found.rate:g}/s", requests=found.requests)
