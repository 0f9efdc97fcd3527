"""Quantised releases: which formats their files mean, and the sizes of their checkpoints as recorded by others."""

import json
import re

import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.workload import load_model, load_model_text
from tests.workload.language.released import HF_QUANT, MODELS
from tests.workload.language.test_huggingface import LLAMA3, OSS


def expanded(entry):
    """`layers.[0-2,7].x` as released files write it: one entry per layer."""
    found = re.search(r"\[([0-9,-]+)\]", entry)
    if not found:
        return [entry]
    numbers = []
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return [entry[: found.start()] + str(n) + entry[found.end() :] for n in numbers]


def spelt(value):
    """The facts with every module by its name, and the modules of a mixed release as a mapping."""
    if isinstance(value, dict):
        made = {key: spelt(each) for key, each in value.items()}
        mixed = made.get("quantized_layers")
        if isinstance(mixed, list):
            settings = [({k: v for k, v in group.items() if k != "modules"}, group["modules"]) for group in mixed]
            made["quantized_layers"] = {name: how for how, names in settings for name in names}
        return made
    if isinstance(value, list):
        return [one for each in value for one in (expanded(each) if isinstance(each, str) else [spelt(each)])]
    return value


def load(folder, config, beside=None):
    (folder / "config.json").write_text(json.dumps(spelt(config), indent=1))
    if beside:
        (folder / "hf_quant_config.json").write_text(json.dumps(spelt(beside)))
    return load_model(folder)


def released(folder, name, **changes):
    return load(folder, MODELS[name] | changes, HF_QUANT.get(name))


FP8_BLOCK = {"embedding": "bf16", "head": "bf16", "default": "fp8_block"}
MAPS = {
    "deepseek-v3": (FP8_BLOCK, None, None),
    "kimi-k2": (FP8_BLOCK, None, None),
    "qwen3-32b-fp8": (FP8_BLOCK, None, None),
    "qwen3-235b-a22b-fp8": (FP8_BLOCK, None, None),
    "minimax-m2.5": (FP8_BLOCK, None, None),
    "kimi-k2.5": ({"experts": "int4_g32", "default": "bf16"}, "bf16", None),
    "gpt-oss-120b": ({"experts": "mxfp4_e2m1", "default": "bf16"}, "bf16", None),
    "glm-5.1-nvfp4": ({"experts": "nvfp4", "default": "bf16"}, None, "fp8_e4m3"),
    "qwen3.5-122b-a10b-nvfp4": ({"experts": "nvfp4", "default": "bf16"}, None, "fp8_e4m3"),
    "llama-3.1-70b-fp8-modelopt": ({"embedding": "bf16", "head": "bf16", "default": "fp8_e4m3"}, None, "fp8_e4m3"),
    "nemotron-3.5-lightning-nvfp4": (
        {
            "experts": "nvfp4", "shared_experts": "nvfp4", "head": "nvfp4", "mamba_in": "fp8_e4m3",
            "mamba_out": "fp8_e4m3", "default": "bf16",
        },
        None,
        "fp8_e4m3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_the_formats_of_a_release(name, tmp_path):
    found = released(tmp_path, name).checkpoint
    weights, activations, kv = MAPS[name]
    assert (dict(found.weights), found.activations, found.kv) == (weights, activations, kv)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in MAPS and n not in HF_QUANT])
def test_other_files_name_no_formats_or_the_same_ones(name, tmp_path):
    found = released(tmp_path, name).checkpoint
    assert (found is None) == ("quantization_config" not in MODELS[name])


#: Bits per element with their scales: tiles of 128 x 128, blocks of 16 or 32, groups of 32 or 128.
BITS = {"bf16": 16, "fp8_block": 8 + 32 / 16384, "nvfp4": 4.5, "mxfp4_e2m1": 4.25, "int4_g32": 4.5, "int4_g128": 4.125}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
SIZES = {
    "gpt-oss-120b": (MODELS["gpt-oss-120b"], 65_248_815_744),
    "gpt-oss-20b": (OSS | {"quantization_config": MODELS["gpt-oss-120b"]["quantization_config"]}, 13_761_264_768),
    "kimi-k2.5, text": (MODELS["kimi-k2.5"], 594_205_904_896),
    "qwen3-32b-fp8": (MODELS["qwen3-32b-fp8"], 34_322_434_048),
    "glm-5.1, bf16": (
        {k: v for k, v in MODELS["glm-5.1-nvfp4"].items() if k != "quantization_config"},
        1_507_728_316_928,
    ),
    "qwen3-235b, bf16": (
        {k: v for k, v in MODELS["qwen3-235b-a22b-fp8"].items() if k != "quantization_config"},
        470_187_269_120,
    ),
    "deepseek-v3": (MODELS["deepseek-v3"], 688_586_727_753),
    "kimi-k2": (MODELS["kimi-k2"], 1_029_173_256_720),
    "mixtral-8x7b-awq": (MODELS["mixtral-8x7b"] | {"quantization_config": AWQ}, 24.65e9),
    "minimax-m2.5": (MODELS["minimax-m2.5"], 230.0e9),
}


@pytest.mark.parametrize("name", SIZES)
def test_bytes_of_a_release_within_one_per_cent(name, tmp_path):
    config, size = SIZES[name]
    model = load(tmp_path, config)
    formats = dict(model.checkpoint.weights) if model.checkpoint else {"default": "bf16"}
    small = {"norm": 16, "router": 16, "conv": 16, "ssm": 16}  # as files store them

    def bits(weights):
        return small.get(weights) or BITS[formats.get(weights, formats["default"])]

    ours = sum(n * bits(weights) for weights, _, n in model.layer_parameters()) / 8
    ours += model.mtp_parameters() * bits("mtp") / 8 + (model.mtp_stored - model.mtp_parameters()) * 2
    assert ours == pytest.approx(size, rel=0.01)
    if not model.checkpoint:
        # the correction biases are stored in FP32; nothing else differs
        more = 2 * 256 * 76 if "glm" in name else 0
        assert ours + more == size


