"""Serving: integration, acceptance, memory and steady state against independent arithmetic."""

import time
from dataclasses import replace
from fractions import Fraction

import pytest

from hwsim.arch.stack import ServingStack
from hwsim.errors import InputError
from hwsim.jobs.run import run
from hwsim.jobs.serve import Deployment, Request, simpson
from hwsim.report.serving import served_text

NANO = Request("nemotron3-nano-30b-a3b", 8192, 16384, "published-fp8", stack="none")


def test_simpson_is_exact_for_cubics():
    values = [Fraction(x**3 - 2 * x + 1) for x in range(9)]
    exact = (Fraction(8**4, 4) - 64 + 8) / 8
    assert simpson(values) == pytest.approx(float(exact), rel=1e-12)
    with pytest.raises(ValueError):
        simpson([1, 2])


def test_acceptance_by_position():
    drafting = Request("nemotron3-super-120b-a12b", 100, 100, "fp8", drafts=3, acceptance=(0.9, 0.5, 0.2))
    assert Deployment("b200", drafting).tokens_per_step == pytest.approx(1 + 0.9 + 0.45 + 0.09)


def test_drafts_cost_time_but_less_than_steps():
    """Verifying four tokens reads more experts than one, and fewer than four steps read."""
    plain = Request("nemotron3-super-120b-a12b", 1000, 100, "fp8", stack="none")
    drafted = Request("nemotron3-super-120b-a12b", 1000, 100, "fp8", drafts=3, acceptance=(1, 1, 1), stack="none")
    one, four = (Deployment("b200", r).seconds("decode", 1, 1000) for r in (plain, drafted))
    assert one < four < 4 * one


def test_the_largest_batch_fits_and_one_more_does_not():
    server = Deployment("h200-sxm-trtllm", NANO)
    most = server.batch_by_memory

    def used(batch):
        m = server.memory(batch)
        return m.weights + m.kv + m.state + m.activations

    assert used(most) <= 0.9 * 141e9 < used(most + 1)


def test_kept_windows_cost_memory_but_no_traffic():
    freed = Request("gpt-oss-20b", 1024, 8192, "published-mxfp4", stack="none")
    one, two = (Deployment("h200-sxm-trtllm", r) for r in (freed, replace(freed, keep_windows=True)))
    each = 9215 * 12 * 2 * 8 * 64 * 2  # twelve window layers, bf16; the last output token is never cached
    window = 128 * 12 * 2 * 8 * 64 * 2
    assert two.memory(1).kv - one.memory(1).kv == each - window
    assert two.seconds("decode", 8, 4096) == one.seconds("decode", 8, 4096)
    assert two.batch_by_memory < 0.6 * one.batch_by_memory


def test_steady_state_is_steps_and_prefills():
    found = Deployment("h200-sxm-trtllm", NANO).serve(64)
    ends = [
        run("h200-sxm-trtllm", NANO.model, "decode", 64, c, NANO.weights, engine="walk").seconds for c in (8192, 24574)
    ]
    assert ends[0] < found.step_seconds < ends[1]
    assert found.step_error_seconds < 0.001 * found.step_seconds
    prefill = run("h200-sxm-trtllm", NANO.model, "prefill", 1, 8192, NANO.weights, engine="walk").seconds
    answer = 16383 * found.step_seconds + 64 * prefill
    assert found.tokens_per_second_per_user == pytest.approx(16384 / answer, rel=1e-3)
    assert found.tokens_per_second_per_chip == pytest.approx(64 * 16384 / answer, rel=1e-3)


