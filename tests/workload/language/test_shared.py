"""Layers that share weights, and layers found by a search."""

import json

import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.workload import load_model, load_model_text

HIDDEN, WIDTH = 64, 256
TEXT = """
name: mine
description: two sets of weights for six layers
hidden: 64
vocab: 1000
tied_embeddings: true
layers: AAAAAA
blocks:
  A: [att, mlp]
parts:
  att: {kind: attention, q_heads: 4, kv_heads: 4, head_dim: 16, rope: true, qk_norm: false, bias: false, sinks: false}
mlp: {intermediate: 256, gated: false, activation: relu2}
SHARED
"""


def model(shared: str):
    return load_model_text(TEXT.replace("SHARED", shared))


def test_a_shared_part_is_stored_as_often_as_the_file_says():
    attention, mlp = 4 * HIDDEN * HIDDEN + HIDDEN, 2 * HIDDEN * WIDTH + HIDDEN
    tables = 1000 * HIDDEN + HIDDEN
    assert model("").total == tables + 6 * (attention + mlp)
    assert model("shared: {att: 2, mlp: 1}").total == tables + 2 * attention + mlp
    assert load_model_text(json.dumps(model("shared: {att: 2}").config())) == model("shared: {att: 2}")


def test_every_use_computes_and_keeps_its_cache_but_memory_holds_one_copy(tmp_path):
    (tmp_path / "own.yaml").write_text(TEXT.replace("SHARED", ""))
    (tmp_path / "one.yaml").write_text(TEXT.replace("SHARED", "shared: {att: 1, mlp: 1}"))
    own, one = (hwsim.run("m0", str(tmp_path / f"{name}.yaml"), weights="int8", context=32) for name in ("own", "one"))
    assert (one.macs, one.cycles, one.bytes) == (own.macs, own.cycles, own.bytes)
    assert one.memory.kv == own.memory.kv
    layer = 4 * HIDDEN * HIDDEN + 2 * HIDDEN * WIDTH + 4 * 2 * HIDDEN  # int8; norms in 4 bytes
    assert own.memory.weights - one.memory.weights == pytest.approx(5 * layer, rel=0.02)


@pytest.mark.parametrize(
    "shared, message",
    [("shared: {ffn: 1}", "is no part of any layer"), ("shared: {att: 7}", "is stored 7 times for 6 layers")],
)
def test_wrong_sharing_is_told(shared, message):
    with pytest.raises(InputError, match=message):
        model(shared)


def searched(**changed):
    """A config.json of five layers: of full size, without attention, without MLP, empty, with more heads."""

    def half(name, number, value, no_op=False):
        return {name: {number: value, "no_op": no_op, "replace_with_linear": False}}

    def attention(group):
        return half("attention", "n_heads_in_group", group, group is None)

    def ffn(mult):
        return half("ffn", "ffn_mult", mult, mult is None)

    shapes = ((8, 2.625), (None, 1.3125), (16, None), (None, None), (4, 5.25))
    return {
        "architectures": ["DeciLMForCausalLM"], "model_type": "nemotron-nas", "hidden_size": 8192,
        "num_attention_heads": 64, "num_hidden_layers": 5, "vocab_size": 128256, "hidden_act": "silu",
        "block_configs": [attention(group) | ffn(mult) for group, mult in shapes],
        "num_key_value_heads": None, "intermediate_size": None, "tie_word_embeddings": False,
    } | changed  # fmt: skip


def test_layers_found_by_a_search_have_their_own_shapes(tmp_path):
    """Widths: two thirds of a multiple of 8192, rounded up to 256."""
    (tmp_path / "config.json").write_text(json.dumps(searched()))
    h, found = 8192, load_model(tmp_path / "config.json")
    attention = sum(h * 128 * (64 + 2 * kv) + 64 * 128 * h + h for kv in (8, 4, 16))
    mlp = sum(3 * h * width + h for width in (14336, 7168, 28672))
    assert found.total == 2 * 128256 * h + h + attention + mlp
    assert found.kv_elements_per_token == 2 * 128 * (8 + 4 + 16)


def test_a_matrix_in_the_place_of_a_part_is_refused(tmp_path):
    config = searched()
    config["block_configs"][1]["attention"] |= {"no_op": False, "replace_with_linear": True}
    (tmp_path / "config.json").write_text(json.dumps(config, indent=1))
    with pytest.raises(InputError, match="has linear, which this family has not; known: attention, none"):
        load_model(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps(searched(block_configs=[{}] * 5)))
    with pytest.raises(InputError, match="block_configs: does not say what every layer is"):
        load_model(tmp_path / "config.json")