def test_a_run_has_the_formats_of_the_release_unless_it_names_others(tmp_path):
    model = released(tmp_path, "qwen3-32b-fp8")
    result = hwsim.run("b200", model, context=1024, engine="walk")
    assert result.config["formats"]["weights"] == FP8_BLOCK
    assert any("formats of the release (fp8)" in note for note in result.notes)
    other = hwsim.run("b200", model, context=1024, engine="walk", weights="bf16")
    assert other.config["formats"]["weights"] == "bf16"
    assert not any("release" in note for note in other.notes)
    assert other.bytes["weights"] > 1.8 * result.bytes["weights"]


def test_the_cache_of_a_release(tmp_path):
    model = released(tmp_path, "llama-3.1-70b-fp8-modelopt")
    found = hwsim.run("h200-sxm", model, context=512, engine="walk", chips=2)
    assert found.config["formats"]["kv"] == "fp8_e4m3"
    assert (
        hwsim.run("h200-sxm", model, context=512, engine="walk", chips=2, kv="bf16").config["formats"]["kv"] == "bf16"
    )


def test_groups_without_a_name_of_their_own(tmp_path):
    config = LLAMA3 | {"quantization_config": AWQ | {"group_size": 64}}
    model = load(tmp_path, config)
    assert load_model_text(json.dumps(model.config())) == model
    found = hwsim.run("h200-sxm", model, context=512, engine="walk")
    table = 128_256 * 4096  # of the embedding, one row is read; the head is in 16 bits
    expected = (model.total - 2 * table) * (4 + 16 / 64) / 8 + 2 * table
    assert found.bytes["weights"] == pytest.approx(expected, rel=1e-3)


LAYERS = {"embedding": "bf16", "head": "bf16"}


@pytest.mark.parametrize(
    "settings, weights",
    [
        ({"quant_method": "fp8", "activation_scheme": "static"}, LAYERS | {"default": "fp8_e4m3"}),
        (
            {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["model.layers.0", "model.layers.31"]},
            LAYERS
            | {
                "attention_out": "fp8_row",
                "attention_out@0,31": "bf16",
                "attention_qkv": "fp8_row",
                "attention_qkv@0,31": "bf16",
                "mlp": "fp8_row",
                "mlp@0,31": "bf16",
                "default": "fp8_row",
            },
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "ignore": ["lm_head", "re:.*self_attn.*"],
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "input_activations": {"num_bits": 8, "type": "float"},
                        "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
                    }
                },
            },
            {"mlp": "fp8_row", "default": "bf16"},
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "ignore": [],
                "config_groups": {
                    "group_0": {
                        "targets": ["re:.*down_proj", "re:.*up_proj"],
                        "weights": {"num_bits": 4, "type": "float", "group_size": 16},
                    },
                    "group_1": {
                        "targets": ["re:.*"],
                        "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
                    },
                },
            },
            {"embedding": "bf16", "mlp": "nvfp4", "default": "int8"},
        ),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, LAYERS | {"default": "int4_g128"}),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, LAYERS | {"default": "nvfp4"}),
    ],
)
def test_methods(settings, weights, tmp_path):
    assert dict(load(tmp_path, LLAMA3 | {"quantization_config": settings}).checkpoint.weights) == weights


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quant_method: bitsandbytes is not known"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "weight_block_size: [64, 64] is not modelled"),
        ({"quant_method": "awq", "bits": 3, "group_size": 128}, "bits: 3 in groups of 128 is not modelled"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, "bits: 4 in groups of -1 is not modelled"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_FANCY"}, "quant_algo: W4A8_FANCY is not known"),
        ({"quant_method": "compressed-tensors"}, "config_groups: is not a mapping"),
        ({"quant_method": "fp8", "modules_to_not_convert": 5}, "modules_to_not_convert: is not a list of names"),
        (
            {"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 3}},
            "kv_cache_scheme: {'num_bits': 3} is not modelled",
        ),
        (
            {"quant_method": "compressed-tensors", "ignore": ["re:("], "config_groups": {"a": {"weights": {}}}},
            "is not a regular expression",
        ),
        ("fp8", "is not an object"),
        ({"bits": 4}, "quant_method: None is not known"),
    ],
)
def test_what_is_not_known_is_refused(settings, message, tmp_path):
    with pytest.raises(InputError) as caught:
        load(tmp_path, LLAMA3 | {"quantization_config": settings})
    (problem,) = caught.value.problems
    assert "quantization_config" in problem
    assert message in problem


def test_two_files_that_disagree(tmp_path):
    config = MODELS["llama-3.1-70b-fp8-modelopt"] | {"quantization_config": {"quant_method": "fp8"}}
    with pytest.raises(InputError, match="names other formats than hf_quant_config.json"):
        load(tmp_path, config, HF_QUANT["llama-3.1-70b-fp8-modelopt"])


def test_a_release_that_lists_every_expert(tmp_path):
    """24,000 names, as modelopt writes them, are read in seconds."""
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.{which}_proj"
        for layer in range(78)
        for expert in range(128)
        for which in ("up", "gate", "down")
    ]
    config = MODELS["glm-5.1-nvfp4"] | {
        "quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": [*names, "lm_head"]}
    }
    found = dict(load(tmp_path, config).checkpoint.weights)
    assert found["experts"] == "bf16"
    assert found["default"] == "nvfp4"
