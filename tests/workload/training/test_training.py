"""A training step as ops: counts against formulas that are written out here."""

from __future__ import annotations

from fractions import Fraction

import pytest

from hwsim.errors import InputError
from hwsim.workload import load_model
from hwsim.workload.training.lowering import blocks, flops_per_token
from hwsim.workload.training.options import Degrees, TrainStep, recompute_layers
from hwsim.workload.training.sites import Linear
from hwsim.workload.training.split import EMBEDDING, HEAD, split

DENSE, SSM, MOE = "llama3-8b", "nemotron3-nano-30b-a3b", "qwen3-30b-a3b-thinking-2507"


def linears(model: str, step: TrainStep):
    return [s for b in blocks(load_model(model), step).values() for s in b.sites if isinstance(s, Linear)]


@pytest.mark.parametrize("model", [DENSE, SSM, MOE, "deepseek-v3", "qwen3-next-80b-a3b", "gpt-oss-20b"])
def test_three_passes_have_equal_macs(model):
    found = linears(model, TrainStep(2, 2048, 1))
    assert found
    for one in found:
        assert one.fprop.dot_macs == one.dgrad.dot_macs == one.wgrad.dot_macs > 0


def test_operands_of_the_passes():
    """By hand, for the QKV projection of Llama 3 8B: [4096 + 2 x 1024] outputs, 2048 tokens; (M, N, K) per pass."""
    qkv = next(s for s in linears(DENSE, TrainStep(2, 2048, 1)) if s.name == "qkv")
    shapes = [(g.m, g.n, g.k) for op in (qkv.fprop, qkv.dgrad, qkv.wgrad) for g in op.gemms]
    assert shapes == [(2048, 6144, 4096), (2048, 4096, 6144), (6144, 4096, 2048)]


def test_linears_are_three_times_the_forward_pass():
    """Six FLOP per weight and token: all matrices of Llama 3 8B but the embedding, by the published shape."""
    h, f, v, layers = 4096, 14336, 128256, 32
    weights = layers * (h * (h + 2 * 1024) + h * h + 3 * h * f) + v * h
    found = linears(DENSE, TrainStep(2, 2048, 1))
    assert sum(one.matrices for one in found) == weights
    for one in found:
        assert one.fprop.dot_macs == one.matrices * 2048


@pytest.mark.parametrize(
    "model,published", [("llama3-8b", 51.484e9), ("llama3-70b", 448.81e9), ("llama3.1-405b", 2523.97e9)]
)
def test_flop_per_token(model, published):
    """NVIDIA-NeMo/Megatron-Bridge, docs/performance-summary.md: model TFLOP over tokens, at 8,192 tokens."""
    assert flops_per_token(load_model(model), 8192) == pytest.approx(published, rel=1e-3)


@pytest.mark.parametrize("model", [DENSE, "llama3-70b", "gemma2-9b"])
def test_attention_core_is_three_and_a_half_times_forward(model):
    for block in blocks(load_model(model), TrainStep(2, 4096, 1)).values():
        for site in block.sites:
            if site.part == "attention" and not isinstance(site, Linear):
                assert site.backward is not None
                assert site.forward.macs + site.backward.macs == Fraction(7, 2) * site.forward.macs > 0


@pytest.mark.parametrize("model", ["mamba2-1.3b", SSM])
def test_scan_is_four_times_forward(model):
    found = 0
    for block in blocks(load_model(model), TrainStep(2, 4096, 1)).values():
        for site in block.sites:
            if site.part == "ssm":
                found += 1
                assert site.backward is not None
                assert site.forward.macs + site.backward.macs == 4 * site.forward.macs > 0
    assert found


def test_model_flop_of_a_scan_is_three_times_forward():
    """Mamba-2 2.7B without its linears: per token 2 N P H and, of pairs inside a chunk of Q, N G + P H; 6 FLOP each."""
    one, tokens = load_model("mamba2-2.7b"), 4096
    part = one.plan[0][0].part
    inside = Fraction(part.chunk + 1, 2) * (part.groups * part.state + part.inner) + 2 * part.state * part.inner
    linears = sum(
        s.matrices for b in blocks(one, TrainStep(1, tokens, 1)).values() for s in b.sites if isinstance(s, Linear)
    )
    assert flops_per_token(one, tokens) == 6 * (linears + len(one.plan) * inside)


