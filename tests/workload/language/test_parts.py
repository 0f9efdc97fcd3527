"""The kinds of part beside today's, one layer each: work, caches and states against the formulas of their papers."""

from dataclasses import replace

import pytest

from hwsim.errors import InputError
from hwsim.workload.language import lowering
from hwsim.workload.language.kinds import KINDS
from hwsim.workload.language.model import Attention, Mlp, Model, Moe
from hwsim.workload.language.parallel import chip_parameters
from hwsim.workload.language.parts.delta import DeltaNet, Kda
from hwsim.workload.language.parts.latent import Index, Latent
from hwsim.workload.language.parts.lightning import Lightning
from hwsim.workload.language.parts.mamba1 import Mamba1
from hwsim.workload.language.parts.mamba2 import Mamba2
from hwsim.workload.language.parts.shortconv import ShortConv
from hwsim.workload.language.parts.step import Norm, chunked_pairs, two_sided_pairs
from hwsim.workload.language.share import Parallel
from hwsim.workload.op import StepOptions
from tests.workload.language.shapes import lower

H, V = 256, 1000
LATENT = Latent(q_heads=8, kv_rank=64, nope_dim=16, rope_dim=8, v_dim=24, q_rank=48)
SPARSE = replace(LATENT, index=Index(heads=4, head_dim=16, top_k=20))
DELTA = DeltaNet(key_heads=4, value_heads=8, key_dim=16, value_dim=32, conv_kernel=4, chunk=8)
PARTS = {
    "latent": LATENT,
    "latent without q_rank": replace(LATENT, q_rank=0, bias=True),
    "sparse": SPARSE,
    "follower": replace(SPARSE, index=replace(SPARSE.index, shared=True)),
    "delta": DELTA,
    "kda": Kda(heads=8, head_dim=16, conv_kernel=4, chunk=8),
    "lightning": Lightning(heads=8, head_dim=16, chunk=8),
    "mamba1": Mamba1(inner=64, state=4, dt_rank=8, conv_kernel=4, norms="gain"),
    "mamba1 plain": Mamba1(inner=64, state=4, dt_rank=8, conv_kernel=3, norms="plain", conv_bias=False, bias=True),
    "mamba2 without norm": Mamba2(8, 16, 4, 2, 4, 8, norm=False, bias=True),
    "shortconv": ShortConv(channels=64, conv_kernel=3, bias=True),
    "gated": Attention(8, 2, 16, 0.25, "head", "qkv", gate=True),
    "wide norm": Attention(8, 2, 16, True, "width", "qvo", softcap=True),
    "plain norm, chunks": Attention(8, 2, 16, True, "plain", chunk=16),
    "values": Attention(8, 2, 24, True, v_dim=16, window=10, sinks=True),
    "one projection": Attention(8, 2, 16, True, shared_kv=True, v_norm=True),
    "gated experts": Moe(8, 2, 32, True, "silu", 64, shared_gate=True, correction=True, groups=4, top_groups=2),
    "gelu": Mlp(64, True, "gelu_tanh"),
}


def one(part, **more):
    """A model of one layer with this part."""
    return Model(
        name="one", description="", hidden=H, vocab=V, tied_embeddings=False, layers="A",
        parts=(("part", (part,)),), blocks=(("A", (("part", False),)),), **more,
    )  # fmt: skip


def ops_named(part, phase, batch, context, name, tokens=1):
    (op,) = [op for op in lower(one(part), phase, batch, context, tokens) if op.name == name]
    return op


def macs(ops):
    return sum(op.macs + sum(g.count * g.m * g.n * g.k for g in op.gemms) for op in ops)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_a_step_reads_every_parameter_once(name, phase):
    tokens = 3000  # enough that every expert is chosen
    model = one(PARTS[name])
    ops = lower(model, phase, *((tokens, 5) if phase == "decode" else (1, tokens)))
    assert sum(op.weight_elements for op in ops) == model.total - V * H + tokens * H


