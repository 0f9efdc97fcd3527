"""How a time is known, and what it is spent on: marks, causes, and formats that no table holds."""

import pytest

from hwsim.arch import load_arch
from hwsim.formats.names import layout
from hwsim.jobs.kernels import attention, convolution, experts
from hwsim.jobs.run import gemm, run
from hwsim.mapping.gpu.kernels import CAUSES, Kernel, Wave
from hwsim.measured.predict import only_family

SHAPES = ((1, 4096, 4096), (16, 8192, 8192), (256, 4096, 14336), (4096, 6144, 4096), (8192, 128, 64))


def test_causes_of_a_wave_by_hand():
    """Compute 4 with a quarter idle, read 2 of which half shows, result 1, store 1; then a sum of 3, launch 5."""
    kernel = Kernel(5.0, (Wave(2, 2.0, 4.0, 1.0, 1.0, 0.5, 0.25), Wave(1, 0.0, 3.0, 0.0, 0.0, cause="reduction")))
    assert kernel.causes == {"launch": 5, "memory": 2 * 2, "compute": 2 * 4, "partial_wave": 2 * 1, "reduction": 3}
    assert sum(kernel.causes.values()) == kernel.seconds
    read = Wave(1, 4.0, 2.0, 1.0, 1.0, 0.5, 0.25)
    assert read.causes == {"memory": 5, "compute": 2} and sum(read.causes.values()) == read.seconds


@pytest.mark.parametrize("name", ["a100-sxm", "h100-sxm", "b200", "h200-sxm-trtllm", "rtx4090"])
def test_causes_and_marks_make_the_whole_of_a_run(name):
    for phase, batch, context in (("decode", 4, 2048), ("prefill", 2, 1000)):
        result = run(name, "nemotron3-nano-30b-a3b", phase, batch, context, "bf16", engine="walk")
        assert list(result.stalls) == list(CAUSES) and sum(result.stalls.values()) == result.cycles
        assert result.stalls["launch"] > 0 and result.stalls["memory"] > 0
        assert sum(result.provenance.values()) == pytest.approx(1)


def test_machines_say_how_their_times_are_known():
    own = gemm("h100-sxm", 64, 4096, 4096, engine="walk")
    assert own.provenance["measured"] == 1 and not own.notes
    other = gemm("h200-sxm-trtllm", 64, 4096, 4096, engine="walk")
    assert other.provenance["transferred"] == 1
    assert any(
        "measured on h100-sxm, by the data sheets, +-6 % (an estimate in the machine's file)" in note
        for note in other.notes
    )
    moved = gemm(load_arch("h100-sxm", [("dram.bandwidth", "4 TB/s")]), 64, 4096, 4096, engine="walk")
    assert moved.provenance["transferred"] == 1 and any(
        "another dram, +-6 % (an estimate for all machines)" in note for note in moved.notes
    )
    linked = load_arch("h100-sxm", [("link.bandwidth", "900 GB/s")])  # no GEMM uses it
    assert gemm(linked, 64, 4096, 4096, engine="walk").provenance["measured"] == 1
    assert gemm("m0", 64, 4096, 4096, "int8").provenance == {"measured": 0, "transferred": 0, "ideal": 1}
    assert gemm("gemv-engine", 1, 64, 64, "seedlm4").provenance == {"rtl": 1}


@pytest.mark.parametrize("name", ["h100-sxm", "b200", "rtx4090"])
def test_nothing_is_said_twice_in_the_notes_of_a_changed_machine(name):
    """GEMMs of a family that quantises and attention share a note; no sentence of one note is in another."""
    arch = load_arch(name, [("dram.bandwidth", "6.7 TB/s")])
    notes = run(arch, "llama3-8b", "decode", 8, 1024, "fp8", engine="walk").notes
    said = [part for note in notes for part in note.split("; ")]
    assert len(said) == len(set(said))
    assert len([note for note in notes if "quantising by kernels of its own" in note]) == 1


@pytest.mark.parametrize("name", ["a100-sxm", "mi210", "rtx4090", "rtx-pro-6000"])
def test_prefill_attention_is_never_free(name):
    """At least the multiply-adds of half the square at the chip's peak, on machines whose table holds no attention."""
    arch = load_arch(name)
    for tokens in (8192, 32768, 131072):
        result = attention(arch, "prefill", 1, tokens)
        least = 2 * 32 * 128 * tokens * tokens / 2 / float(arch.dot.rate("bf16", "bf16") * arch.clock_hz)
        assert least < result.seconds < 4 * least
        assert result.provenance["transferred"] == 1 and any("kernels of h100-sxm" in n for n in result.notes)


def times(arch, weights, activations=None):
    return [gemm(arch, *shape, weights, activations, engine="walk").seconds for shape in SHAPES]


@pytest.mark.parametrize(
    "name, family, weights, activations",
    [
        ("b200", "fp8_block", "mxfp8", "mxfp8"),
        ("b200", "fp8_block", "mxfp6", "mxfp6"),
        ("b200", "fp8_block", "mxfp4", "mxfp8"),
        ("b200", "nvfp4", "mxfp4", "mxfp4"),
        ("h100-sxm", "fp8", "int8", "int8"),
        ("b200", "bfloat16", "fp16", "fp16"),
    ],
)
def test_no_format_beats_the_measured_one_of_its_path_but_by_its_bytes(name, family, weights, activations):
    arch = load_arch(name)
    path = arch.cores.named(family)
    measured = times(only_family(arch, family), path.weights, path.activations)
    found = times(arch, weights, activations)
    wide = [float(layout(f).bits_per_value) for f in (path.weights, weights)]
    for here, there in zip(found, measured, strict=True):
        assert here >= there * min(1.0, wide[1] / wide[0]) - 2e-9


@pytest.mark.parametrize("name", ["h100-sxm", "b200"])
@pytest.mark.parametrize("weights", ["int4_g128", "mxfp4", "seedlm4"])
def test_weights_below_16_bits_never_gain_by_a_missing_launch(name, weights):
    """Against bf16 at the same shape: no faster than the bytes say, and slower where the shape is small."""
    if weights == "seedlm4":
        with pytest.raises(Exception, match="regenerate"):
            gemm(name, 1, 64, 64, weights, engine="walk")
        return
    ratio = float(layout(weights).bits_per_value) / 16
    for here, there in zip(times(name, weights, "bf16"), times(name, "bf16"), strict=True):
        assert here >= ratio * there
    small = [gemm(name, 1, 512, 512, w, "bf16", engine="walk").seconds for w in (weights, "bf16")]
    assert small[0] > small[1]


def test_few_tokens_take_the_min_latency_kernels_up_to_128():
    layer = dict(hidden=2048, intermediate=768, top_k=8, experts=128, weights="nvfp4")
    for tokens, name in ((1, "nvfp4_min_latency"), (128, "nvfp4_min_latency"), (129, "nvfp4"), (1024, "nvfp4")):
        chosen = experts("b200", tokens, **layer).seconds
        assert chosen == experts("b200", tokens, **layer, kernel=name).seconds


def test_a_convolution_finds_its_state_in_l2_only_where_it_is_repeated():
    cold, warm = (convolution("h100-sxm", "decode", 256, channels=6144, warm=w).seconds for w in (False, True))
    assert warm < cold
    alone, model = (gemm("h100-sxm", 1, 2048, 2048, warm=w).seconds for w in (True, False))
    assert alone < model


def test_caches_below_8_bits_are_not_called_measured():
    result = attention("h100-sxm", "decode", 8, 4096, kv="mxfp4")
    assert result.provenance["transferred"] == 1 and any("no such kernel was measured" in n for n in result.notes)