def test_experts_see_every_assignment_once():
    """Rows over all experts and chips: tokens times experts per token, however many chips hold them."""
    model = load_model(MOE)
    for d in (Degrees(), Degrees(dp=8, ep=8), Degrees(dp=4, tp=2, ep=8), Degrees(dp=2, tp=4, ep=2)):
        up = next(s for s in linears(MOE, TrainStep(64, 4096, 2, d)) if s.name == "experts_up")
        rows = sum(g.count * g.m for g in up.fprop.gemms)
        assert rows == 2 * 4096 // d.tp * model.moe.top_k
        assert sum(g.count for g in up.fprop.gemms) == model.moe.experts // d.ep
        assert {g.n for g in up.fprop.gemms} == {2 * model.moe.intermediate}  # whole, whatever tp is


@pytest.mark.parametrize("model", [DENSE, MOE, SSM])
@pytest.mark.parametrize("degrees", [Degrees(dp=2, tp=2), Degrees(dp=2, cp=2)])
def test_chips_share_the_work(model, degrees):
    """Two chips that share a micro-batch compute half of it each, and hold half of what tensor parallelism divides."""
    whole, part = (
        sum(one.fprop.dot_macs for one in linears(model, TrainStep(8, 4096, 1, d))) for d in (Degrees(dp=2), degrees)
    )
    assert part * 2 == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("model", [DENSE, MOE, SSM, "nemotron3-super-120b-a12b"])
def test_parameters_of_one_chip_are_the_model(model):
    one = load_model(model)
    held = sum(b.dense + b.experts for b in blocks(one, TrainStep(1, 4096, 1)).values())
    assert held == one.total


def test_the_multi_token_prediction_block():
    """It adds its parameters, and per token three passes of those that a token uses, of attention, and of a head."""
    one = load_model("nemotron3-super-120b-a12b")
    held = [sum(b.dense + b.experts for b in blocks(one, TrainStep(1, 4096, 1, mtp=m)).values()) for m in (False, True)]
    assert held[1] - held[0] == one.mtp_parameters()
    more = flops_per_token(one, 4096, mtp=True) - flops_per_token(one, 4096)
    attention = one.mtp.count("*") * 4097 * one.attention.q_width
    assert more == pytest.approx(6 * (one.mtp_active + one.vocab * one.hidden + attention), rel=1e-3)


@pytest.mark.parametrize("model", ["deepseek-v3", "glm-4.5-air", "qwen3-next-80b-a3b"])
def test_every_block_holds_its_parameters(model):
    one = load_model(model)
    held = [sum(b.dense + b.experts for b in blocks(one, TrainStep(1, 4096, 1, mtp=m)).values()) for m in (False, True)]
    assert held[1] - held[0] == one.mtp_parameters()


def test_no_block_to_predict_with():
    with pytest.raises(InputError, match="mtp: llama3-8b has no multi-token-prediction block; leave it out"):
        blocks(load_model(DENSE), TrainStep(1, 4096, 1, mtp=True))


def test_experts_are_divided_over_ep():
    one = load_model(MOE)
    found = {d.ep: blocks(one, TrainStep(16, 4096, 1, d)) for d in (Degrees(dp=16), Degrees(dp=16, ep=16))}
    experts = {ep: sum(b.experts for b in each.values()) for ep, each in found.items()}
    dense = {ep: sum(b.dense for b in each.values()) for ep, each in found.items()}
    assert experts[1] == 16 * experts[16] > 0
    assert dense[1] == dense[16]


def test_tensor_parallel_collectives_of_a_layer():
    """Two gathers and two scatters forward, as many backward, and the two inputs again for wgrad: ten."""
    one = blocks(load_model("llama3-70b"), TrainStep(2, 8192, 1, Degrees(tp=2)))[3]
    found = [c for c in one.collectives if c.group == "tp"]
    assert len(found) == 10
    assert sum(c.forward for c in found) == 4
    assert {c.elements for c in found} == {8192 * 8192}


@pytest.mark.parametrize("model", [MOE, "gpt-oss-120b", SSM])
def test_all_to_all_both_ways(model):
    """Dispatch and combine, forward and backward: four per layer of experts, each of every token's rows."""
    one = load_model(model)
    width = one.moe.latent or one.hidden
    found = blocks(one, TrainStep(16, 4096, 1, Degrees(dp=8, ep=8)))
    layer = next(b for b in found.values() if b.experts)
    sent = [c for c in layer.collectives if c.kind == "all_to_all"]
    assert [c.forward for c in sent].count(True) == [c.forward for c in sent].count(False) == 2
    assert {c.elements for c in sent} == {4096 * one.moe.top_k * width}


def test_context_parallel_passes_keys_and_values_on():
    one = blocks(load_model(DENSE), TrainStep(2, 8192, 1, Degrees(cp=4)))[3]
    ring = [c for c in one.collectives if c.group == "cp"]
    assert [(c.elements, c.forward) for c in ring] == [(8192 * 2 * 1024, True), (2 * 8192 * 2 * 1024, False)]