@pytest.mark.parametrize("name", PARTS)
def test_a_prompt_leaves_the_state_that_decode_reads(name):
    """What a prompt of T tokens writes into caches and states is what decode reads at T cached tokens and keeps."""
    model = one(PARTS[name])
    written = sum(op.cache.write for op in lower(model, "prefill", 2, 50) if op.cache)
    kept = 2 * sum(k.rows * k.row for k in model.kept_by_one(50))
    assert written == kept
    if not isinstance(PARTS[name], Attention | Latent):
        assert sum(op.cache.read for op in lower(model, "decode", 2, 50) if op.cache) == kept


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("chips", [2, 4])
def test_chips_share_at_least_their_part_of_the_weights_and_macs(name, chips):
    model, whole = one(PARTS[name]), macs(lower(one(PARTS[name]), "decode", 4, 20))
    shared = lower(model, "decode", 4, 20, parallel=Parallel(chips))
    assert whole / chips <= macs(shared) <= whole
    held = sum(row.elements for row in chip_parameters(model, Parallel(chips)) if row.weights != "absorbed")
    assert model.total / chips <= held < model.total
    assert sum(op.link == "all_reduce" for op in shared) >= 1


# -- latent attention --------------------------------------------------------------------------------


def test_expanded_attention_of_a_prompt():
    """K and V of every head from the row: T r nq (dn + dv); each pair: nq (dn + dr + dv)."""
    t, b = 30, 2
    up = ops_named(LATENT, "prefill", b, t, "latent_up")
    assert up.dot_macs == b * t * 64 * 8 * (16 + 24)
    core = ops_named(LATENT, "prefill", b, t, "attention")
    pairs = b * t * (t + 1) // 2
    assert core.macs == pairs * 8 * (16 + 8 + 24)
    assert core.vector == 5 * pairs * 8
    assert (core.cache.read, core.cache.write, core.cache.row) == (0, b * t * (64 + 8), 72)


