"""Room of the KV cache: each engine's rule by arithmetic of its own, and vLLM's against a logged pool."""

import pytest

from hwsim.errors import InputError
from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.room import Memory, sglang_room, trtllm_room, vllm_room
from hwsim.jobs.serving.traffic import Traffic

MIB, GIB = 2**20, 2**30


def traffic(machine, scheduler, chips=1, model="llama3-8b", **more):
    return Traffic(machine, Steady(model, 1, 1, chips=chips), Load("1/s", scheduler=scheduler, **more))


def test_vllm_s_share_is_of_the_device_and_trtllm_s_of_what_is_left():
    memory = Memory(100, 30, 4, 6, 8192)
    assert vllm_room(memory)[0] == pytest.approx(90 - 40)
    assert trtllm_room(memory)[0] == pytest.approx(0.9 * 60)


@pytest.mark.parametrize(
    "gib, budget, chips, reserve",
    [
        (24, 2048, 1, 512 + 3072 + 48 + 128),
        (24, 2048, 4, 512 + 3072 + 160 + 512),
        (40, 4096, 1, 512 + 6144 + 64 + 128),
        (79, 8192, 1, 512 + 12288 + 512 + 128),
        (79, 2048, 1, 10 * 1024),
        (180, 16384, 8, 512 + 24576 + 1024 + 1024),
    ],
)
def test_sglang_keeps_a_reserve_by_its_formula(gib, budget, chips, reserve):
    left, said = sglang_room(Memory(gib * GIB, 10 * GIB, 3 * GIB, 0, budget, chips))
    assert left == (gib - 10) * GIB - reserve * MIB
    assert f"SGLang's reserve of {reserve * MIB / 1e9:.2f}" in said


def test_the_room_of_the_4090_is_that_of_its_log():
    found = traffic("rtx4090", "vllm", model="llama3.1-8b", budget=2048, max_seqs=256).room
    assert abs(found.tokens / 41_408 - 1) < 0.03


def test_each_engine_has_a_room_of_its_own():
    """Four chips share a 70B model of 70.55e9 parameters in bf16; a token has K and V of 80 layers, 8 heads of 128."""
    rooms = {name: traffic("h100-sxm", name, 4, "llama3-70b").room for name in ("vllm", "trtllm", "sglang")}
    token, weights = 2 * 2 * 80 * 8 * 128 / 4, 2 * 70.55e9 / 4
    taken = 0.9 * 80e9 - rooms["vllm"].tokens * token
    assert weights < taken < weights + 1e9  # and activations
    assert rooms["trtllm"].tokens * token == pytest.approx(0.9 * (80e9 - taken), abs=32 * token)
    reserve = (512 + 1.5 * 8192 + 2 * 512 + 4 * 128) * MIB
    assert rooms["sglang"].tokens * token == pytest.approx(80e9 - reserve - weights, rel=0.002)
    assert any("context and CUDA graphs" in note for note in rooms["trtllm"].notes)
    assert not any("context and CUDA graphs" in note for note in rooms["sglang"].notes)


def test_vllm_has_no_more_sequences_than_tokens_of_a_pass():
    assert traffic("h100-sxm", "vllm", budget=100).limits.seats == 100
    assert traffic("h100-sxm", "trtllm", budget=100).limits.seats == 2048
    with pytest.raises(InputError, match="--max-seqs: 200 sequences are more than the 100 tokens"):
        traffic("h100-sxm", "vllm", budget=100, max_seqs=200)


def test_a_prompt_that_no_pass_of_trtllm_holds_is_refused_and_the_others_served(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,600,4\n0,500,4\n")
    refused = {}
    for name in ("vllm", "sglang", "trtllm"):
        load = Load(trace=str(trace), scheduler=name, budget=512)
        refused[name] = Traffic("h100-sxm", Steady("llama3-8b", 1, 1), load).run(check=False).served.refused
    assert refused["vllm"] == refused["sglang"] == ()
    ((number, why),) = refused["trtllm"]
    assert number == 0 and "600 tokens is more than the 512 of a pass (--budget)" in why
    with pytest.raises(InputError, match="at most 512 tokens together"):
        traffic("h100-sxm", "trtllm", budget=512, requests=3, lengths="600/4").run(check=False)
