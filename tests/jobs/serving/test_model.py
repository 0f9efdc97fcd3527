"""Loads on machines: the steady state, same bytes, parts against whole steps, and what more hardware never worsens."""

import json
from dataclasses import replace

import pytest

from hwsim.errors import InputError
from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serve import serve
from hwsim.jobs.serving import capacity
from hwsim.jobs.serving.capacity import find_rate, with_rate
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.timeline import occupancy, perfetto
from hwsim.jobs.serving.traffic import Traffic
from hwsim.report.serving import served_text
from hwsim.report.traffic import capacity_text, requests_text, traffic_text


@pytest.mark.parametrize(
    "machine, model, isl, osl, batch",
    [("h100-sxm", "llama3-8b", 1024, 256, 32), ("b200", "gpt-oss-20b", 1024, 128, 16)],
)
def test_static_batches_of_constant_users_are_the_steady_state(machine, model, isl, osl, batch):
    request = Steady(model, isl, osl)
    steady = serve(machine, request, batch)
    load = Load(users=batch, requests=3 * batch, scheduler="static", max_seqs=batch, lengths=f"{isl}/{osl}")
    found = Traffic(machine, request, load).run().served
    gain = found.tokens_per_second / steady.tokens_per_second_per_chip - 1
    assert abs(gain) < 0.02
    assert f"{100 * gain:+.1f} % tokens/s against the steady state of {batch} sequences" in found.notes


@pytest.mark.parametrize("scheduler", ["static", "vllm"])
def test_passes_with_drafts_meet_the_steady_state(scheduler):
    request = Steady("deepseek-v3", 512, 512, weights="fp8_block", chips=8, drafts=2, acceptance=(0.8, 0.6))
    steady = serve("b200", request, 16)
    load = Load(users=16, requests=64, scheduler=scheduler, max_seqs=16, lengths="512/512")
    found = Traffic("b200", request, load).run().served
    assert abs(found.tokens_per_second_per_chip / steady.tokens_per_second_per_chip - 1) < 0.02
    assert found.itl.mean == pytest.approx(found.tpot.mean, rel=1e-9)  # all answers are as long


def test_mixed_passes_meet_the_steady_state_of_long_answers():
    request = Steady("llama3-8b", 256, 1024)
    steady = serve("h100-sxm", request, 8)
    load = Load(users=8, requests=32, max_seqs=8, lengths="256/1024")
    found = Traffic("h100-sxm", request, load).run().served
    assert abs(found.tokens_per_second / steady.tokens_per_second_per_chip - 1) < 0.02


@pytest.mark.parametrize("model", ["llama3-8b", "gpt-oss-20b", "nemotron3-nano-30b-a3b", "deepseek-v2-lite"])
def test_parts_between_knots_are_near_whole_simulated_passes(model):
    load = Load(rate="6/s", requests=60, lengths="200..3000/20..200", budget=2048)
    assert Traffic("h100-sxm", Steady(model, 1, 1), load).run().served.step_error < 0.03


def test_same_seed_same_bytes_and_another_seed_others():
    def text(seed):
        load = Load(rate="20/s", requests=80, lengths="100..900/20..90", slo="ttft=100ms", seed=seed)
        run = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load).run()
        return traffic_text(run.served), requests_text(run, True), occupancy(run), json.dumps(perfetto(run))

    first = text(1)
    assert first == text(1)
    assert all(a != b for a, b in zip(first, text(2), strict=True))


def test_a_row_per_request_and_every_slice_inside_the_run():
    run = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), Load(rate="20/s", requests=50, lengths="300/40")).run()
    rows = requests_text(run, False).splitlines()
    assert len(rows) == 51
    trace = perfetto(run)
    assert not trace["truncated"] and perfetto(run, cap=5)["truncated"]
    end = 1e6 * max(s.last for s in run.outcome.sequences) / 1e15
    assert all(0 <= e["ts"] and e["ts"] + e["dur"] <= end + 1 for e in trace["traceEvents"] if e["ph"] == "X")