# -- layers over stages --------------------------------------------------------------------------------


def test_split_where_the_layers_divide():
    assert split(8, 4).chunks == ((EMBEDDING, 0, 1), (2, 3), (4, 5), (6, 7, HEAD))


def test_split_where_layers_with_both_ends_divide():
    found = split(126, 32)
    assert found.note == "" and {len(c) for c in found.chunks} == {4}
    assert found.chunks[0] == (EMBEDDING, 0, 1, 2) and found.chunks[-1] == (123, 124, 125, HEAD)


@pytest.mark.parametrize("layers,chunks", [(7, 2), (61, 16), (80, 12), (3, 5)])
def test_split_of_what_divides_neither_way(layers, chunks):
    """The first stages take one item more, every item once and in order, and a note says so."""
    found = split(layers, chunks)
    assert [i for c in found.chunks for i in c] == [EMBEDDING, *range(layers), HEAD]
    sizes = [len(c) for c in found.chunks]
    assert sizes == sorted(sizes, reverse=True) and max(sizes) - min(sizes) <= 1
    assert bool(found.note) == ((layers + 2) % chunks != 0 and layers % chunks != 0)


def test_recomputed_layers_are_spread():
    step = TrainStep(1, 8, 1, recompute=5)
    chosen = [layer for layer in range(32) if step.recomputed(layer, 32)]
    assert len(chosen) == 5
    assert {b - a for a, b in zip(chosen, chosen[1:], strict=False)} <= {6, 7}
    assert [TrainStep(1, 8, 1, recompute=recompute_layers("full", 4)).recomputed(i, 4) for i in range(4)] == [True] * 4


# -- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model,step,words",
    [
        (DENSE, TrainStep(7, 8192, 2, Degrees(dp=2)), ["batch: 7", "batch of 4 or 8"]),
        (DENSE, TrainStep(64, 8192, 1, Degrees(pp=5, vp=7)), ["pp 5 x vp 7", "at most 34"]),
        (DENSE, TrainStep(6, 8192, 1, Degrees(pp=4, vp=2)), ["multiples of pp 4", "are 6"]),
        (DENSE, TrainStep(6, 8192, 1, Degrees(tp=3)), ["32 query heads", "8 K and V heads"]),
        (DENSE, TrainStep(6, 8192, 1, Degrees(ep=1, dp=2, vp=2)), ["vp needs a pipeline"]),
        (DENSE, TrainStep(8, 8192, 1, Degrees(dp=8, ep=8)), ["has no experts"]),
        (MOE, TrainStep(8, 8192, 1, Degrees(dp=8, ep=3)), ["ep 3 does not divide", "write a divisor"]),
        (MOE, TrainStep(512, 8192, 1, Degrees(dp=256, ep=256)), ["has 128 experts, fewer than ep 256"]),
        (DENSE, TrainStep(8, 8191, 1, Degrees(cp=2)), ["8191 tokens do not divide"]),
        (DENSE, TrainStep(8, 8192, 1, shard=2), ["shard: unknown 2", "write 0, 1 or 3"]),
        (DENSE, TrainStep(0, 8192, 1), ["batch: 0 is not a positive whole number"]),
    ],
)
def test_refused(model, step, words):
    with pytest.raises(InputError) as error:
        blocks(load_model(model), step)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "given,words",
    [
        ("dp=8,tq=2", ["unknown degree 'tq'", "known: dp, tp"]),
        ("dp=8,dp=2", ["dp is given twice"]),
        ("dp", ["'dp' is not DEGREE=NUMBER"]),
        ("dp=0", ["dp: 0 is not a positive whole number"]),
        ("dp=0,tq=2,x", ["dp: 0", "'tq'", "'x' is not"]),
    ],
)
def test_degrees_refused(given, words):
    with pytest.raises(InputError) as error:
        Degrees.of(given)
    for word in words:
        assert word in str(error.value)


def test_degrees():
    d = Degrees.of("dp=8, tp=2,pp=4,vp=5,cp=2")
    assert d == Degrees.of({"dp": 8, "tp": 2, "pp": 4, "vp": 5, "cp": 2})
    assert d.chips == 128 and d.replicas == 16
    assert Degrees(dp=8, tp=2, cp=2, ep=16).expert_replicas == 2


@pytest.mark.parametrize("word,layers", [("none", 0), ("selective", -1), ("full", 32), ("5", 5)])
def test_recompute_words(word, layers):
    assert recompute_layers(word, 32) == layers


@pytest.mark.parametrize("word", ["fully", "33", "-1", "1.5"])
def test_recompute_refused(word):
    with pytest.raises(InputError, match="recompute"):
        recompute_layers(word, 32)
