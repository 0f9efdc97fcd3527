"""Formats in a run: which pair is multiplied, and that every substitution is a note or an error."""

import pytest

import hwsim
from hwsim.errors import InputError

LISTED = """
dot:
  latency: 40 cycles
  rates:
    - {weights: bf16, activations: bf16, rate: 1024 MAC/cycle}
    - {weights: mxfp4, activations: mxfp8, rate: 4096 MAC/cycle}
    - {weights: mxfp4, activations: bf16, rate: 2048 MAC/cycle}
    - {weights: int8, activations: int8, rate: 2048 MAC/cycle}
    - {weights: int8, activations: mxint8, rate: 2048 MAC/cycle}
    - {weights: int8, activations: bf16, rate: 2048 MAC/cycle}
"""


@pytest.fixture
def listing(tmp_path):
    """h200-sxm with the rates above."""
    import yaml

    from hwsim.arch import arch_config, load_arch

    data = arch_config(load_arch("h200-sxm")) | {"name": "listing"} | yaml.safe_load(LISTED)
    path = tmp_path / "listing.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return str(path)


@pytest.mark.parametrize(("weights", "activations"), [("mxfp4", "mxfp8_e4m3"), ("int8", "bf16"), ("bf16", "bf16")])
def test_a_listed_pair_comes_before_dequantising(listing, weights, activations):
    """The fastest pair; of equally fast ones the one with the most activation bits."""
    result = hwsim.gemm(listing, 64, 512, 512, weights, engine="walk")
    assert result.config["formats"]["activations"] == activations
    said = [note for note in result.notes if "a pair that listing lists" in note]
    assert bool(said) == (weights != activations)
    assert "dequantise" not in result.utilization


@pytest.mark.parametrize(
    ("rates", "weights", "activations", "note"),
    [
        # An exact pair comes before one in the format of the activations, though that one is faster.
        ("bf16 bf16 1, fp8 fp8 4", "mxfp4", "fp8", "mxfp4_e2m1 x fp8_e4m3 dequantised to bf16 x bf16 (exact)"),
        # Of exact ones the fastest; only the activations change.
        (
            "bf16 bf16 1, mxfp4 mxfp8 2, mxfp8 mxfp8 1",
            "mxfp4",
            "fp8",
            "activations fp8_e4m3 converted to mxfp8_e4m3 for mxfp4_e2m1 weights (exact); it takes no time here",
        ),
        # Of equally fast ones, the one that leaves the activations as they are.
        ("bf16 bf16 1, mxfp8 mxfp8 1", "mxfp4", "mxfp8", "dequantised to mxfp8_e4m3 x mxfp8_e4m3 (exact)"),
        # Of those neither, the one that leaves the weights; else the first in the file.
        ("fp16 fp16 1, int8 bf16 1, bf16 bf16 1", "int8", "fp8", "activations fp8_e4m3 converted to bf16 for int8"),
        ("fp16 fp16 1, bf16 bf16 1", "int8", "fp8", "int8 x fp8_e4m3 dequantised to fp16 x fp16 (exact)"),
        # An underflow does not count, but of equally fast pairs the one without comes first.
        (
            "bf16 bf16 4, fp32 fp32 1",
            "bf16",
            "mxfp8",
            "converted to bf16 for bf16 weights (exact but for numbers below 2^-133)",
        ),
        (
            "bf16 bf16 1, mxfp8 mxfp8 1, mxfp8 mxint8 1",
            "fp8",
            "mxfp8",
            "fp8_e4m3 x mxfp8_e4m3 dequantised to mxfp8_e4m3 x mxfp8_e4m3 (exact)",
        ),
        (
            "bf16 bf16 1, mxfp8 mxfp8 4",
            "bf16",
            "mxfp8",
            "converted to bf16 for bf16 weights (exact but for numbers below 2^-133)",
        ),
        # Bits lost: both in the format of the activations, else in the wide one; the activations' loss counts too.
        (
            "bf16 bf16 1, fp8 fp8 1",
            "int4_g128",
            "fp8",
            "dequantised to fp8_e4m3 x fp8_e4m3 (not exact: of 14 significant",
        ),
        (
            "bf16 bf16 1",
            "int8",
            "fp32",
            "int8 x fp32 dequantised to bf16 x bf16 (not exact: of 24 significant bits, 8 fit",
        ),
        ("bf16 bf16 1", "mxfp8", "fp32", "dequantised to bf16 x bf16 (not exact: of 24 significant bits, 8 fit"),
        # The tiles of fp8_block span 128 rows; blocks of one row each do not fit, a single scale for all of them does.
        ("fp8_block fp8_block 1", "int4_g128", "fp8_block", "(not exact: 128 rows of fp8_block share their scales)"),
        (
            "fp8_block fp8_block 1",
            "fp8",
            "fp8_block",
            "fp8_e4m3 x fp8_block dequantised to fp8_block x fp8_block (exact)",
        ),
    ],
)
def test_which_pair_stands_in_for_one_that_is_not_listed(listing, tmp_path, rates, weights, activations, note):
    import yaml

    data = yaml.safe_load(open(listing))
    data["dot"]["rates"] = [
        {"weights": w, "activations": x, "rate": f"{1024 * int(rate)} MAC/cycle"}
        for w, x, rate in (pair.split() for pair in rates.split(", "))
    ]
    path = tmp_path / "pairs.yaml"
    path.write_text(yaml.safe_dump(data | {"kv": "bf16"}, sort_keys=False))
    result = hwsim.gemm(str(path), 64, 512, 512, weights, activations, engine="walk")
    assert [said for said in result.notes if note in said], result.notes
    assert ("dequantise" in result.utilization) == ("dequantised" in note or "not exact: 128" in note)
    with pytest.raises(InputError, match="no `dequantise` server"):
        path.write_text(yaml.safe_dump({k: v for k, v in data.items() if k != "dequantise"}, sort_keys=False))
        hwsim.gemm(str(path), 64, 512, 512, weights, activations)


