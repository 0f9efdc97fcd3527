"""Every op kind of every model, decode and prefill, against the operator formulas written out here."""

from fractions import Fraction
from functools import cache
from math import floor

import pytest

from hwsim.errors import InputError
from hwsim.workload import load_model
from hwsim.workload.op import FIXED_CLASSES, KINDS, WEIGHT_CLASSES
from tests.workload.language.shapes import SHAPES, WINDOW, by_kind, lower, read, role, written

STEPS = [("decode", 1, 8192), ("decode", 8, 100), ("decode", 64, 127), ("decode", 3, 1), ("prefill", 1, 2048),
         ("prefill", 2, 129), ("prefill", 1, 1)]  # fmt: skip


@pytest.fixture(params=sorted(SHAPES))
def name(request):
    return request.param


@pytest.fixture(params=STEPS, ids="{0[0]} batch {0[1]} context {0[2]}".format)
def step(request):
    return request.param


def having(part):
    """The models that have this part."""
    return pytest.mark.parametrize("name", [n for n in sorted(SHAPES) if getattr(SHAPES[n], part)])


@cache
def ops_of(name, step):
    return lower(load_model(name), *step)


@cache
def case(name, step):
    """(shape, sums by kind, tokens of the step, sequences, context, prefill)."""
    phase, batch, context = step
    tokens = batch if phase == "decode" else batch * context
    return SHAPES[name], by_kind(ops_of(name, step)), tokens, batch, context, phase == "prefill"


@cache
def distinct(e, k, n):
    """Distinct experts that n tokens choose, rounded half up."""
    return min(e, max(k, floor(e * (1 - Fraction(e - k, e) ** n) + Fraction(1, 2))))


def test_which_kinds_there_are(name, step):
    s, sums, *_ = case(name, step)
    kinds = {"embedding", "norm", "head"}
    kinds |= {"attention_proj", "attention"} if s.attn else set()
    kinds |= {"mlp"} if s.mlp else set()
    kinds |= {"router", "experts"} if s.moe else set()
    kinds |= {"shared_experts"} if s.moe and s.moe[3] else set()
    kinds |= {"latent"} if s.moe and s.moe[4] else set()
    kinds |= {"mamba_proj", "conv", "ssm"} if s.ssm else set()
    assert set(sums) == kinds


def test_embedding_and_head(name, step):
    """One row of the embedding per token; logits for the last position of each sequence."""
    s, sums, tokens, batch, *_ = case(name, step)
    assert (sums["embedding"].weights, sums["embedding"].macs) == (tokens * s.h, 0)
    assert (sums["head"].weights, sums["head"].macs) == (s.v * s.h, batch * s.v * s.h)


def test_norms(name, step):
    """A gain of h before each part and the head; 2 dh QK norm; di gated norm."""
    s, sums, tokens, batch, *_ = case(name, step)
    parts = s.full + s.windowed + s.mlps + s.moes + s.mambas
    heads, dim = (s.attn[0] + s.attn[1], s.attn[2]) if s.attn else (0, 0)
    inner = s.ssm[0] * s.ssm[1] if s.ssm else 0
    weights = (parts + 1) * s.h + s.mambas * inner
    passes = (4 + 1) * (parts * tokens + batch) * s.h - tokens * s.h  # the first has no residual to add
    passes += s.mambas * tokens * inner * (4 + 4 + 1)  # silu(z), gate, norm
    if s.qk_norm:
        weights += s.full * 2 * dim
        passes += s.full * tokens * heads * dim * (4 + 3)  # norm and rotation
    assert (sums["norm"].weights, sums["norm"].macs, sums["norm"].vector) == (weights, 0, passes)


@having("attn")
def test_attention_projections(name, step):
    """Weights h dh (2 nq + 2 nkv), one MAC per weight and token; biases; rotation of q and k."""
    s, sums, tokens, *_ = case(name, step)
    (nq, nkv, dh), layers = s.attn, s.full + s.windowed
    matrix = s.h * dh * (2 * nq + 2 * nkv)
    bias = dh * (nq + 2 * nkv) + s.h if s.biased else 0
    rotated = name.startswith("nemotron") or s.qk_norm  # none, or counted with the QK norm
    passes = bias + (0 if rotated else 3 * dh * (nq + nkv))
    ours = sums["attention_proj"]
    assert (ours.weights, ours.macs) == (layers * (matrix + bias), layers * tokens * matrix)
    assert ours.vector == layers * tokens * passes


