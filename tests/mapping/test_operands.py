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
        ("h200-sxm", "fp8", "kv fp8_e4m3 is converted to bf16 where it is used; the conversion takes no time here"),
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