def test_a_class_or_a_layer_that_the_model_lacks_is_an_error():
    with pytest.raises(InputError) as caught:
        hwsim.run("h200-sxm", "llama3-8b", weights={"experts": "nvfp4", "mlp@31,32": "fp8", "default": "fp8"})
    assert caught.value.problems == (
        "weights: llama3-8b has no experts; its classes: embedding, head, attention_qkv, attention_out, mlp",
        "weights: mlp@31,32: llama3-8b has no mlp in layers 32",
    )
    hwsim.run(
        "h200-sxm", "nemotron3-super-120b-a12b", weights={"mtp": "bf16", "default": "fp8"}, chips=2, engine="walk"
    )


@pytest.mark.parametrize(
    ("machine", "kv", "note"),
    [
        (
            "h200-sxm",
            "fp8",
            "kv fp8_e4m3 is converted to bf16 where it is used (exact); the conversion takes no time here",
        ),
        ("h200-sxm", "bf16", None),
        ("h100-sxm", "fp8", None),
        ("h100-sxm", "mxfp4", "kv mxfp4_e2m1 uses the 8-bit attention kernel, with its own bytes"),
    ],
)
def test_a_narrow_cache_is_noted(machine, kv, note):
    result = hwsim.run(machine, "llama3-8b", context=512, kv=kv, engine="walk")
    assert [n for n in result.notes if n.startswith("kv ")] == ([note] if note else [])


def test_a_cache_that_a_machine_can_neither_multiply_nor_convert():
    with pytest.raises(InputError, match="kv fp8_e4m3 times int8 needs a `dequantise` server"):
        hwsim.run("m0", "llama3-8b", weights="int8", kv="fp8")


def test_a_context_beyond_the_models_limit_is_noted():
    for context, said in ((8192, False), (8193, True)):
        notes = hwsim.run("h200-sxm", "llama3-8b", context=context, engine="walk").notes
        assert any("beyond the 8,192 tokens" in note for note in notes) == said


def npu(tmp_path, rates, **changes):
    """edge-mx with other pairs: `W X MACs per cycle`."""
    import yaml

    from hwsim.arch import arch_config, load_arch

    data = arch_config(load_arch("edge-mx")) | changes
    data["dot"]["rates"] = [
        {"weights": w, "activations": x, "rate": f"{rate} MAC/cycle"}
        for w, x, rate in (pair.split() for pair in rates.split(", "))
    ]
    path = tmp_path / "npu.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}, sort_keys=False))
    return str(path)


FAST_FP4 = "int8 int8 4096, mxfp4 mxfp4 16384, mxfp4 mxfp8 8192"


