"""Published format maps: sizes and bits per element as published by the authors, layers by hand, bad keys."""

import json

import pytest

from hwsim.errors import InputError
from hwsim.formats.names import layout
from hwsim.workload import load_model
from hwsim.workload.formatmap import FormatMap, split_key
from hwsim.workload.language.presets import preset, preset_names
from hwsim.workload.op import FIXED_CLASSES, WEIGHT_CLASSES
from tests.workload.language.released import MODELS
from tests.workload.language.shapes import lower

BITS = {"bf16": 16, "fp8_e4m3": 8, "fp8_block": 8, "nvfp4": 4.5, "mxfp4_e2m1": 4.25, "fp32": 32}
NAMES = {
    "nemotron3-nano-30b-a3b": ["published-fp8", "published-nvfp4"],
    "nemotron3-super-120b-a12b": ["published-fp8", "published-nvfp4"],
    "nemotron3-ultra-550b-a55b": ["published-nvfp4"],
    "gpt-oss-120b": ["published-mxfp4"],
    "gpt-oss-20b": ["published-mxfp4"],
    "qwen3-235b-a22b": ["published-fp8"],
    "qwen3-30b-a3b-thinking-2507": ["published-fp8"],
    "qwen3-8b": ["published-fp8"],
    "qwen3-32b": ["published-fp8"],
    "qwen3-coder-480b-a35b": ["published-fp8"],
    "llama3-8b": [],
}
ALL = [(model, name) for model, names in NAMES.items() for name in names]


def format_of(weights, name, layer=-1):
    """The format of a class as a run looks it up: fixed classes have their own, others are looked up in the map."""
    return FIXED_CLASSES[name] if name in FIXED_CLASSES else FormatMap.of(weights).of_class(name, layer)


def bits(model, name, mtp=False, tables=True):
    """(bits of the checkpoint, elements)."""
    weights, rows = preset(model, name).weights, model.layer_parameters()
    rows = [r for r in rows if tables or (r[1] >= 0 and r[0] in WEIGHT_CLASSES)]
    total = sum(n * BITS[format_of(weights, kind, layer)] for kind, layer, n in rows)
    extra = model.mtp_parameters() if mtp else 0
    return total + extra * BITS[format_of(weights, "mtp")], sum(n for *_, n in rows) + extra


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    assert preset_names(load_model(name)) == NAMES[name]


@pytest.mark.parametrize(
    "released, shipped", [("gpt-oss-120b", "gpt-oss-120b"), ("qwen3-235b-a22b-fp8", "qwen3-235b-a22b")]
)
def test_a_config_json_has_the_presets_of_the_shipped_model(released, shipped, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(MODELS[released]))
    theirs = load_model(path)
    assert preset_names(theirs) == NAMES[shipped]
    assert preset(theirs, NAMES[shipped][0]) == preset(load_model(shipped), NAMES[shipped][0])
    path.write_text(json.dumps(MODELS["llama-3.1-8b"]))
    assert preset_names(load_model(path)) == []


@pytest.mark.parametrize("model, name", ALL)
def test_every_format_is_one_and_every_class_has_one(model, name):
    chosen, model = preset(load_model(model), name), load_model(model)
    for fmt in (*chosen.weights.values(), chosen.activations, chosen.kv, chosen.state):
        assert fmt is None or layout(fmt).name == fmt
    for kind, layer, _ in model.layer_parameters():
        assert format_of(chosen.weights, kind, layer) in BITS
    for key in chosen.weights:
        kind, layers = split_key(key)
        assert kind == "default" or any(
            kind == name and (layers is None or layer in layers) for name, layer, _ in model.layer_parameters()
        )
        assert layers is None or max(layers) < len(model.layers)


def test_nano_keeps_attention_and_the_mamba_layers_before_it():
    model = load_model("nemotron3-nano-30b-a3b")
    weights = preset(model, "published-fp8").weights
    kept = [4, 11, 18, 25, 32, 41]
    assert all(model.layers[i] == "M" and model.layers[i + 1] == "*" for i in kept)
    for i in (i for i, letter in enumerate(model.layers) if letter == "M"):
        wanted = "bf16" if i in kept else "fp8_e4m3"
        assert format_of(weights, "mamba_in", i) == format_of(weights, "mamba_out", i) == wanted
    assert {format_of(weights, "attention_qkv", 5), format_of(weights, "head")} == {"bf16"}
    assert {format_of(weights, kind, 1) for kind in ("experts", "shared_experts")} == {"fp8_e4m3"}
    assert format_of(weights, "router", 1) == "fp32"


