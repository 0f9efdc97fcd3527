"""Mixed steps: one GEMM over the tokens of decode steps and a chunk, attention once for each."""

import pytest

from hwsim.arch import load_arch
from hwsim.errors import InputError
from hwsim.jobs.run import run
from hwsim.workload import load_model
from hwsim.workload.op import StepOptions

#: One of each kind of part that keeps something: K and V, windows, latent rows, states, experts.
KINDS = ("llama3-8b", "gpt-oss-20b", "deepseek-v3", "nemotron3-nano-30b-a3b", "qwen3-next-80b-a3b")


def ops(name: str, **step):
    return load_model(name).ops(StepOptions(**step))


def test_a_llama_layer_multiplies_every_matrix_once_with_all_tokens():
    found = [op for op in ops("llama3-8b", phase="mixed", batch=27, context=1200, chunk=512) if op.layer == 3]
    linear = {op.name: op.gemms[0] for op in found if op.gemms}
    # Llama 3 8B: hidden 4,096, 32 heads and 8 K and V heads of 128, feed-forward 14,336, gate and up in one matrix
    sizes = {"qkv": (6144, 4096), "attention_out": (4096, 4096), "mlp_up": (28672, 4096), "mlp_down": (4096, 14336)}
    assert {name: (g.m, g.n, g.k) for name, g in linear.items()} == {k: (539, *v) for k, v in sizes.items()}
    decode, prompt = [op for op in found if op.core]
    assert decode.macs == 27 * 1201 * 2 * 4096
    assert prompt.macs == 512 * 513 // 2 * 2 * 4096
    assert (decode.core.mixed, decode.core.chunk, prompt.core.chunk) == (True, False, True)


def test_a_later_chunk_sees_the_earlier_ones():
    first = [op for op in ops("llama3-8b", phase="mixed", batch=1, context=9, chunk=512, done=1024) if op.core]
    pairs = 512 * 1024 + 512 * 513 // 2
    assert first[1].macs == pairs * 2 * 4096
    assert first[1].cache.read == 1024 * 2 * 8 * 128


def test_the_head_computes_one_position_of_every_sequence():
    head = next(op for op in ops("llama3-8b", phase="mixed", batch=27, context=1200, chunk=512) if op.kind == "head")
    assert head.gemms[0].m == 28


@pytest.mark.parametrize("name", KINDS)
def test_the_work_of_both_is_there_and_the_weights_once(name):
    decode = ops(name, phase="decode", batch=8, context=1000)
    chunk = ops(name, phase="mixed", batch=0, context=1, chunk=256)
    both = ops(name, phase="mixed", batch=8, context=1000, chunk=256)

    def caches(found):
        return sorted((op.layer, op.name, op.cache.read, op.cache.write) for op in found if op.cache)

    assert caches(both) == sorted(caches(decode) + caches(chunk))
    dense = {"attention_proj", "mlp", "mamba_proj", "shared_experts", "linear_proj"}
    apart = {"latent_up", "absorb_q", "absorb_v"}  # forms of latent attention that only one of the two has

    def macs(found):
        return sum(g.macs for op in found if op.kind in dense for g in op.gemms)

    def weights(found):
        return sum(g.weights for op in found if op.kind in dense and op.name not in apart for g in op.gemms)

    assert macs(both) == macs(decode) + macs(chunk)
    assert weights(both) == weights(decode) == weights(chunk)


def test_the_measured_slow_down_of_the_machine_is_applied_to_decode_attention_only():
    fast, slow = (
        run(load_arch("rtx4090", [("serving.mixed_attention", x)]), "llama3-8b", "mixed", 27, 1200, chunk=512)
        for x in ("1", "2.2")
    )
    alone = run("rtx4090", "llama3-8b", "decode", 27, 1200)

    def seconds(result, kind):
        return next(row.cycles for row in result.by_op if row.name == kind) / 2.52e9

    more = seconds(slow, "attention") - seconds(fast, "attention")
    launches = 32 * 2.2e-6  # at most: they are not slowed
    assert 1.2 * (seconds(alone, "attention") - 5 * launches) <= more <= 1.2 * seconds(alone, "attention")
    assert seconds(slow, "mlp") == seconds(fast, "mlp")


def test_an_unknown_slow_down_is_said():
    assert any("x 1, not measured" in note for note in run("h100-sxm", "llama3-8b", "mixed", 8, 100, chunk=64).notes)


def test_what_is_no_mixed_step_is_refused():
    with pytest.raises(InputError, match="chunk"):
        run("h100-sxm", "llama3-8b", "mixed", 8, 100)
    with pytest.raises(InputError, match="only a mixed step"):
        run("h100-sxm", "llama3-8b", "decode", 8, 100, chunk=5)
    with pytest.raises(InputError, match="has no mixed"):
        ops("bert-base", phase="mixed", batch=1, context=1, chunk=5)
