"""Loads on machines: the steady state, same bytes, parts against whole steps, and what more hardware never worsens."""

import json

import pytest

from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serve import serve
from hwsim.jobs.serving.capacity import find_rate
from hwsim.jobs.serving.load import Load, Traffic
from hwsim.jobs.serving.timeline import occupancy, perfetto
from hwsim.report.traffic import requests_text, traffic_text


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


def test_the_rate_that_is_found_meets_the_limits_and_twice_of_it_does_not():
    load = Load(rate="8/s", requests=120, lengths="512/32", slo="ttft=300ms,tpot=20ms")
    traffic = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load)
    found = find_rate(traffic, seeds=2, within=0.05)
    assert traffic.run(min(found.rates), 1, check=False).served.attained >= 0.99
    assert traffic.run(2 * max(found.rates), 1, check=False).served.attained < 0.99
