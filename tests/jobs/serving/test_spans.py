"""What requests do over time, and what they cost: against arithmetic of its own and the steady state."""

import csv
import io
from collections import Counter

import pytest

from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serve import serve
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.requests import TICKS
from hwsim.jobs.serving.spans import KINDS, before_first, in_queue, occupied, spans
from hwsim.jobs.serving.timeline import occupancy
from hwsim.jobs.serving.traffic import Traffic


def run(**changes):
    load = Load(**({"rate": "30/s", "requests": 120, "lengths": "100..900/20..90"} | changes))
    return Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load).run()


CASES = {
    "free": {},
    "short of blocks": {"kv_tokens": 4000},
    "short of blocks, plain trtllm": {"kv_tokens": 4000, "scheduler": "trtllm-max-util"},
    "short of blocks, sglang": {"kv_tokens": 4000, "scheduler": "sglang"},
    "apart": {"disaggregate": "1:2", "kv_tokens": 4000},
    "users": {"rate": None, "users": 7},
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def found(request):
    return run(**request.param)


def test_the_spans_of_a_request_follow_each_other_from_its_arrival_to_its_last_token(found):
    for seq in found.outcome.sequences:
        some = spans(seq)
        assert (some[0].start, some[-1].end) == (seq.request.arrival, seq.last)
        assert all(a.end == b.start for a, b in zip(some, some[1:], strict=False))
        kinds = Counter(one.kind for one in some)
        assert (kinds["preempted"] > 0) == (seq.preemptions > 0) and set(kinds) <= {*KINDS}


def test_numbers_over_time_are_those_of_littles_law(found):
    """Mean number = sum of times / time of the run; parts sum to the whole, and to the mean time to first token."""
    sequences, served = found.outcome.sequences, found.served
    ticks = max(s.last for s in sequences) - min(s.request.arrival for s in sequences)
    mean = {kind: x for kind, (x, _) in served.doing.items()}
    assert sum(mean.values()) == pytest.approx(sum(s.last - s.request.arrival for s in sequences) / ticks, rel=1e-12)
    assert sum(served.first_token.values()) == pytest.approx(served.ttft.mean, rel=1e-9)
    assert served.waiting[0] == pytest.approx(mean["waiting"] + mean["preempted"])
    assert served.running[0] == pytest.approx(mean["prefill"] + mean["decode"], rel=1e-9)


def test_the_most_at_a_time_by_looking_at_every_moment(found):
    every = [one for seq in found.outcome.sequences for one in spans(seq)]
    moments = {one.start for one in every}
    for kind, (_, most) in occupied(found.outcome.sequences, 1).items():
        mine = [one for one in every if one.kind == kind]
        assert most == max((sum(o.start <= t < o.end for o in mine) for t in moments), default=0)
    queued = [one for one in every if one.kind in ("waiting", "preempted")]
    assert in_queue(found.outcome.sequences) == max(sum(o.start <= t < o.end for o in queued) for t in moments)


def test_the_timeline_counts_what_the_spans_say(found):
    """At the start of each pass, of all replicas: what waits, is preempted and runs."""
    every = [one for seq in found.outcome.sequences for one in spans(seq)]
    rows = [row for row in csv.DictReader(io.StringIO(occupancy(found)))]
    passes = [p for one in found.outcome.replicas for p in one.log.passes]
    assert len(rows) == len(passes)
    if len(found.outcome.replicas) > 1:
        return
    for row, p in zip(rows, passes, strict=True):
        now = Counter(one.kind for one in every if one.start <= p.start < one.end)
        assert int(row["preempted"]) == now["preempted"]
        assert int(row["running"]) == now["prefill"] + now["decode"]
        assert int(row["waiting"]) == now["waiting"]


def test_blocks_over_time_are_those_of_composing_every_pass():
    """Passes that are summed say what blocks were held; the plain loop looks at every pass."""
    traffic = Traffic(
        "h100-sxm", Steady("llama3-8b", 1, 1), Load("9/s", requests=60, lengths="300/200", kv_tokens=9000)
    )
    fast, plain = traffic.run(stretch=True).served, traffic.run(stretch=False).served
    assert fast.kv[1] == plain.kv[1]
    assert fast.kv[0] == pytest.approx(plain.kv[0], rel=0.002)
    assert fast.doing == plain.doing and fast.running == pytest.approx(plain.running)
    assert fast.energy_joules_per_token == plain.energy_joules_per_token


def test_before_first_of_nobody_is_nothing():
    assert before_first([]) == {} and occupied([], 0) == dict.fromkeys(KINDS, (0.0, 0)) and in_queue([]) == 0


@pytest.mark.parametrize("model, chips", [("llama3-8b", 1), ("llama3-8b", 2), ("gpt-oss-20b", 1)])
def test_energy_of_static_batches_is_that_of_the_steady_state(model, chips):
    """Constant users of equal requests do what the steady state says; a term without a source has none here either."""
    request = Steady(model, 1024, 96, chips=chips)
    steady = serve("a100-sxm", request, 32)
    load = Load(users=32, requests=96, scheduler="static", max_seqs=32, lengths="1024/96")
    under = Traffic("a100-sxm", request, load).run().served
    known = {term.name: term.value for term in steady.energy}
    assert {term.name for term in under.energy} == set(known)
    for term in under.energy:
        assert term.value is None if known[term.name] is None else abs(term.value / known[term.name] - 1) < 0.02
    assert known["dram"] is not None and under.energy_joules_per_token is None


def test_static_power_counts_over_the_whole_run_and_every_chip():
    request = Steady("llama3-8b", 1, 1, chips=2)
    load = Load(rate="1/s", requests=5, lengths="64/8", replicas=3)
    traffic = Traffic("a100-sxm", request, load, [("idle", "80 W")])
    found = traffic.run().served
    static = next(term.value for term in found.energy if term.name == "static")
    assert static * found.output_tokens == pytest.approx(80 * 6 * found.seconds)
    assert found.energy_joules_per_token == pytest.approx(sum(term.value for term in found.energy))


def test_the_formats_are_those_of_a_run():
    served = Traffic(
        "h100-sxm", Steady("llama3-8b", 1, 1, "fp8", kv="fp8"), Load("1/s", requests=2, lengths="9/9")
    ).run()
    formats = served.served.formats
    assert formats == {"weights": "fp8_e4m3", "activations": "fp8_e4m3", "kv": "fp8_e4m3", "state": "fp32"}
    assert TICKS == 10**15
