"""Options of a run: skew of experts, formats of caches, rounding of state; each byte from a formula."""

import json
from fractions import Fraction

import pytest

import hwsim
from hwsim import run
from hwsim.errors import InputError

NANO = "nemotron3-nano-30b-a3b"
STATE, CONV = 64 * 64 * 128, (4096 + 2 * 8 * 128) * 3  # elements per layer and sequence
ROW = 128  # elements per row of state, and per K or V head
BYTES = {  # bytes per row, including scales
    "fp32": 4 * ROW,
    "fp16": 2 * ROW,
    "bf16": 2 * ROW,
    "fp8": ROW,
    "int8": ROW + 4,
    "mxint8": ROW + ROW // 32,
    "mxfp4": ROW // 2 + ROW // 32,
}


def walk(machine="h200-sxm-regen", model=NANO, **options):
    return run(machine, model, engine="walk", **options)


@pytest.mark.parametrize("state", BYTES)
def test_state_is_read_and_written_in_its_format(state):
    result = walk(batch=3, context=100, state=state)
    rows = 3 * STATE // ROW
    assert result.bytes["state"] == 23 * 2 * (rows * BYTES[state] + 3 * CONV * 2)
    assert result.memory.state == 23 * (rows * BYTES[state] + 3 * CONV * 2)


@pytest.mark.parametrize("kv", BYTES)
def test_kv_is_read_and_written_in_its_format(kv):
    result = walk(batch=3, context=100, kv=kv)
    rows = 6 * 3 * 2 * 2  # per token: layers, sequences, K and V, heads
    assert result.bytes["kv"] == (100 + 1) * rows * BYTES[kv]
    assert result.memory.kv == 101 * rows * BYTES[kv]


@pytest.mark.parametrize("name", ["fp16", "fp8", "int8"])
def test_stochastic_rounding_is_a_server_between_state_and_memory(name):
    plain, rounded = (walk(batch=8, context=100, state=name + s) for s in ("", "_sr"))
    assert rounded.bytes == plain.bytes and rounded.memory == plain.memory
    assert "round" not in plain.utilization
    busy = Fraction(23 * 8 * STATE, 1320)  # cycles of the units of h200-sxm-regen
    assert rounded.utilization["round"] * rounded.cycles == pytest.approx(busy, rel=1e-3)
    assert rounded.cycles >= plain.cycles
    assert any("rounded stochastically" in note for note in rounded.notes)
    assert rounded.config["formats"]["state"].endswith("_sr")


def test_few_rounding_units_are_the_limit():
    from hwsim.arch import load_arch

    slow = load_arch("h200-sxm-regen", [("round.rate", "1 element/cycle")])
    result = walk(slow, batch=8, context=100, state="fp16_sr")
    assert result.limited_by == "round"
    assert result.bound_cycles == 23 * 8 * STATE
    assert sum(result.stalls.values()) == result.cycles


def test_prefill_rounds_the_final_state():
    result = walk(phase="prefill", context=512, state="fp16_sr")
    assert result.utilization["round"] * result.cycles == pytest.approx(23 * STATE / 1320, rel=1e-3)


@pytest.mark.parametrize(
    "machine, options, expected",
    [
        ("h200-sxm", {"state": "fp16_sr"}, "h200-sxm: state fp16_sr needs a `round` server"),
        ("h200-sxm", {"state": "fp61_sr"}, "state: unknown format 'fp61'; did you mean fp16"),
        ("h200-sxm", {"state": "seedlm4_sr"}, "state: seedlm4 is a weight format"),
        ("h200-sxm", {"kv": "fp16_sr"}, "kv: unknown format 'fp16_sr'"),
        ("h200-sxm", {"skew": "zipf"}, "skew: `zipf` is not a distribution"),
    ],
)
def test_refused(machine, options, expected):
    with pytest.raises(InputError) as caught:
        walk(machine, **options)
    assert any(expected in p for p in caught.value.problems)


@pytest.mark.parametrize("a", [0.5, 0.8, 1.2])
def test_skewed_routing_reads_fewer_experts(a):
    even, skewed = (walk(batch=64, context=100, weights="fp8", skew=s) for s in ("even", f"zipf({a})"))
    weights = [i**-a for i in range(1, 129)]
    full = next(f for f in range(129) if weights[f] * (6 - f) / sum(weights[f:]) <= 1)
    chosen = [1.0] * full + [w * (6 - full) / sum(weights[full:]) for w in weights[full:]]
    want = sum(1 - (1 - p) ** 64 for p in chosen)
    assert skewed.distinct_experts == pytest.approx(want, rel=1e-12)
    assert even.distinct_experts == pytest.approx(128 * (1 - (122 / 128) ** 64), rel=1e-12)
    fewer = round(even.distinct_experts) - round(want)
    assert even.bytes["weights"] - skewed.bytes["weights"] == fewer * 23 * 2 * 2688 * 1856
    assert skewed.macs == even.macs


def test_the_result_records_all_options_and_dense_models_have_no_experts():
    result = walk(skew="zipf(0.5)", batch=2)
    assert result.config["skew"] == "zipf(0.5)" and result.config["chips"] == 1
    assert json.loads(json.dumps(result.to_dict()))["distinct_experts"] == result.distinct_experts
    assert walk(model="llama3-8b").distinct_experts is None


def test_slips_of_the_pen_are_refused():
    """Beyond 10^9, all at once; 10^9 itself is a context."""
    with pytest.raises(InputError) as caught:
        walk(batch=10**9 + 1, context=10**20)
    assert [text.partition(";")[0] for text in caught.value.problems] == [
        "batch: 1,000,000,001 is more than 10^9, the most that is simulated",
        "context: 100,000,000,000,000,000,000 is more than 10^9, the most that is simulated",
    ]
    assert walk(context=10**9).seconds > walk(context=10**8).seconds
    for call in (
        lambda: hwsim.serve("h200-sxm", "llama3-8b", 10**10, 1),
        lambda: hwsim.serve("h200-sxm", "llama3-8b", 1, 10**10),
        lambda: hwsim.train("h200-sxm", "llama3-8b", 1, 10**10),
    ):
        with pytest.raises(InputError, match=r"(isl|osl|context): 10,000,000,000 is more than 10\^9"):
            call()