@pytest.mark.parametrize("new", [1, 3])
def test_absorbed_attention_of_a_decode_step(new):
    """Queries into the row space: T nq dn r; each pair: nq (2 r + dr); the result back: T nq r dv."""
    b, c = 3, 100
    into = ops_named(LATENT, "decode", b, c, "absorb_q", new)
    back = ops_named(LATENT, "decode", b, c, "absorb_v", new)
    core = ops_named(LATENT, "decode", b, c, "latent_attention", new)
    t, pairs = b * new, b * (new * c + new * (new + 1) // 2)
    assert (into.dot_macs, back.dot_macs) == (t * 8 * 16 * 64, t * 8 * 64 * 24)
    assert into.weight_elements + back.weight_elements == 64 * 8 * (16 + 24)
    assert core.macs == pairs * 8 * (2 * 64 + 8)
    assert (core.cache.read, core.cache.write) == (b * c * 72, t * 72)


def formed(form, phase, batch, context, part=LATENT):
    return lowering.lower(one(part), StepOptions(phase, batch, context, mla=form))


def test_each_form_in_each_phase():
    """Absorbed: nq (2r - dn - dv) more per pair; expanded: c r nq (dn + dv) more per call."""
    for phase, context in (("decode", 40), ("prefill", 9)):
        absorbed, expanded = (macs(formed(form, phase, 1, context)) for form in ("absorbed", "expanded"))
        pairs = context + 1 if phase == "decode" else 45
        rows = context if phase == "decode" else 0
        assert absorbed - expanded == pairs * 8 * (2 * 64 - 16 - 24) - rows * 64 * 8 * (16 + 24)
        names = {form: {op.name for op in formed(form, phase, 1, context)} for form in ("absorbed", "expanded")}
        assert names["absorbed"] - names["expanded"] == {"absorb_q", "latent_attention", "absorb_v"}
        usual = "absorbed" if phase == "decode" else "expanded"
        assert formed("", phase, 1, context) == formed(usual, phase, 1, context)
        cheaper = macs(formed("cheaper", phase, 1, context))
        assert cheaper == min(absorbed, expanded)


def test_forms_that_a_model_cannot_take():
    for form, part, message in (
        ("both", LATENT, "mla: unknown 'both'; expected absorbed, expanded or cheaper"),
        ("expanded", SPARSE, "an indexer chose"),
        ("absorbed", DELTA, "has no latent attention"),
    ):
        with pytest.raises(InputError, match=message):
            formed(form, "decode", 1, 9, part)
    assert formed("absorbed", "prefill", 1, 9, SPARSE) == formed("", "prefill", 1, 9, SPARSE)


def test_the_cache_of_latent_attention_is_on_every_chip():
    """Keys and values of all heads are one row: more chips hold no less of it, unless they divide the sequences."""
    model = replace(one(LATENT), moe=Moe(8, 2, 32, True, "silu"), layers="AE")
    sizes = {
        (chips, kind): sum(k.rows * k.row for k in model.kept(StepOptions("decode", 8, 99, chips, kind)))
        for chips, kind in ((1, "tensor"), (8, "tensor"), (8, "data+expert"))
    }
    assert sizes[1, "tensor"] == sizes[8, "tensor"] == 8 * 100 * 72
    assert sizes[8, "data+expert"] == 100 * 72


def test_an_indexer_scores_all_positions_and_attention_reads_the_best():
    b, c, k = 2, 100, 20
    scores = ops_named(SPARSE, "decode", b, c, "index_scores")
    assert scores.macs == b * (c + 1) * 4 * 16
    assert scores.vector == 3 * b * (c + 1) * 4
    assert (scores.cache.read, scores.cache.write, scores.cache.row) == (b * c * 16, b * 16, 16)
    core = ops_named(SPARSE, "decode", b, c, "latent_attention")
    assert core.macs == b * k * 8 * (2 * 64 + 8)
    assert core.cache.read == b * k * 72
    prompt = ops_named(SPARSE, "prefill", 1, 50, "latent_attention")
    assert prompt.macs == (20 * 21 // 2 + 30 * 20) * 8 * (2 * 64 + 8)
    follower = lower(one(PARTS["follower"]), "decode", b, c)
    assert not [op for op in follower if op.kind == "indexer"]
    assert macs(follower) == macs(lower(one(SPARSE), "decode", b, c)) - scores.macs - b * (48 * 64 + H * (16 + 4))


# -- linear attention --------------------------------------------------------------------------------


def chunked(tokens, chunk):
    full, rest = divmod(tokens, chunk)
    return full * chunk * (chunk + 1) // 2 + rest * (rest + 1) // 2


def test_the_delta_rule():
    """Decode: 7 passes an element of the state. Prefill: 3 dk dv a token, 3 dk + 2 dv a pair, per value head."""
    b, nv, dk, dv, keys = 2, 8, 16, 32, 64
    state, small = nv * dk * dv, 3 * 2 * keys + 10 * nv + 2 * nv * dv
    decode = ops_named(DELTA, "decode", b, 77, "linear_attention")
    assert (decode.macs, decode.vector) == (0, b * (7 * state + small))
    assert (decode.cache.read, decode.cache.write, decode.cache.row) == (b * state, b * state, dk)
    t = 45
    prompt = ops_named(DELTA, "prefill", b, t, "linear_attention")
    pairs = b * nv * chunked(t, 8)
    assert prompt.macs == 3 * b * t * state + pairs * (3 * dk + 2 * dv)
    assert prompt.vector == b * t * (small + 3 * nv * dk) + 6 * pairs + b * -(-t // 8) * state
    projections = macs([op for op in lower(one(DELTA), "decode", b, 77) if op.kind == "linear_proj"])
    assert projections == b * (H * (2 * keys + 2 * nv * dv) + H * 2 * nv + nv * dv * H)


def test_the_causal_chunks_of_qwen3_next():
    """A layer of Qwen3-Next: 2.23 million multiply-adds a token where kernels skip the half above the diagonal."""
    layer = DeltaNet(16, 32, 128, 128, 4, 64)
    core = ops_named(layer, "prefill", 1, 6400, "linear_attention")
    assert core.macs / 6400 == pytest.approx(2.23e6, rel=0.01)


def test_kimi_delta_attention():
    """39,514,272 parameters a layer of Kimi Linear; a decay per key channel."""
    layer = Kda(32, 128, 4)
    assert sum(n for _, n in layer.parameters(2304)) == 39_514_272
    kda = PARTS["kda"]
    core = ops_named(kda, "decode", 3, 9, "linear_attention")
    n, heads, d = 128, 8, 16
    assert core.vector == 3 * (7 * heads * d * d + 3 * 2 * n + 4 * heads + 6 * n + 2 * n)
    assert ops_named(kda, "prefill", 1, 40, "linear_attention").macs == 40 * 3 * n * d + heads * chunked(40, 8) * 5 * d


def test_lightning_attention():
    """2 d^2 + C d multiply-adds a token and head within causal blocks of C; 5 passes an element of the state."""
    part = PARTS["lightning"]
    assert ops_named(part, "prefill", 1, 48, "linear_attention").macs == 8 * (48 * 2 * 256 + 2 * 16 * chunked(48, 8))
    decode = ops_named(part, "decode", 2, 9, "linear_attention")
    assert decode.vector == 2 * (5 * 8 * 256 + 3 * 4 * 128)
    assert decode.cache.read == decode.cache.write == 2 * 8 * 256


def test_mamba1_is_a_scan_in_both_phases():
    part = PARTS["mamba1"]
    decode, prompt = (ops_named(part, *step, "selective_scan") for step in (("decode", 3, 9), ("prefill", 1, 21)))
    each = 7 * 64 * 4 + 12 * 64
    assert (decode.vector, prompt.vector, decode.macs, prompt.macs) == (3 * each, 21 * each, 0, 0)
    assert (decode.cache.read, prompt.cache.write) == (3 * 64 * 4, 64 * 4)
    links = [op for op in lower(one(part), "decode", 3, 9, parallel=Parallel(4)) if op.link == "all_reduce"]
    assert [op.link_elements for op in links] == [3 * H, 3 * (8 + 2 * 4), 3 * H]  # embedding, dt B and C, output


def test_short_convolution():
    conv = ops_named(PARTS["shortconv"], "decode", 3, 9, "conv")
    assert (conv.vector, conv.vector_macs) == (2 * 3 * 64, 3 * 3 * 64)
    assert conv.cache.read == 3 * 64 * 2


# -- attention ---------------------------------------------------------------------------------------


def test_an_output_gate_doubles_the_query_projection():
    plain = Attention(8, 2, 16, True)
    gated = replace(plain, gate=True)
    assert sum(n for _, n in gated.parameters(H)) - sum(n for _, n in plain.parameters(H)) == H * 8 * 16
    cores = [ops_named(part, "decode", 3, 9, "attention") for part in (plain, gated)]
    assert cores[1].vector - cores[0].vector == 5 * 3 * 8 * 16


def test_partial_rotation_and_norms_of_heads():
    t, heads = 3, 8 + 2
    quarter = ops_named(PARTS["gated"], "decode", t, 9, "qk_norm")
    assert quarter.vector == 4 * t * heads * 16 + 3 * t * heads * 4
    assert ops_named(PARTS["wide norm"], "decode", t, 9, "qk_norm").params == heads * 16
    plain = ops_named(PARTS["plain norm, chunks"], "decode", t, 9, "qk_norm")
    assert (plain.params, plain.vector) == (0, (3 + 3) * t * heads * 16)
    sums = [op for op in lower(one(PARTS["wide norm"]), "decode", t, 9, parallel=Parallel(2)) if "qk_norm" in op.name]
    assert [op.link_elements for op in sums] == [2 * t, 0]


def test_biases_of_some_projections():
    sizes = {bias: dict(Attention(8, 2, 16, True, bias=bias).parameters(H)) for bias in (False, True, "qkv", "qvo")}
    without = sizes[False]
    more = {
        bias: tuple(found[name] - without[name] for name in ("attention_qkv", "attention_out"))
        for bias, found in sizes.items()
    }
    assert more == {False: (0, 0), True: (192, H), "qkv": (192, 0), "qvo": (160, H)}


def by_hand(cached, new, sees):
    return sum(sees(cached + i) for i in range(new))


@pytest.mark.parametrize("cached, new", [(0, 50), (10, 7), (31, 2), (64, 1), (0, 1)])
def test_pairs_counted_one_by_one(cached, new):
    assert chunked_pairs(cached, new, 16) == by_hand(cached, new, lambda p: p % 16 + 1)
    for window in (0, 6, 7, 1000):
        half = window // 2 if window else 10**6
        expected = sum(min(i, half) + 1 + min(new - 1 - i, half) for i in range(new))
        assert two_sided_pairs(new, window) == expected


def test_chunks_keep_and_read_their_own_positions_only():
    part = PARTS["plain norm, chunks"]
    assert ops_named(part, "decode", 1, 37, "attention").cache.read == 5 * 2 * 2 * 16  # positions 32 to 36
    assert one(part).kv_elements(100) == 16 * 2 * 2 * 16


def test_cross_attention_reads_its_source_and_writes_it_once():
    part = Attention(8, 8, 16, False, source=150)
    prompt, decode = (lower(one(part), *step) for step in (("prefill", 2, 7), ("decode", 2, 7)))
    (made,) = [op for op in prompt if op.name == "kv_source"]
    assert made.dot_macs == 2 * 150 * H * 2 * 128
    assert not [op for op in decode if op.name == "kv_source"]
    core = ops_named(part, "decode", 2, 7, "cross_attention")
    assert (core.macs, core.cache.read, core.cache.write) == (2 * 150 * 2 * 128, 2 * 150 * 256, 0)


def test_an_encoder_has_no_cache_and_no_decode():
    part = Attention(8, 8, 16, False, causal=False)
    model = one(part, head="none")
    (core,) = [op for op in lower(model, "prefill", 2, 30) if op.name == "attention"]
    assert (core.macs, core.cache) == (2 * 30 * 30 * 2 * 128, None)
    with pytest.raises(InputError, match="write phase prefill"):
        lower(model, "decode", 2, 30)


# -- layers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place, norms", [("pre", 2), ("post", 2), ("both", 4)])
def test_norms_around_the_parts(place, norms):
    parts = (("a", (Attention(8, 2, 16, True),)), ("b", (Mlp(64, True, "silu"),)))
    model = Model(
        name="two", description="", hidden=H, vocab=V, tied_embeddings=False, layers="AA", parts=parts,
        blocks=(("A", (("a", False), ("b", False))),), norm=Norm("layer", True, place),
    )  # fmt: skip
    found = [op for op in lower(model, "decode", 3, 9) if op.kind == "norm"]
    assert len(found) == 2 * norms + 1
    assert sum(op.params for op in found) == (2 * norms + 1) * 2 * H
    assert dict(model.parameters())["norm"] == (2 * norms + 1) * 2 * H
    # mean, subtract, square, mean, scale, gain, bias; and the result of each of the four parts is added once
    assert sum(op.vector for op in found) == (7 * (2 * norms + 1) + 4) * 3 * H


def test_parts_side_by_side_share_a_norm_and_a_sum():
    parts = (("a", (Attention(8, 2, 16, True),)), ("b", (Mlp(64, True, "silu"),)))
    beside, after = (
        Model(
            name="two", description="", hidden=H, vocab=V, tied_embeddings=False, layers="A", parts=parts,
            blocks=(("A", (("a", False), ("b", flag))),),
        )
        for flag in (True, False)
    )  # fmt: skip
    assert after.total - beside.total == H
    for phase in ("decode", "prefill"):
        ops = [lower(model, phase, 2, 9, parallel=Parallel(2)) for model in (beside, after)]
        assert [sum(op.link == "all_reduce" for op in each) for each in ops] == [2, 3]
        assert macs(ops[0]) == macs(ops[1])


def test_shapes_that_differ_from_layer_to_layer():
    widths = (64, 128, 32)
    model = Model(
        name="many", description="", hidden=H, vocab=V, tied_embeddings=True, layers="AAA",
        parts=(("m", tuple(Mlp(w, True, "silu") for w in widths)),), blocks=(("A", (("m", False),)),),
    )  # fmt: skip
    assert [n for name, layer, n in model.layer_parameters() if name == "mlp"] == [3 * H * w for w in widths]
    assert model.config()["parts"]["m"]["intermediate"] == list(widths)


def test_every_kind_of_part_is_tried_here():
    assert {type(part) for part in PARTS.values()} == set(KINDS.values())