@having("attn")
def test_attention_core(name, step):
    """Decode 4 nq dh L FLOP and 2 nkv dh L cache elements; prefill causal: half the square; windows cut both."""
    s, sums, tokens, batch, context, prefill = case(name, step)
    nq, nkv, dh = s.attn
    if prefill:
        pairs = [sum(range(1, context + 1)), sum(min(i, WINDOW) for i in range(1, context + 1))]
        read, written = [0, 0], [context, min(context, WINDOW)]
    else:
        pairs = [context + 1, min(context + 1, WINDOW)]
        read, written = [context, min(context, WINDOW - 1)], [1, 1]
    layers = [s.full, s.windowed]

    def total(what):
        return batch * sum(n * w for n, w in zip(layers, what, strict=True))

    ours, sinks = sums["attention"], sum(layers) * nq if s.biased else 0
    flop = 4 * nq * dh * total(pairs)
    assert (ours.macs, ours.weights) == (flop // 2, sinks)
    assert (ours.cache_read, ours.cache_write) == (2 * nkv * dh * total(read), 2 * nkv * dh * total(written))
    assert ours.vector == 5 * nq * total(pairs) + 2 * tokens * sinks


@having("mlp")
def test_mlp(name, step):
    """Gated: three matrices h x m."""
    s, sums, tokens, *_ = case(name, step)
    ours, matrices = sums["mlp"], s.mlps * 3 * s.h * s.mlp
    assert (ours.weights, ours.macs) == (matrices, tokens * matrices)
    assert ours.vector == s.mlps * tokens * s.mlp * (4 + 1)  # silu, gate


@having("moe")
def test_experts(name, step):
    """FLOP 2 T (k g w m + g d ms + E d + 2 d l); weights: distinct experts, shared, router, latent."""
    s, sums, tokens, *_ = case(name, step)
    e, k, m, ms, latent, g = s.moe
    w = latent or s.h
    n, bias = distinct(e, k, tokens), (g - 1) * m + w if s.biased else 0
    assert sums["experts"].macs == s.moes * tokens * k * g * w * m
    assert sums["experts"].weights == s.moes * n * (g * w * m + bias)
    router = sums["router"]
    assert (router.vector_macs, router.macs) == (s.moes * tokens * e * s.h, 0)
    assert router.weights == s.moes * e * (s.h + (s.biased or bool(s.ssm)))  # a bias; Nemotron's corrects the choice
    if ms:
        assert sums["shared_experts"].weights == s.moes * g * s.h * ms
        assert sums["shared_experts"].macs == s.moes * tokens * g * s.h * ms
    if latent:
        assert sums["latent"].weights == s.moes * 2 * s.h * latent
        assert sums["latent"].macs == s.moes * tokens * 2 * s.h * latent
    activation = {2: 2, 3: 8 + 1 if s.biased else 4 + 1}[g]  # relu2; clamped silu and gate; silu and gate
    passes = tokens * k * (activation * m + 2 * w + bias)
    assert sums["experts"].vector == s.moes * passes


@having("ssm")
def test_mamba_projections(name, step):
    """h (2 di + 2 G N + H) in, di h out."""
    s, sums, tokens, *_ = case(name, step)
    heads, p, n, g, _ = s.ssm
    matrices = s.mambas * (s.h * (2 * heads * p + 2 * g * n + heads) + heads * p * s.h)
    assert (sums["mamba_proj"].weights, sums["mamba_proj"].macs) == (matrices, tokens * matrices)


@having("ssm")
def test_conv(name, step):
    """4 MACs per channel and token, taps and bias, the last three inputs as state."""
    s, sums, tokens, batch, _, prefill = case(name, step)
    heads, p, n, g, _ = s.ssm
    c, ours = heads * p + 2 * g * n, sums["conv"]
    assert (ours.weights, ours.vector_macs, ours.macs) == (s.mambas * 5 * c, s.mambas * tokens * 4 * c, 0)
    assert ours.cache_read == (0 if prefill else s.mambas * batch * 3 * c)
    assert ours.cache_write == s.mambas * batch * 3 * c


@having("ssm")
def test_state_update(name, step):
    """Decode: 5 to 6 passes of H P N, state read and written. Prefill: the chunked scan, causal inside a chunk."""
    s, sums, tokens, batch, context, prefill = case(name, step)
    heads, p, n, g, q = s.ssm
    state, ours = heads * p * n, sums["ssm"]
    assert ours.weights == s.mambas * 3 * heads
    assert ours.cache_read == (0 if prefill else s.mambas * batch * state)
    assert ours.cache_write == s.mambas * batch * state
    if not prefill:
        assert (ours.macs, ours.vector_macs) == (0, 0)
        assert 5 * state <= Fraction(ours.vector, s.mambas * tokens) <= 6 * state
        return
    pairs = sum(i % q + 1 for i in range(context))  # (q + 1)/2 per token in whole chunks: the causal half of q
    per_sequence = pairs * (n * g + p * heads) + context * 2 * n * p * heads
    assert ours.macs == s.mambas * batch * per_sequence
    chunks = sum(i % q == 0 for i in range(context))
    assert ours.vector_macs == s.mambas * batch * chunks * n * p * heads


@pytest.mark.parametrize(
    "name, published",
    [("nemotron3-nano-30b-a3b", 1.708e6), ("nemotron3-super-120b-a12b", 3.285e6),
     ("nemotron3-ultra-550b-a55b", 6.439e6), ("mamba2-2.7b", 2.657e6)],
)  # fmt: skip
def test_scan_macs_per_token(name, published):
    """Without the causal skip: Q N G + Q P H + 2 N P H + N P H / Q, published for four models."""
    heads, p, n, g, q = SHAPES[name].ssm
    full = Fraction(q * n * g + q * p * heads + 2 * n * p * heads) + Fraction(n * p * heads, q)
    assert round(float(full) / 1e6, 3) == published / 1e6
    ssm = by_kind(lower(load_model(name), "prefill", 1, 8 * q))["ssm"]
    ours = Fraction(ssm.macs + ssm.vector_macs, SHAPES[name].mambas * 8 * q)
    skipped = Fraction(q - 1, 2) * (n * g + p * heads)
    assert ours == full - skipped


def test_every_weight_is_read_once(name):
    """Enough tokens touch every expert: weights read = all parameters, except rows of the embedding."""
    model, s = load_model(name), SHAPES[name]
    tokens = 4096
    read = sum(op.weight_elements for op in lower(model, "decode", tokens, 1))
    table = 0 if model.tied_embeddings else s.v * s.h
    assert read == model.total - table + tokens * s.h


def test_one_token_reads_the_active_parameters(name):
    model, s = load_model(name), SHAPES[name]
    read = sum(op.weight_elements for op in lower(model, "decode", 1, 1))
    assert read == model.active_with_head + s.h


def test_ops_are_named_by_what_they_are(name, step):
    ops, layers = ops_of(name, step), len(load_model(name).layers)
    assert {op.kind for op in ops} <= set(KINDS)
    for op in ops:
        assert op.weights in (*WEIGHT_CLASSES, *FIXED_CLASSES, "")
        assert bool(op.weights) == bool(op.weight_elements)
        assert role(op) in (None, "kv", "ssm", "conv")
        assert bool(op.cache) == bool(read(op) + written(op))
        row = op.cache.row if op.cache else 1
        assert read(op) % row == written(op) % row == 0
        assert all(g.m > 0 and g.n > 0 and g.k > 0 and g.count > 0 for g in op.gemms)
        assert -1 <= op.layer < layers


CHAINS = [
    ("attention", "attention_out"),
    ("window_attention", "attention_out"),
    ("mlp_up", "mlp_down"),
    ("experts_up", "experts_down"),
    ("latent_down", "experts_up"),
    ("experts_down", "latent_up"),
    ("gated_norm", "mamba_out"),
    ("final_norm", "head"),
]


def test_outputs_of_an_op_are_inputs_of_the_next(name, step):
    ops = ops_of(name, step)
    for a, b in zip(ops, ops[1:], strict=False):
        if (a.name, b.name) in CHAINS:
            assert a.outputs == b.inputs, (a.name, b.name)
        if a.name == "qkv" and b.name != "qk_norm":
            assert a.outputs == b.inputs
        if b.name.endswith("_norm") and a.name in (
            "attention_out",
            "mlp_down",
            "mamba_out",
            "shared_experts_down",
        ):
            # a branch's result and the residual: 2 T h in, normed and sum out
            rows = Fraction(b.inputs, a.outputs)
            assert rows == 2 or b.name == "final_norm"
    tokens = step[1] if step[0] == "decode" else step[1] * step[2]
    assert ops[0].outputs == ops[1].inputs == tokens * SHAPES[name].h
    assert ops[-1].outputs == step[1] * SHAPES[name].v


@having("ssm")
def test_mamba_ops_take_the_parts_of_the_projection(name, step):
    """in-projection = z + conv input + dt; the scan takes the convolution's result and dt."""
    s = SHAPES[name]
    ops = [op for op in ops_of(name, step) if op.layer == 0]
    into, conv, scan, gated = (next(o for o in ops if o.name == n) for n in ("mamba_in", "conv", "ssm", "gated_norm"))
    tokens = step[1] if step[0] == "decode" else step[1] * step[2]
    z, dt = tokens * s.ssm[0] * s.ssm[1], tokens * s.ssm[0]
    assert into.outputs == z + conv.inputs + dt
    assert scan.inputs == conv.outputs + dt
    assert gated.inputs == z + scan.outputs


@having("moe")
def test_outputs_of_the_router_and_inputs_of_the_shared_expert(name, step):
    """The router: weight and number of each chosen expert. The shared expert's last matrix takes the routed sum."""
    s, _, tokens, *_ = case(name, step)
    e, k, m, ms, latent, g = s.moe
    for op in ops_of(name, step):
        if op.kind == "router":
            assert (op.inputs, op.outputs) == (tokens * s.h, 2 * tokens * k)
            assert op.vector >= tokens * e * 5
        if op.name == "shared_experts_down":
            assert (op.inputs, op.outputs) == (tokens * (ms + s.h), tokens * s.h)
            assert op.vector == tokens * s.h
        if op.name == "experts_up":
            assert (op.inputs, op.outputs) == (tokens * (latent or s.h), tokens * k * m)
        if op.name == "experts_down":
            assert (op.inputs, op.outputs) == (tokens * k * m, tokens * (latent or s.h))


def test_passes_of_the_state_and_the_scan():
    """Nano, one layer. Decode: dt 6 per head, x and D 3 per channel, 5 per state element. Prefill of 200, in chunks of
    128 and 72: 3 more per head and per channel, 3 per head and causal pair instead of those of the state.
    """
    heads, p, n, _, q = SHAPES["nemotron3-nano-30b-a3b"].ssm
    model = load_model("nemotron3-nano-30b-a3b")
    one = next(op for op in lower(model, "decode", 1, 9) if op.kind == "ssm")
    assert one.vector == 6 * heads + 3 * heads * p + 5 * heads * p * n
    prompt = next(op for op in lower(model, "prefill", 1, 200) if op.kind == "ssm")
    pairs = q * (q + 1) // 2 + 72 * 73 // 2
    assert prompt.vector == 200 * (9 * heads + 6 * heads * p) + 3 * heads * pairs


def test_windows_alternate():
    """gpt-oss: layers 0, 2, 4 ... see 128 positions, including their own."""
    ops = lower(load_model("gpt-oss-20b"), "decode", 1, 8192)
    cores = [op for op in ops if op.kind == "attention"]
    assert [read(op) for op in cores] == [1024 * 127, 1024 * 8192] * 12
    assert [op.name for op in cores] == ["window_attention", "attention"] * 12


def test_verifying_drafts_counts_every_token():
    """1 + 3 tokens per sequence: four logits, four states kept, pairs L+1 .. L+4, experts of 4 B tokens."""
    s, model = SHAPES["nemotron3-super-120b-a12b"], load_model("nemotron3-super-120b-a12b")
    sums = by_kind(lower(model, "decode", 2, 1000, tokens=4))
    heads, p, n, _, _ = s.ssm
    e, k, m, _, latent, g = s.moe
    assert sums["head"].macs == 8 * s.v * s.h
    assert sums["attention"].macs == 8 * 2 * 2 * 32 * 128 * (1001 + 1002 + 1003 + 1004)
    assert sums["attention"].cache_write == 8 * 2 * 4 * 512
    assert sums["ssm"].cache_read == 40 * 2 * heads * p * n
    assert sums["ssm"].cache_write == 4 * sums["ssm"].cache_read
    assert sums["ssm"].vector >= 40 * 8 * 5 * heads * p * n
    assert sums["experts"].weights == 40 * distinct(e, k, 8) * g * latent * m
    assert sums["experts"].macs == 40 * 8 * k * g * latent * m


@pytest.mark.parametrize("name", ["nemotron3-super-120b-a12b", "nemotron3-ultra-550b-a55b"])
def test_a_draft_step_reads_the_block_and_the_head(name):
    model, s = load_model(name), SHAPES[name]
    ops = lower(model, "draft", 1, 500)
    read = sum(op.weight_elements for op in ops)
    assert read == model.mtp_active + s.v * s.h + s.h
    fusion = next(op for op in ops if op.kind == "mtp")
    assert (fusion.weight_elements, fusion.dot_macs) == (2 * s.h * s.h, 2 * s.h * s.h)
    assert {op.weights for op in ops if op.gemms} == {"mtp", "head"}
    nq, nkv, dh = s.attn
    core = next(op for op in ops if op.kind == "attention")
    assert (core.cache.read, core.macs) == (500 * 2 * nkv * dh, 2 * nq * dh * 501)


def test_refusals():
    nano = load_model("nemotron3-nano-30b-a3b")
    with pytest.raises(InputError, match="unknown 'train'; expected decode, prefill or mixed"):
        lower(nano, "train", 1, 1)
    with pytest.raises(InputError, match="prefill verifies no draft tokens"):
        lower(nano, "prefill", 1, 8, tokens=2)
    with pytest.raises(InputError, match="no multi-token-prediction block"):
        lower(nano, "draft", 1, 1)