@pytest.mark.parametrize(
    "name, published, unit, size",
    [
        ("nemotron3-nano-30b-a3b", "published-fp8", 1e9, 32.7),  # our own sum of the report's list
        ("gpt-oss-20b", "published-mxfp4", 2**30, 12.8),  # model card, table 1
    ],
)
def test_file_sizes(name, published, unit, size):
    total, _ = bits(load_model(name), published)
    assert round(total / 8 / unit, 1) == size


def test_ultra_is_as_large_and_as_fine_as_its_report_says():
    """5.03 bits per element, about 330 GiB, with the MTP block."""
    total, elements = bits(load_model("nemotron3-ultra-550b-a55b"), "published-nvfp4", mtp=True)
    assert round(total / elements, 2) == 5.03
    assert total / 8 / 2**30 == pytest.approx(330, rel=0.01)


def test_super_is_near_the_bits_that_its_search_aimed_for():
    """4.75 bits over the GEMMs of the layers; the choice by layer is not published; our assumption gives 4.74."""
    total, elements = bits(load_model("nemotron3-super-120b-a12b"), "published-nvfp4", tables=False)
    assert total / elements == pytest.approx(4.75, abs=0.02)


@pytest.mark.parametrize("name", [n for n in NAMES])
def test_parameters_by_layer_add_up(name):
    model = load_model(name)
    sums = dict.fromkeys(dict(model.parameters()), 0)
    for kind, _, n in model.layer_parameters():
        sums[kind] += n
    assert sums == dict(model.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES])
def test_ops_read_what_their_layer_holds(name):
    """Enough tokens that every expert is read: op by op and layer by layer the same elements."""
    model, held = load_model(name), {}
    for kind, layer, n in model.layer_parameters():
        held[kind, layer] = held.get((kind, layer), 0) + n
    read = {}
    for op in lower(model, "decode", 8192, 1):
        if op.weights:
            read[op.weights, op.layer] = read.get((op.weights, op.layer), 0) + op.weight_elements
    held["embedding", -1] = read["embedding", -1]
    assert read == held


def test_the_most_specific_key_wins():
    weights = {"default": "bf16", "mamba_in": "fp8", "mamba_in@2,3": "int8", "mlp@0": "nvfp4"}
    assert [format_of(weights, "mamba_in", i) for i in (1, 2, 3, 4)] == ["fp8", "int8", "int8", "fp8"]
    assert [format_of(weights, "mlp", i) for i in (0, 1)] == ["nvfp4", "bf16"]
    assert format_of(weights, "mamba_in") == "fp8"
    assert format_of(weights, "mlp") == format_of(weights, "head") == "bf16"
    assert {name: format_of(weights, name, 2) for name in FIXED_CLASSES} == FIXED_CLASSES


@pytest.mark.parametrize(
    "key, message",
    [
        ("expert", "unknown class 'expert'; did you mean experts?"),
        ("norm", "unknown class 'norm'"),
        ("mamba_in@", "write a class and layers counted from 0"),
        ("mamba_in@-1", "write a class and layers"),
        ("mamba_in@1,", "write a class and layers"),
        ("default@1", "write a class and layers"),
        ("zzz@1", "unknown class 'zzz'"),
    ],
)
def test_bad_keys(key, message):
    with pytest.raises(InputError) as caught:
        split_key(key)
    assert message in str(caught.value)


def test_bad_names():
    with pytest.raises(InputError, match="did you mean published-fp8?"):
        preset(load_model("nemotron3-nano-30b-a3b"), "published-fp9")
    with pytest.raises(InputError, match="llama3-8b has no presets; these models have presets: nemotron3-nano"):
        preset(load_model("llama3-8b"), "published-fp8")
    with pytest.raises(InputError, match="no `default`; write one"):
        FormatMap.of({"experts": "fp8"})
