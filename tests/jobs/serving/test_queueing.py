"""Where the system reduces to one that queueing theory solves, its waiting times are those of the theory."""

from math import exp, sqrt
from random import Random
from statistics import mean, stdev

import pytest

from hwsim.jobs.serving.fleet import Fleet
from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.requests import TICKS, Request, ticks
from hwsim.jobs.serving.router import RoundRobin
from hwsim.jobs.serving.scheduler import Limits
from hwsim.jobs.serving.vllm import Vllm
from tests.jobs.serving.steps import Formula

#: Student's t at 95 %, two-sided, of 7 degrees of freedom.
T = 2.365


#: Lengths of prompts, drawn; and their mean and mean square, known.
P = 1 - exp(-0.1)
PROMPTS = {
    "deterministic": (lambda random: 10, 10.0, 100.0),
    "two lengths": (lambda random: 2 if random.random() < 0.9 else 50, 0.9 * 2 + 0.1 * 50, 0.9 * 4 + 0.1 * 2500),
    "geometric": (lambda random: 1 + int(random.expovariate(0.1)), 1 / P, (2 - P) / P**2),
}


def one_seat(load: float, name: str, seed: int, count: int = 5000):
    """Sequences that one seat served, Poisson arrivals; a token takes 1 ms."""
    prompts, average, _ = PROMPTS[name]
    random, now, case = Random(seed), 0.0, []
    for i in range(count):
        case.append(Request(i, ticks(now), prompts(random), 1))
        now += random.expovariate(load / (1e-3 * average))
    steps = Formula(base=0.0, token=1e-3, read=0.0)
    return Fleet(lambda: Vllm(Limits(1 << 20, 1), Pool(1 << 20, caching=False)), steps, RoundRobin).run(case).sequences


@pytest.mark.parametrize("load", [0.3, 0.9])
@pytest.mark.parametrize("name", PROMPTS)
def test_each_wait_is_that_of_lindley_s_recursion_to_the_tick(load, name):
    wait, before = 0, None
    for seq in one_seat(load, name, 1, 1000):
        arrival = seq.request.arrival
        if before is not None:
            wait = max(0, wait + ticks(1e-3 * before.prompt) - (arrival - before.request.arrival))
        assert (seq.scheduled, seq.last) == (arrival + wait, arrival + wait + ticks(1e-3 * seq.prompt))
        before = seq


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("name", PROMPTS)
def test_one_seat_is_a_queue_of_pollaczek_and_khinchine(load, name):
    """M/D/1, and M/G/1 of two kinds: within the confidence of eight runs, and of nothing beside it."""
    _, first, second = PROMPTS[name]
    theory = load / first * 1e-3 * second / (2 * (1 - load))  # lambda E[S^2] / (2 (1 - rho)), of tokens of 1 ms
    found = [mean((s.scheduled - s.request.arrival) / TICKS for s in one_seat(load, name, i)) for i in range(8)]
    bound = T * stdev(found) / sqrt(len(found))
    assert abs(mean(found) - theory) < bound < 0.25 * theory


def test_littles_law_holds_to_the_tick():
    random, now, case = Random(1), 0.0, []
    for i in range(2000):
        case.append(Request(i, ticks(now), random.randint(1, 300), random.randint(1, 100)))
        now += random.expovariate(40)
    found = Fleet(lambda: Vllm(Limits(512, 16), Pool(400)), Formula(), RoundRobin).run(case)
    inside = before = area = 0
    ends = sorted([(s.request.arrival, 1) for s in found.sequences] + [(s.last, -1) for s in found.sequences])
    for at, change in ends:
        area += inside * (at - before)
        inside, before = inside + change, at
    assert inside == 0
    assert area == sum(s.last - s.request.arrival for s in found.sequences)
    log = found.replicas[0].log.passes
    running = sum(p.running * p.ticks for p in log)
    kept = sum(s.last - s.scheduled for s in found.sequences)
    assert sum(s.preemptions for s in found.sequences) == 0 and running == kept  # of the engine's own log


def test_in_one_seat_a_lower_rate_never_shortens_what_is_good():
    """With one seat, first come first served: each request's wait only falls when all gaps grow."""
    random = Random(2)
    gaps = [random.expovariate(1.0) for _ in range(400)]
    lengths = [random.randint(1, 20) for _ in gaps]
    before = None
    for rate in (150, 100, 60, 30):
        now, case = 0.0, []
        for i, (gap, n) in enumerate(zip(gaps, lengths, strict=True)):
            case.append(Request(i, ticks(now), n, 1))
            now += gap / rate
        steps = Formula(base=0.0, token=1e-3, read=0.0)
        fleet = Fleet(lambda: Vllm(Limits(1 << 20, 1), Pool(1 << 20)), steps, RoundRobin)  # noqa: B023
        found = [s.last - s.request.arrival for s in fleet.run(case).sequences]
        assert before is None or all(x <= y for x, y in zip(found, before, strict=True))
        before = found