def test_energy_per_token_is_that_of_its_steps_and_its_share_of_the_prompt():
    """Term by term; a term without a source is null and says what is missing."""
    request = Request("mamba2-1.3b", 512, 2, "int8", stack="none")
    found = Deployment("tpu-v4i", request).serve(2)
    step, prompt = (
        run("tpu-v4i", "mamba2-1.3b", phase, 2, 512, "int8", engine="walk") for phase in ("decode", "prefill")
    )
    terms = {t.name: t.value for t in step.cost.energy}
    prompts = {t.name: t.value for t in prompt.cost.energy}
    for term in found.energy:
        parts = terms[term.name], prompts[term.name]
        # two prompts and one decode step of both sequences make four output tokens
        assert term.value == (None if None in parts else pytest.approx(sum(parts) / 4))
    assert sum(term.value is not None for term in found.energy) > 2
    assert (found.energy_joules_per_token is None) == any(t.value is None for t in found.energy)
    assert {t.name for t in found.energy} == {*terms, *prompts}
    gpu = Deployment("h200-sxm-trtllm", NANO).serve(1)
    assert gpu.energy_joules_per_token is None and "no public energy of HBM3" in gpu.energy[0].source
    short, long = (served_text(gpu, energy).splitlines() for energy in (False, True))
    (line,) = (line for line in short if line not in long)  # the one that names the option
    assert line.endswith("(--energy)") and line.split()[0] == "energy" and "no figure for dram" in line
    for term in gpu.energy:
        assert any(term.source in line for line in long) and not any(term.source in line for line in short)


def test_quantising_of_its_own_is_noted_unless_the_stack_fuses_it():
    """The microseconds of the note are what fusing takes off each GEMM with static scales; `run` has none of it."""
    request = Request("llama3-8b", 256, 2, "fp8", stack=ServingStack("mine", "own"))
    own = Deployment("h100-sxm", request).serve(1)
    fused = Deployment("h100-sxm", replace(request, stack=ServingStack("mine", "fused"))).serve(1)
    alone = run("h100-sxm", "llama3-8b", context=256, weights="fp8", engine="walk")
    (said,) = (note for note in own.notes if "quantising by kernels of its own" in note)
    assert said in alone.notes and said not in fused.notes
    seconds = float(said.split(", ")[1].split()[0]) * 1e-6
    gemms = 32 * 4 + 1  # per layer q k v, output, gate and up, down; the head
    assert own.step_seconds - fused.step_seconds == pytest.approx(gemms * seconds, rel=2e-3)


def test_how_the_time_is_known():
    """The shares of `run`, of prompts alone and of prompts and steps; and the notes on its kernels."""
    for osl in (1, 2):
        found = Deployment("b200", Request("llama3-8b", 1024, osl, "mxfp4", stack="none")).serve(1)
        steps = [run("b200", "llama3-8b", phase, 1, 1024, "mxfp4", engine="walk") for phase in ("prefill", "decode")]
        steps = steps[:osl]
        assert {m for step in steps for m, share in step.provenance.items() if share} == {
            "transferred",
            "measured",
            "ideal",
        }
        for mark, share in found.provenance.items():
            seconds = sum(step.seconds * step.provenance[mark] for step in steps)
            assert share == pytest.approx(seconds / sum(step.seconds for step in steps), rel=1e-4)
        said = [note for step in steps for note in step.notes if "was not measured" in note]
        assert said and set(said) <= set(found.notes)
        assert "% transferred" in served_text(found)


def test_the_prefill_makes_the_first_token():
    """One output token needs the prefill alone; each further one a decode step."""
    one, three = (
        Deployment("h100-sxm", Request("llama3-8b", 1024, osl, "fp8", stack="none")).serve(1) for osl in (1, 3)
    )
    prefill, first, second = (
        run("h100-sxm", "llama3-8b", phase, 1, c, "fp8", engine="walk").seconds
        for phase, c in (("prefill", 1024), ("decode", 1024), ("decode", 1025))
    )
    assert one.time_to_first_token == three.time_to_first_token == pytest.approx(prefill)
    assert one.tokens_per_second_per_user == pytest.approx(1 / prefill)
    assert three.tokens_per_second_per_user == pytest.approx(3 / (prefill + first + second), rel=1e-6)


def test_a_user_waits_for_a_step_and_for_the_prompts_of_the_others():
    """With the first token from its own prefill, the tokens of a request take all the time that its rate says."""
    found = Deployment("h100-sxm", Request("llama3-8b", 1024, 257, "bf16")).serve(8)
    waited = found.step_seconds + 7 * found.prefill_seconds / 256
    assert found.time_per_output_token == pytest.approx(waited, rel=1e-12)
    whole = found.prefill_seconds + 256 * found.time_per_output_token
    assert found.tokens_per_second_per_user == pytest.approx(257 / whole, rel=1e-12)
    alone = Deployment("h100-sxm", Request("llama3-8b", 1024, 257, "bf16")).serve(1)
    assert alone.time_per_output_token == pytest.approx(alone.step_seconds, rel=1e-12)
    one = Deployment("h100-sxm", Request("llama3-8b", 1024, 1, "bf16")).serve(8)
    assert one.time_per_output_token is None and "one output token" in served_text(one)


