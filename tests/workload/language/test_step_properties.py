"""Properties of every model, batch and context: linear in the batch, monotone in the context, prefill = decodes."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.workload import load_model, model_names
from hwsim.workload.language.parts.latent import Latent
from tests.workload.language.shapes import lower, read, role, written

SMALL = {name: replace(load_model(name), layers=load_model(name).layers[:8]) for name in model_names()}
FIELDS = ("macs", "dot_macs", "vector_macs", "inputs", "outputs")
any_model = st.sampled_from(sorted(SMALL))
phases = st.sampled_from(["decode", "prefill"])


@settings(max_examples=40, deadline=None)
@given(any_model, phases, st.integers(1, 64), st.integers(1, 3000), st.integers(2, 9))
def test_work_and_traffic_are_linear_in_the_batch(name, phase, batch, context, times):
    few, many = (lower(SMALL[name], phase, b, context) for b in (batch, batch * times))
    for a, b in zip(few, many, strict=True):
        assert (a.name, a.layer, a.kind, a.weights) == (b.name, b.layer, b.kind, b.weights)
        for field in (*FIELDS, "vector"):
            assert getattr(b, field) == times * getattr(a, field), (a.name, field)
        assert (read(b), written(b)) == (times * read(a), times * written(a))
        if a.kind not in ("experts", "embedding"):
            assert b.weight_elements == a.weight_elements  # read once, whatever the batch
        assert a.weight_elements <= b.weight_elements <= times * a.weight_elements + (a.kind == "experts")


@settings(max_examples=40, deadline=None)
@given(any_model, phases, st.integers(1, 64), st.integers(1, 3000), st.integers(1, 3000))
def test_a_longer_context_is_never_less_work(name, phase, batch, context, more):
    short, long = (lower(SMALL[name], phase, batch, c) for c in (context, context + more))
    for a, b in zip(short, long, strict=True):
        for field in (*FIELDS, "vector", "weight_elements"):
            assert getattr(a, field) <= getattr(b, field), (a.name, field)
        assert read(a) <= read(b) and written(a) <= written(b)
        if phase == "decode" and role(a) != "kv":
            assert a == b


@settings(max_examples=20, deadline=None)
@given(any_model, st.integers(1, 16), st.integers(1, 300))
def test_decoding_a_prompt_token_by_token_attends_to_the_same_pairs(name, batch, tokens):
    def cores(phase, context):
        return [op for op in lower(SMALL[name], phase, batch, context) if op.kind == "attention"]

    steps = [cores("decode", cached) for cached in range(tokens)]
    forms = [part for part in SMALL[name].shapes if isinstance(part, Latent)]
    for i, prompt in enumerate(cores("prefill", tokens)):
        macs = sum(step[i].macs for step in steps)
        if forms and prompt.name == "attention":  # on keys and values; decode works on the rows they are made from
            (p,) = forms
            assert prompt.macs * (2 * p.kv_rank + p.rope_dim) == macs * (p.nope_dim + p.rope_dim + p.v_dim)
        else:
            assert prompt.macs == macs
        assert prompt.vector == sum(step[i].vector for step in steps)


@settings(max_examples=20, deadline=None)
@given(any_model, st.integers(1, 16), st.integers(0, 3000), st.integers(2, 8))
def test_verifying_drafts_is_the_work_of_decoding_them_one_by_one(name, batch, context, tokens):
    """The same multiply-adds; weights, KV and state are read once instead of once per token."""
    one = [lower(SMALL[name], "decode", batch, context + i) for i in range(tokens)]
    for i, op in enumerate(lower(SMALL[name], "decode", batch, context, tokens=tokens)):
        assert op.dot_macs == sum(step[i].dot_macs for step in one)
        assert op.vector_macs == sum(step[i].vector_macs for step in one)
        assert written(op) == sum(written(step[i]) for step in one)
        assert read(op) <= sum(read(step[i]) for step in one)