@pytest.fixture(scope="module")
def steps():
    """Step times of one deployment, which its loads share."""
    return {}


def served_by(steps, load):
    traffic = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load)
    traffic.steps = steps.setdefault((load.scheduler, load.max_seqs), traffic.steps)
    return traffic


def test_the_rate_that_is_found_meets_the_limits_and_twice_of_it_does_not(steps):
    load = Load(rate="8/s", requests=120, lengths="512/32", slo="ttft=300ms,tpot=20ms")
    found = find_rate(served_by(steps, load), seeds=2, within=0.05)
    long = served_by(steps, with_rate(load, found))
    assert long.run(min(found.rates), 1, check=False).served.attained >= 0.99
    assert long.run(2 * max(found.rates), 1, check=False).served.attained < 0.99


LOADS = [
    ("512/32", "ttft=300ms,tpot=20ms", "vllm", 64),
    ("512/32", "tpot=500ms", "vllm", 16),  # the queue is free: any rate would meet it
    ("200..800/16..64", "ttft=60s", "trtllm", 16),  # a short run ends before a request waits so long
    ("512/32", "e2e=2s", "sglang", 16),
    ("256/8", "ttft=20s", "static", 8),
]


@pytest.mark.parametrize("lengths, slo, scheduler, seats", LOADS)
@pytest.mark.parametrize("requests", [40, 400])
def test_no_capacity_exceeds_what_users_who_never_pause_get_served(steps, lengths, slo, scheduler, seats, requests):
    """The throughput of 4 users per seat, each with a next request when one ends, counted between its quarters."""
    load = Load(rate="8/s", requests=requests, lengths=lengths, slo=slo, scheduler=scheduler, max_seqs=seats)
    found = find_rate(served_by(steps, load), seeds=2)
    users = replace(load, rate=None, users=4 * seats, requests=max(800, 40 * seats))
    rows = requests_text(served_by(steps, users).run(check=False), True).splitlines()
    ends = sorted(json.loads(row)["last_token_s"] for row in rows)
    first, last = len(ends) // 4, 3 * len(ends) // 4
    assert found.rate <= 1.03 * (last - first) / (ends[last] - ends[first])
    assert found.rate <= found.saturated
    whole = served_by(steps, with_rate(load, found)).run(found.rate, check=False).served
    assert whole.requests / whole.seconds > 0.8 * found.rate  # arrivals last long enough for the run to be at that rate


def test_a_run_that_would_be_too_long_is_refused_with_the_requests_to_write(steps, monkeypatch):
    monkeypatch.setattr(capacity, "MOST_REQUESTS", 100)
    load = Load(rate="40/s", requests=30, lengths="512/32", slo="ttft=2s", max_seqs=64)
    with pytest.raises(InputError, match=r"requests at .*/s end before the queue has grown.* --requests \d{3}, which"):
        find_rate(served_by(steps, load))


def test_each_run_of_a_search_for_a_rate_is_said_before_it_begins(steps):
    said = []
    load = Load(rate="8/s", requests=60, lengths="512/32", slo="ttft=300ms,tpot=20ms")
    found = find_rate(served_by(steps, load), seeds=1, within=0.2, said=said.append)
    trials = [text for text in said if text.startswith("trial ")]
    numbers = [int(text.split()[1].rstrip(":")) for text in trials]
    assert sorted(set(numbers)) == list(range(1, len(found.runs) + 1)) and numbers == sorted(numbers)
    for trial, text in zip(found.runs, dict(zip(numbers, trials, strict=True)).values(), strict=True):
        assert f"{trial.rate:.4g} requests/s arrive, seed 1, {trial.requests:,} requests" in text
    assert said[0].startswith("a backlog of 1,000 requests, for the ceiling")