def test_first_tokens_are_said_to_be_without_a_queue():
    found = Deployment("h100-sxm", Request("llama3-8b", 128, 8)).serve(2)
    assert "without queueing" in served_text(found)
    assert "time_to_first_token: without queueing" in found.to_dict()["notes"]


def test_a_stack_adds_its_times_to_steps_and_prefills():
    bare, with_ = (
        Deployment("h100-sxm", Request("llama3-8b", 1024, 512, stack=stack)).serve(16)
        for stack in ("none", ServingStack("mine", "own", 1e-3, 1e-5, 1e-6))
    )
    layers = 32 * 1e-6
    assert with_.step_seconds - bare.step_seconds == pytest.approx(1e-3 + 16 * 1e-5 + layers)
    # eight prompts of 1,024 tokens are computed together
    assert with_.prefill_seconds - bare.prefill_seconds == pytest.approx((1e-3 + layers) / 8)


def test_a_batch_that_does_not_fit_is_served_in_part_and_said():
    server = Deployment("h100-sxm", Request("llama3-8b", 4096, 4096))
    most = server.batch_by_memory
    found = server.serve(most + 5)
    assert found.batch == most
    assert (
        found.notes[0]
        == f"batch {most + 5} requested, only {most} sequences fit: {most} are served, the others would wait"
    )
    assert not Deployment("h100-sxm", Request("llama3-8b", 4096, 4096)).serve(most).notes


def test_a_stack_that_keeps_windows_says_so_and_an_option_overrules_it():
    request = Request("gpt-oss-20b", 1024, 8192, "published-mxfp4", stack="trtllm")
    kept, freed, dense = (
        Deployment("h200-sxm-trtllm", r)
        for r in (request, replace(request, keep_windows=False), replace(request, model="llama3-8b", weights="bf16"))
    )
    assert kept.batch_by_memory < freed.batch_by_memory
    assert any("rule of stack trtllm" in note for note in kept.serve(4).notes)
    assert not any("window" in note for server in (freed, dense) for note in server.serve(4).notes)


def test_what_a_step_substitutes_is_said():
    found = Deployment("h100-sxm", Request("gpt-oss-20b", 1024, 64, "published-mxfp4", stack="none")).serve(4)
    step = run("h100-sxm", "gpt-oss-20b", "decode", 4, 1024, "published-mxfp4", engine="walk")
    converted = [note for note in step.notes if "dequantised" in note]
    assert converted and set(converted) <= set(found.notes)


def test_sequences_divided_over_chips_fill_the_memory_of_each():
    request = Request("gpt-oss-20b", 1024, 1024, "published-mxfp4", chips=4, parallel="data+expert")
    served = Deployment("b200", request)
    most = served.batch_by_memory
    assert most % 4 == 0 and served.memory(most).total <= 0.9 * served.memory(1).capacity
    assert served.memory(most + 4).total > 0.9 * served.memory(1).capacity
    assert served.serve(8).tokens_per_second_per_chip > 0


def test_one_point_takes_under_five_cpu_seconds():
    start = time.process_time()
    Deployment("h200-sxm-trtllm", NANO).serve()
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "request_, message",
    [
        (Request("llama3-8b", 0, 10), "isl, osl"),
        (Request("llama3-8b", 10, 10, stack="trtlm"), "unknown stack trtlm; did you mean trtllm?"),
        (Request("nemotron3-super-120b-a12b", 10, 10, drafts=2, acceptance=(0.5,)), "write 2 probabilities"),
        (Request("nemotron3-ultra-550b-a55b", 10, 10, "fp8"), "does not fit"),
    ],
)
def test_refused(request_, message):
    with pytest.raises(InputError, match=message):
        Deployment("h200-sxm-trtllm", request_).serve()
