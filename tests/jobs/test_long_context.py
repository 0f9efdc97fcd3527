"""A million tokens: decode and prefill of Nemotron 3 Nano and Super; bytes from the formulas, time within limits."""

import time

import pytest

from hwsim import run
from hwsim.workload.op import KINDS

L = 1 << 20
NANO, SUPER = "nemotron3-nano-30b-a3b", "nemotron3-super-120b-a12b"
#: attention layers, K and V elements per token and layer; Mamba-2 layers, state and conv elements per layer.
SHAPES = {NANO: (6, 2 * 2 * 128, 23, 64 * 64 * 128, 6144 * 3), SUPER: (8, 2 * 2 * 128, 40, 128 * 64 * 128, 10240 * 3)}


@pytest.mark.parametrize(
    "model, weights, kv, state, state_bytes, held, fits",
    [
        (NANO, "published-fp8", "fp8", "fp32", 4, 35.9e9, True),
        (NANO, "bf16", "fp8", "fp32", 4, 66.5e9, True),
        (SUPER, "published-nvfp4", "fp8", "fp16", 2, 77.67e9, True),
        (SUPER, "fp8", "fp8", "fp32", 4, 125.39e9, True),
        (SUPER, "bf16", "fp8", "fp32", 4, 245.8e9, False),
    ],
)
def test_decode_after_a_million_tokens(model, weights, kv, state, state_bytes, held, fits):
    layers, width, mamba, elements, taps = SHAPES[model]
    result = run("h200-sxm", model, context=L, weights=weights, kv=kv, state=state, engine="walk")
    assert result.bytes["kv"] == (L + 1) * layers * width  # one byte per element; the new token is written
    assert result.bytes["state"] == 2 * mamba * (elements * state_bytes + taps * 2)
    assert result.memory.kv == (L + 1) * layers * width
    assert result.memory.state == mamba * (elements * state_bytes + taps * 2)
    assert result.memory.total == pytest.approx(held, rel=0.002)
    assert result.memory.fits is fits
    assert any("does not fit" in note for note in result.notes) is not fits
    attention = next(row for row in result.by_op if row.name == "attention")
    q_heads = 32
    assert attention.macs == layers * 2 * q_heads * 128 * (L + 1)


def test_kv_and_state_cross_where_the_formulas_do():
    """FP8 KV becomes larger than FP32 state at 15.7K tokens in Nano and 41.0K in Super."""
    for model, crossing in ((NANO, 15_700), (SUPER, 40_960)):
        layers, width, mamba, elements, _ = SHAPES[model]
        assert 4 * mamba * elements / (layers * width) == pytest.approx(crossing, rel=2e-3)
        for context, more in ((int(crossing * 0.95), False), (int(crossing * 1.05), True)):
            held = run("h200-sxm", model, context=context, weights="fp8", kv="fp8", engine="walk").memory
            assert (held.kv > held.state) is more


@pytest.mark.slow
@pytest.mark.parametrize("model, weights, chips", [(NANO, "published-fp8", 1), (SUPER, "published-nvfp4", 2)])
def test_prefill_of_a_million_tokens_within_a_minute(model, weights, chips):
    begin = time.process_time()
    result = run("h200-sxm", model, "prefill", context=L, weights=weights, chips=chips)
    took = time.process_time() - begin
    print(f"{model}: {took:.1f} CPU s, {result.seconds:.1f} s on {chips} H200, {result.limited_by}")
    layers, width, mamba, elements, taps = SHAPES[model]
    assert chips * result.memory.kv == L * layers * width
    assert chips * result.bytes["kv"] == L * layers * width
    assert chips * result.bytes["state"] == mamba * (elements * (4 if model == NANO else 2) + taps * 2)
    attention = next(row for row in result.by_op if row.name == "attention")
    assert chips * attention.macs == layers * 2 * 32 * 128 * (L * (L + 1) // 2)
    assert {row.name for row in result.by_op} <= set(KINDS)
    assert took < 60
