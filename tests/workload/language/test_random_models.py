"""Random models: counts, ops and caches of any shape agree with one another."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.workload.language.model import Attention, Mamba2, Mlp, Model, Moe
from tests.workload.language.shapes import lower, role

small = st.integers(1, 9)
flag = st.booleans()


@st.composite
def models(draw):
    kv, groups = draw(small), draw(small)
    experts = draw(st.integers(1, 40))
    return Model(
        name="random",
        description="",
        hidden=draw(st.integers(1, 50)),
        vocab=draw(st.integers(1, 99)),
        tied_embeddings=draw(flag),
        layers=draw(st.text("ME*-XYxy", min_size=1, max_size=9)),
        attention=Attention(
            kv * draw(small), kv, draw(small), draw(flag), draw(flag), draw(flag), draw(flag), draw(st.integers(1, 30))
        ),  # fmt: skip
        mamba2=Mamba2(groups * draw(small), draw(small), draw(small), groups, draw(st.integers(2, 5)), draw(small)),
        mlp=Mlp(draw(small), draw(flag), "silu", draw(flag)),
        moe=Moe(
            experts,
            draw(st.integers(1, experts)),
            draw(small),
            draw(flag),
            "relu2",
            draw(st.integers(0, 9)),
            draw(st.integers(0, 9)),
            draw(flag),
        ),  # fmt: skip
        mtp=draw(st.text("ME*-XY", min_size=1, max_size=3)),
    )


@settings(max_examples=150, deadline=None)
@given(models(), st.sampled_from(["decode", "prefill"]))
def test_ops_read_every_parameter_once(model, phase):
    tokens = 20_000  # enough that every expert is touched
    ops = lower(model, phase, *((tokens, 1) if phase == "decode" else (1, tokens)))
    table = 0 if model.tied_embeddings else model.vocab * model.hidden
    assert sum(op.weight_elements for op in ops) == model.total - table + tokens * model.hidden
    assert sum(n for *_, n in model.layer_parameters()) == model.total


@settings(max_examples=150, deadline=None)
@given(models(), st.integers(0, 200))
def test_one_token_reads_the_active_parameters(model, context):
    step = sum(op.weight_elements for op in lower(model, "decode", 1, context))
    assert step == model.active_with_head + model.hidden
    draft = sum(op.weight_elements for op in lower(model, "draft", 1, context))
    assert draft == model.mtp_active + model.vocab * model.hidden + model.hidden


@settings(max_examples=150, deadline=None)
@given(models(), st.integers(1, 5), st.integers(0, 200))
def test_caches_grow_by_what_is_written(model, batch, context):
    """Decode reads the whole cache (or the window) and writes one token; prefill writes a cache."""

    def moved(ops, cache):
        ops = [op for op in ops if role(op) == cache]
        return sum(op.cache.read for op in ops), sum(op.cache.write for op in ops)

    decode = lower(model, "decode", batch, context)
    read, written = moved(decode, "kv")
    # the window includes the new token: one cached position fewer is read than is kept
    full = model.kv_elements_per_token * context
    windowed = model.count("window_attention") * model.attention.kv_width
    assert read == batch * (full + windowed * min(context, model.attention.window - 1))
    assert written == batch * (model.kv_elements_per_token + windowed)
    assert moved(decode, "ssm") == (batch * model.ssm_state_elements,) * 2
    assert moved(decode, "conv") == (batch * model.conv_state_elements,) * 2
    if context:
        prefill = lower(model, "prefill", batch, context)
        assert moved(prefill, "kv") == (0, batch * model.kv_elements(context))
        assert moved(prefill, "ssm") == (0, batch * model.ssm_state_elements)
        assert moved(prefill, "conv") == (0, batch * model.conv_state_elements)


@settings(max_examples=100, deadline=None)
@given(models(), st.integers(1, 9), st.integers(1, 60), st.sampled_from(["even", "zipf(0.7)", "zipf(2)"]))
def test_experts_multiply_every_token_k_times(model, batch, context, skew):
    ops = [op for op in lower(model, "decode", batch, context, skew=skew) if op.kind == "experts"]
    e = model.moe
    for op in ops:
        assert sum(g.count * g.m for g in op.gemms) == batch * e.top_k
        assert e.top_k <= sum(g.count for g in op.gemms) <= e.experts
        assert max(g.m for g in op.gemms) <= batch
