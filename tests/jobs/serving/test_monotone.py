"""More of the hardware never makes fewer requests good, on random systems with paired seeds; and where it does.

Beyond noise: the mean of the paired differences is more than two standard errors below 0. What holds in every system:

- more chips per engine, more engines and more bandwidth;
- more memory, as far as the time to first token goes.

What breaks it, as in the real schedulers: with more room for the KV cache more prompts are admitted at a time. Their
chunks share passes with the tokens of others, so the time per output token grows, and a limit on it may be missed that
a smaller memory kept by letting requests wait.
"""

from dataclasses import dataclass, replace
from math import sqrt
from random import Random

import pytest

from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving.figures import Slo
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.traffic import Traffic
from hwsim.workload import load_model

#: Machine -> twice its bandwidth.
MACHINES = {"a100-sxm": "4.08 TB/s", "h100-sxm": "6.7 TB/s", "h200-sxm": "9.6 TB/s", "b200": "16 TB/s"}
SEEDS = range(1, 5)


@dataclass
class System:
    machine: str
    load: Load
    model: object
    steady = Steady("", 1, 1, stack="none")

    @classmethod
    def drawn(cls, number):
        r = Random(number)
        machine, layers = r.choice([*MACHINES]), r.choice([2, 4, 8])
        model = load_model(r.choice(["llama3-8b", "qwen3-8b"]), [("layers", layers * "X")])
        load = Load(
            rate=f"{r.choice([5, 20, 60, 120])}/s",
            requests=60,
            lengths=f"lognormal({r.choice([200, 800, 2000])},0.7)/lognormal({r.choice([40, 120])},0.6)",
            scheduler=r.choice(["vllm", "trtllm", "trtllm-max-util", "sglang"]),
            budget=r.choice([512, 2048, 8192]),
            max_seqs=r.choice([8, 64, 256]),
            kv_tokens=r.choice([4000, 12000, 40000]),
            slo=f"ttft={r.choice([50, 200, 1000])}ms,tpot={r.choice([2, 4, 10])}ms",
        )
        if load.scheduler.startswith("trtllm"):  # which refuses prompts over its budget
            load = replace(load, budget=8192)
        return cls(machine, load, model)

    def traffic(self, like=None, chips=1, overrides=(), **changes):
        steady, load = replace(self.steady, chips=chips), replace(self.load, **changes)
        found = Traffic(self.machine, steady, load, overrides, model=self.model)
        found.steps = like.steps if like else found.steps
        return found


def good(traffic, limit=None):
    """Good requests of each seed; limit: only this one counts."""
    slo = Slo(tuple(each for each in traffic.slo.limits if limit in (None, each[0])))
    return [sum(not slo.missed(s) for s in traffic.run(seed=seed, check=False).outcome.sequences) for seed in SEEDS]


def lower(few, more):
    """Whether there are fewer beyond noise."""
    gains = [b - a for a, b in zip(few, more, strict=True)]
    mean = sum(gains) / len(gains)
    error = sqrt(sum((x - mean) ** 2 for x in gains) / (len(gains) - 1) / len(gains))
    return mean < -2 * error


def check(number):
    """The mean loss by more memory of one system."""
    system = System.drawn(number)
    base = system.traffic()
    first = good(base)
    assert not lower(first, good(system.traffic(base, replicas=2))), "engines"
    assert not lower(first, good(system.traffic(chips=2))), "chips"
    twice = [("dram.bandwidth", MACHINES[system.machine])]
    assert not lower(first, good(system.traffic(overrides=twice))), "bandwidth"
    roomy = system.traffic(base, kv_tokens=2 * system.load.kv_tokens)
    if lower(first, good(roomy)):
        assert not lower(good(base, "ttft"), good(roomy, "ttft")), "memory, time to first token"
        assert lower(good(base, "tpot"), good(roomy, "tpot")), "memory, time per output token"


@pytest.mark.parametrize("number", range(4))
def test_more_hardware_makes_no_request_late(number):
    check(number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4, 200))
def test_more_hardware_makes_no_request_late_in_many_systems(number):
    check(number)


def test_more_memory_can_cost_tokens_time():
    """The case that the docs state: a first token comes sooner, the tokens after it later."""
    load = Load(
        "20/s", requests=60, lengths="lognormal(2000,0.7)/lognormal(40,0.6)", budget=512, max_seqs=8, kv_tokens=4000,
        slo="ttft=1000ms,tpot=2ms",
    )  # fmt: skip
    system = System("a100-sxm", load, load_model("qwen3-8b", [("layers", "XXXX")]))
    few = system.traffic()
    roomy = system.traffic(few, kv_tokens=8000)
    assert lower(good(few), good(roomy)) and lower(good(few, "tpot"), good(roomy, "tpot"))
    assert not lower(good(few, "ttft"), good(roomy, "ttft"))
    small, large = (t.run(check=False).served for t in (few, roomy))
    assert large.ttft.mean < small.ttft.mean and large.tpot.mean > small.tpot.mean
    assert large.running[0] > small.running[0]
