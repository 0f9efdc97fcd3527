"""Where the system reduces to one that queueing theory solves, its waiting times are those of the theory."""

from math import sqrt
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

#: Student's t at 99.9 %, two-sided, of 7 degrees of freedom.
T = 5.41


def waits(load: float, prompts, seed: int, count: int = 5000) -> tuple[float, float, float]:
    """(mean wait, mean service, mean of service squared) in seconds, one seat; a token takes 1 ms."""
    random, now, case = Random(seed), 0.0, []
    average = mean(prompts(Random(i)) for i in range(4000))
    for i in range(count):
        case.append(Request(i, ticks(now), prompts(random), 1))
        now += random.expovariate(load / (1e-3 * average))
    steps = Formula(base=0.0, token=1e-3, read=0.0)
    found = Fleet(lambda: Vllm(Limits(1 << 20, 1), Pool(1 << 20, caching=False)), steps, RoundRobin).run(case).sequences
    served = [s.last - s.scheduled for s in found]
    assert served == [ticks(1e-3 * s.prompt) for s in found]
    wait = mean((s.scheduled - s.request.arrival) / TICKS for s in found)
    return wait, mean(served) / TICKS, mean(x * x for x in served) / TICKS**2


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("name", ["deterministic", "two lengths", "geometric"])
def test_one_seat_is_a_queue_of_pollaczek_and_khinchine(load, name):
    prompts = {
        "deterministic": lambda random: 10,
        "two lengths": lambda random: 2 if random.random() < 0.9 else 50,
        "geometric": lambda random: 1 + int(random.expovariate(0.1)),
    }[name]
    lengths = [prompts(Random(1000 + i)) for i in range(50_000)]
    first, second = 1e-3 * mean(lengths), 1e-6 * mean(x * x for x in lengths)
    theory = load / first * second / (2 * (1 - load))  # lambda E[S^2] / (2 (1 - rho))
    found = [waits(load, prompts, seed)[0] for seed in range(8)]
    spread = stdev(found) / sqrt(len(found))
    assert abs(mean(found) - theory) < T * spread + 0.02 * theory  # the second: theory's own sample


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