def test_the_confidence_of_a_capacity_is_student_s():
    found = capacity.Capacity((50.0, 52.0, 57.0), 90.0, ())
    deviation = ((3**2 + 1 + 4**2) / 2) ** 0.5  # from the mean, 53
    assert found.margin == pytest.approx(4.303 * deviation / 3**0.5)
    assert capacity.Capacity((50.0,), 90.0, ()).margin is None


def test_capacity_and_goodput_are_told_apart(steps):
    """Requests that arrive, against good ones over the whole run; each number is that of the test's own arithmetic."""
    load = Load(rate="8/s", requests=60, lengths="512/32", slo="ttft=300ms,tpot=20ms")
    found = find_rate(served_by(steps, load), seeds=2, within=0.2)
    run = served_by(steps, with_rate(load, found)).run(found.rate, check=False)
    served = replace(run.served, capacity=found, step_error=0.0, provenance={"ideal": 1.0})
    rows = [json.loads(row) for row in requests_text(run, True).splitlines()]
    good = sum(row["ttft_s"] <= 0.3 + 1e-9 and (row["tpot_s"] is None or row["tpot_s"] <= 0.02 + 1e-9) for row in rows)
    seconds = max(row["last_token_s"] for row in rows) - min(row["arrival_s"] for row in rows)
    text = traffic_text(served)
    assert text.startswith(f"serve, at the capacity that --find-rate found, {found.rate:g}/s")
    (line,) = [line for line in text.splitlines() if line.startswith("  goodput")]
    assert float(line.split()[1]) == pytest.approx(good / seconds, rel=1e-3)
    assert f"{good:,} of {len(rows):,} (" in line
    said = capacity_text(found, load.slo)
    assert f"{sum(found.rates) / 2:.4g} requests/s can arrive, and 99 % of them meet ttft=300ms" in said
    assert f"{len(found.runs)}, each of one rate" in said and f"ceiling     {found.saturated:.4g} requests/s" in said


@pytest.mark.parametrize(
    ("stack", "scheduler", "said"),
    [
        (None, "vllm", "--scheduler trtllm --stack trtllm"),
        ("trtllm", "vllm", "--scheduler trtllm for TensorRT-LLM throughout"),
        ("trtllm", "trtllm", ""),
        (None, "trtllm-max-util", ""),
        (None, "static", ""),
        ("sglang", "trtllm", "--scheduler sglang for SGLang throughout"),
    ],
)
def test_software_that_differs_is_said_before_the_figures(stack, scheduler, said):
    request = Steady("llama3-8b", 64, 4, stack=stack)
    served = Traffic("h200-sxm-trtllm", request, Load(rate="8/s", requests=3, scheduler=scheduler)).run().served
    lines = traffic_text(served).splitlines()
    assert said in served.software
    assert bool(served.software) == bool(said) == any(line.startswith("  software") for line in lines[:4])
    assert served.to_dict()["software"] == served.software


@pytest.mark.parametrize("machine, mark", [("h200-sxm", "ideal"), ("h100-sxm", "measured"), ("rtx4090", "transferred")])
def test_under_load_kernels_and_stack_are_said_as_in_the_steady_state(machine, mark):
    """An ideal machine is declared, and shares are near those of the steady state of as many sequences."""
    request = Steady("llama3-8b", 512, 64)
    steady = serve(machine, request, 8)
    served = Traffic(machine, request, Load(users=8, requests=24, max_seqs=8)).run().served
    assert served.stack == steady.stack and sum(served.provenance.values()) == pytest.approx(1)
    assert max(served.provenance, key=served.provenance.get) == mark
    assert served.provenance == pytest.approx(steady.provenance, abs=0.03)
    shown, before = traffic_text(served).splitlines(), served_text(steady).splitlines()
    stack = next(line for line in before if line.startswith("  stack "))
    assert stack in shown and any(line.startswith("  kernels ") and mark in line for line in shown)