def test_the_pair_with_the_highest_peak_is_not_called_the_fastest_where_kernels_tell_otherwise():
    """One sequence on b200: quantising to MXFP4 by kernels of its own costs more than its dot products save."""
    times = {
        acts: hwsim.run("b200", "gpt-oss-20b", weights="mxfp4", activations=acts, context=1024, engine="walk")
        for acts in (None, "mxfp8", "bf16")
    }
    (note,) = [note for note in times[None].notes if "a pair that b200 lists" in note]
    assert times["mxfp8"].seconds < times[None].seconds < times["bf16"].seconds
    assert "fastest of" not in note and "slower" not in note and note.endswith("see --activations mxfp8_e4m3")
    again = hwsim.run("b200", "gpt-oss-20b", weights="mxfp4", activations="mxfp8_e4m3", context=1024, engine="walk")
    assert again.seconds == times["mxfp8"].seconds


@pytest.mark.parametrize(("weights", "kv"), [("fp8", "bf16"), ("fp8", "fp16"), ("bf16", "bf16")])
def test_a_wide_cache_at_the_rate_of_narrower_activations_is_noted(weights, kv):
    """The rates are those of the machine's file: 132 SMs x 4 tensor cores x 512 MACs, twice as many in 8 bits."""
    result = hwsim.run("h200-sxm", "llama3-8b", "prefill", context=256, weights=weights, kv=kv, engine="walk")
    said = [note for note in result.notes if note.startswith("attention multiplies")]
    if weights == kv:
        assert not said
        return
    (note,) = said
    assert f"fp8_e4m3 x fp8_e4m3, the pair of the activations, at {132 * 4 * 1024:,} MAC/cycle" in note
    assert f"{kv} x {kv} has {132 * 4 * 512:,} MAC/cycle" in note
    assert f"The {kv} KV cache is converted where it is used (not exact: " in note


def test_attention_multiplies_the_format_of_a_cache_that_the_activations_cannot_hold(tmp_path):
    """An FP4 pair listed beside int8 x int8 does not put an int8 cache in FP4: attention runs on the int8 units."""
    machine = npu(tmp_path, FAST_FP4, regenerate=None)
    results = {
        kv: hwsim.run(machine, "llama3-8b", weights="mxfp4", kv=kv, batch=2, context=256) for kv in ("int8", "mxfp4")
    }
    said = "attention multiplies int8 x int8, the format of the KV cache, and not that of the activations"
    assert said in results["int8"].notes and not [n for n in results["mxfp4"].notes if "attention" in n or "kv" in n]
    (chosen,) = (note for note in results["int8"].notes if "mxfp4_e2m1 weights times mxfp4_e2m1" in note)
    assert chosen.endswith("the one with the highest peak; finer, with lower peaks: mxfp8_e4m3")
    macs = 2 * 257 * 32 * 2 * 32 * 128  # sequences, positions, layers, scores and values, heads, elements per head
    rows = {kv: {row.name: row for row in result.by_op} for kv, result in results.items()}
    assert rows["int8"]["attention"].macs == macs
    spent = {kv: result.utilization["dot"] * result.cycles for kv, result in results.items()}
    slower = macs / 4096 - macs / 16384  # without what the array's tiles leave idle, alike in both
    assert spent["int8"] - spent["mxfp4"] >= slower * 0.99


@pytest.mark.parametrize(
    ("rates", "kv", "note"),
    [
        # A cache that the activations' format holds is converted, as before.
        ("bf16 bf16 4096, int8 int8 8192", "int8", "kv int8 is converted to bf16 where it is used (exact)"),
        # Neither held nor multiplied: converted with loss, and the note says what is lost.
        ("mxfp4 mxfp4 4096", "int8", "kv int8 is converted to mxfp4_e2m1 where it is used (not exact: "),
    ],
)
def test_a_cache_is_converted_where_it_must_and_the_note_says_how_exactly(tmp_path, rates, kv, note):
    weights = rates.split()[0]
    result = hwsim.run(
        npu(tmp_path, rates, regenerate=None), "llama3-8b", weights=weights, activations=weights, kv=kv, context=128
    )
    assert [said for said in result.notes if said.startswith(note)], result.notes


def test_what_the_error_on_a_cache_tells_to_write_works(tmp_path):
    machine = npu(tmp_path, "int8 mxfp4 2048, mxfp4 mxfp4 4096", regenerate=None, dequantise=None)
    with pytest.raises(InputError, match="kv mxint8 times mxfp4_e2m1 needs a `dequantise` server") as caught:
        hwsim.run(machine, "llama3-8b", weights="mxfp4", kv="mxint8", context=128)
    advice = str(caught.value).rpartition("--kv ")[2].strip()
    assert hwsim.run(machine, "llama3-8b", weights="mxfp4", kv=advice, context=128).cycles > 0
