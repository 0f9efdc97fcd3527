"""Traces, rates, lengths and limits: what is read, and what is refused with a message."""

from dataclasses import replace

import pytest

from hwsim.errors import InputError
from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving.arrivals import Gaps, Lengths, read_rate
from hwsim.jobs.serving.capacity import find_rate
from hwsim.jobs.serving.figures import Slo, Spread
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.requests import TICKS
from hwsim.jobs.serving.traces import read_trace
from hwsim.jobs.serving.traffic import Traffic

PLAIN = "arrival_s,input_tokens,output_tokens\n"
TEXTS = {
    "plain": PLAIN + "3.5,10,20\n4,30,40\n",
    "Azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5000000,10,20\n2023-11-16 18:15:47,30,40\n",
    "BurstGPT": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,10,20,30,API log\n5.2,ChatGPT,9,0,9,API log\n5.5,GPT-4,30,40,70,API log\n",
    "Mooncake": '{"timestamp": 500, "input_length": 10, "output_length": 20, "hash_ids": [1]}\n'
    '{"timestamp": 1000, "input_length": 30, "output_length": 40, "hash_ids": [1, 2]}\n',
}


@pytest.mark.parametrize("kind", TEXTS)
def test_every_kind_of_trace_is_read(kind, tmp_path):
    path = tmp_path / "trace"
    path.write_text(TEXTS[kind])
    trace = read_trace(path)
    assert trace.kind == kind
    found = trace.requests(16)
    assert [(r.arrival, r.input_tokens, r.output_tokens) for r in found] == [(0, 10, 20), (TICKS // 2, 30, 40)]
    assert bool(trace.notes) == (kind == "BurstGPT")


def test_keys_of_512_tokens_become_keys_of_blocks(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_text('{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [7, 8]}\n')
    keys = read_trace(path).requests(16)[0].prefix
    assert len(keys) == 600 // 16 and len(set(keys)) == len(keys)
    assert keys[31][0] == "7" and keys[32][0] == "8"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        (PLAIN, "has no request"),
        (PLAIN + "-1,10,10\n", "2: arrival_s: '-1' is not a time"),
        (PLAIN + "nan,10,10\n", "'nan' is not a time"),
        (PLAIN + "2,10,10\n1,10,10\n", "3: arrives before the request above it; sort"),
        (PLAIN + "1,0,10\n", "input_tokens: '0' is not a whole number of tokens"),
        (PLAIN + "1,1.5,10\n", "'1.5' is not a whole number"),
        (PLAIN + "1,10,-3\n", "output_tokens: '-3'"),
        (PLAIN + "1,10\n", "has 2 cells for 3 columns"),
        ("arrival_s,input_token,output_tokens\n1,2,3\n", "no column 'input_tokens'.*did you mean input_token"),
        ("{}\n", "is no request"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,1,1\n", "'noon' is not a time"),
    ],
)
def test_bad_traces_are_refused_with_their_line(text, message, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_trace(path)


def test_every_error_of_a_command_is_reported(tmp_path):
    load = Load(
        rate="8", users=0, requests=0, lengths="5", arrivals="often", scheduler="vlm", router="random", slo="tp=3",
        disaggregate="2:0", replicas=0, budget=0, max_seqs=0,
    )  # fmt: skip
    with pytest.raises(InputError) as found:
        Traffic("h100-sxm", Steady("llama3-9b", 1, 1), load)
    said = "\n".join(found.value.problems)
    for word in (
        "one of --rate", "'8' is not a rate", "'5' is no file and no pair", "unknown 'often'", "did you mean vllm",
        "--router", "unknown 'tp=3'", "'2:0' is not P:D", "--requests: 0", "--concurrency: 0", "--replicas: 0",
        "--budget: 0", "--max-seqs: 0", "llama3-9b",
    ):  # fmt: skip
        assert word in said


@pytest.mark.parametrize("text", ["0/s", "-1/s", "8", "x/s", "8/day", "nan/s", "inf/s"])
def test_rates(text):
    with pytest.raises(InputError, match="--rate"):
        read_rate(text)


def test_rates_lengths_and_limits_that_are_read():
    assert read_rate("30/min") == 0.5 and read_rate("8/s") == 8
    assert Gaps.of("gamma(0.5)").burstiness == 0.5
    drawn = Lengths.of("512..2048/lognormal(256,0.5)").requests(2000, Gaps.of("poisson"), 8.0, 1, 16)
    assert all(512 <= r.input_tokens <= 2048 for r in drawn)
    assert abs(sum(r.output_tokens for r in drawn) / 2000 - 256) < 4 * 0.5 * 256 / 2000**0.5
    assert abs(drawn[-1].arrival / TICKS - 250) < 4 * 250 / 2000**0.5
    assert Slo.of("ttft=500ms,tpot=30ms").limits == (("ttft", 0.5), ("tpot", 0.03))
    for bad in ("ttft=500", "speed=3ms", "ttft"):
        with pytest.raises(InputError, match="--slo"):
            Slo.of(bad)


def test_percentiles_lie_on_a_line_between_neighbours():
    found = Spread.of([4.0, 1.0, 3.0, 2.0])
    assert (found.mean, found.p50, found.p90, found.p99) == pytest.approx((2.5, 2.5, 3.7, 3.97))
    assert Spread.weighted([(1.0, 2), (3.0, 1), (2.0, 1)]) == Spread.of([1.0, 1.0, 2.0, 3.0])
    assert Spread.of([]) is None
    one = Spread.of([7.0])
    assert (one.mean, one.p50, one.p99) == (7, 7, 7)


def test_requests_that_can_never_run_are_refused_each_with_its_reason(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(PLAIN + "0,100,10\n1,9000,10\n2,1500,600\n3,100,1\n")
    load = Load(trace=str(path), kv_tokens=2000)
    found = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load).run().served
    assert found.requests == 2 and len(found.refused) == 2
    (model, _), (pool, _) = found.refused, found.refused
    assert "8,192 that llama3-8b takes" in found.refused[0][1]
    assert "2,000 that the KV pool holds" in found.refused[1][1]
    assert model[0] == 1 and pool[0] == 1


@pytest.mark.parametrize(
    "steady, load, words",
    [
        ((8192, 16384), {}, ["24,576 tokens are more than the 8,192", "8,192 in and 16,384 out", "--lengths 1024/256"]),
        ((1, 1), {"lengths": "9000/8"}, ["--lengths 9000/8 asks", "at most 8,192 tokens"]),
        ((1, 1), {"lengths": "512/8", "kv_tokens": 320}, ["520 tokens", "the KV pool holds", "--lengths 128/32"]),
    ],
)
def test_a_load_whose_requests_are_all_refused_is_an_error_that_says_what_to_write(steady, load, words):
    """What it suggests is then served."""
    whole = Load(rate="9/s", requests=3, **load)
    with pytest.raises(InputError, match="every request is refused") as found:
        Traffic("h100-sxm", Steady("llama3-8b", *steady), whole).run()
    (said,) = found.value.problems
    assert all(word in said for word in words)
    again = replace(whole, lengths=said.rpartition("--lengths ")[2] if "example" in said else "64/8")
    assert Traffic("h100-sxm", Steady("llama3-8b", *steady), again).run(check=False).served.requests == 3


def test_a_search_for_a_rate_says_what_a_trace_has_instead(tmp_path):
    """Means and rate of the rows by hand: three gaps in 2 s; a limit that was given is not asked for."""
    path = tmp_path / "trace.csv"
    path.write_text(PLAIN + "1,100,10\n1,300,20\n2,100,20\n3,300,30\n")
    for slo, count in (("ttft=1s", 1), (None, 2)):
        with pytest.raises(InputError) as found:
            find_rate(Traffic("h100-sxm", Steady("llama3-8b", 1, 1), Load(trace=str(path), slo=slo)))
        assert len(found.value.problems) == count
        assert "cannot be scaled; write --rate 1.5/s --lengths 200/20 instead" in found.value.problems[-1]
        assert f"--lengths {path}" in found.value.problems[-1]
        assert ("--slo" in "".join(found.value.problems)) == (slo is None)
    with pytest.raises(InputError, match="--concurrency has no rate"):
        find_rate(Traffic("h100-sxm", Steady("llama3-8b", 1, 1), Load(users=3, lengths="8/8", slo="ttft=1s")))


def test_a_model_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="leave no room for a KV cache"):
        Traffic("rtx4090", Steady("llama3-70b", 1, 1), Load(rate="1/s"))


def test_an_slo_that_nothing_meets_is_counted():
    load = Load(rate="8/s", requests=20, lengths="100/5", slo="ttft=1us,tpot=1s")
    found = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load).run().served
    assert found.good == 0 and found.missed == {"ttft": 20}


def test_one_output_token_has_no_time_per_output_token():
    found = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), Load(rate="8/s", requests=5, lengths="100/1")).run().served
    assert found.tpot is None and found.itl is None and found.ttft == found.e2e
