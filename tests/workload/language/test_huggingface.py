"""Hugging Face configurations: the shape of each architecture, and the errors for files that cannot be read."""

import json

import pytest

from hwsim.errors import InputError
from hwsim.workload import load_model

# Keys as in the released config.json files, without those that do not concern the shape.
NANO = {
    "architectures": ["NemotronHForCausalLM"],
    "attention_bias": False,
    "chunk_size": 128,
    "conv_kernel": 4,
    "expand": 2,
    "head_dim": 128,
    "hidden_size": 2688,
    "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    "intermediate_size": 1856,
    "mamba_head_dim": 64,
    "mamba_num_heads": 64,
    "mamba_proj_bias": False,
    "mlp_hidden_act": "relu2",
    "model_type": "nemotron_h",
    "moe_intermediate_size": 1856,
    "moe_latent_size": None,
    "moe_shared_expert_intermediate_size": 3712,
    "n_groups": 8,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "num_attention_heads": 32,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 52,
    "num_key_value_heads": 2,
    "rope_theta": 10000,
    "ssm_state_size": 128,
    "tie_word_embeddings": False,
    "use_bias": False,
    "use_conv_bias": True,
    "vocab_size": 131072,
}
SUPER = NANO | {
    "hidden_size": 4096,
    "hybrid_override_pattern": "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*"
    "EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME",
    "mamba_num_heads": 128,
    "moe_intermediate_size": 2688,
    "moe_latent_size": 1024,
    "moe_shared_expert_intermediate_size": 5376,
    "mtp_hybrid_override_pattern": "*E",
    "n_routed_experts": 512,
    "num_experts_per_tok": 22,
    "num_hidden_layers": 88,
    "num_nextn_predict_layers": 1,
}
ULTRA = SUPER | {
    "hidden_size": 8192,
    "hybrid_override_pattern": "MEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*"
    "EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*"
    "EMEMEMEM*EMEMEMEME",
    "mamba_num_heads": 256,
    "moe_intermediate_size": 5120,
    "moe_latent_size": 2048,
    "moe_shared_expert_intermediate_size": 10240,
    "num_attention_heads": 64,
    "num_hidden_layers": 108,
}
NAMES_OF = {"M": "mamba", "E": "moe", "*": "attention"}
NANO_LISTED = {k: v for k, v in NANO.items() if k != "hybrid_override_pattern"} | {
    "layers_block_type": [NAMES_OF[c] for c in NANO["hybrid_override_pattern"]]
}
LLAMA2 = {
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "model_type": "llama",
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "vocab_size": 128256,
}
LLAMA3_70B = LLAMA3 | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
}
LLAMA2_70B = LLAMA3_70B | {"vocab_size": 32000}
QWEN = {
    "model_type": "qwen3_moe",
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
OSS = {
    "model_type": "gpt_oss",
    "attention_bias": True,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "vocab_size": 201088,
}
OSS_DEFAULT = {k: v for k, v in OSS.items() if k not in ("layer_types", "attention_bias", "experts_per_token")}
MAMBA = {
    "model_type": "mamba2",
    "chunk_size": 256,
    "conv_kernel": 4,
    "expand": 2,
    "head_dim": 64,
    "hidden_size": 2560,
    "n_groups": 1,
    "num_heads": 80,
    "num_hidden_layers": 64,
    "state_size": 128,
    "tie_word_embeddings": True,
    "use_bias": False,
    "use_conv_bias": True,
    "vocab_size": 50288,
}
STATE_SPACES = {
    "attn_cfg": {},
    "attn_layer_idx": [],
    "d_intermediate": 0,
    "d_model": 2048,
    "n_layer": 48,
    "pad_vocab_size_multiple": 16,
    "rms_norm": True,
    "ssm_cfg": {"layer": "Mamba2"},
    "tie_embeddings": True,
    "vocab_size": 50277,
}

CASES = {
    "nano": (NANO, "nemotron3-nano-30b-a3b"),
    "nano-listed": (NANO_LISTED, "nemotron3-nano-30b-a3b"),
    "super": (SUPER, "nemotron3-super-120b-a12b"),
    "ultra": (ULTRA, "nemotron3-ultra-550b-a55b"),
    "llama2": (LLAMA2, "llama2-7b"),
    "llama2-70b": (LLAMA2_70B, "llama2-70b"),
    "llama3": (LLAMA3, "llama3-8b"),
    "llama3-70b": (LLAMA3_70B, "llama3-70b"),
    "qwen": (QWEN, "qwen3-30b-a3b-thinking-2507"),
    "oss": (OSS, "gpt-oss-20b"),
    "oss-default": (OSS_DEFAULT, "gpt-oss-20b"),
    "mamba": (MAMBA, "mamba2-2.7b"),
    "state-spaces": (STATE_SPACES, "mamba2-1.3b"),
}

SHAPE = ("hidden", "vocab", "tied_embeddings", "layers", "attention", "mamba2", "mlp", "moe", "mtp")


def written(folder, config):
    path = folder / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config, indent=2))
    return path


def problems(folder, config):
    with pytest.raises(InputError) as caught:
        load_model(written(folder, config))
    return [p.removeprefix(str(folder / "config.json")) for p in caught.value.problems]


@pytest.mark.parametrize("case", CASES)
def test_the_shape_is_that_of_the_shipped_model(case, tmp_path):
    config, name = CASES[case]
    ours, shipped = load_model(written(tmp_path, config)), load_model(name)
    for field in SHAPE:
        assert getattr(ours, field) == getattr(shipped, field), field


def test_the_folder_names_the_model(tmp_path):
    folder = tmp_path / "Meta-Llama 3"
    folder.mkdir()
    written(folder, LLAMA3)
    assert load_model(folder).name == load_model(str(folder)).name == "meta-llama-3"
    assert load_model(str(folder / "config.json")).name == "meta-llama-3"


def test_dense_layers_among_the_experts(tmp_path):
    config = QWEN | {"num_hidden_layers": 6, "mlp_only_layers": [1], "decoder_sparse_step": 2}
    model = load_model(written(tmp_path, config))
    assert model.layers == "XXXYXY"
    assert model.mlp.intermediate == 6144


def test_newer_names_of_the_nemotron_layers(tmp_path):
    config = NANO_LISTED | {
        "num_hidden_layers": 3,
        "layers_block_type": ["linear_attention", "moe", "full_attention"],
        "num_nextn_predict_layers": 1,
        "mtp_layers_block_type": ["full_attention", "moe"],
    }
    model = load_model(written(tmp_path, config))
    assert (model.layers, model.mtp) == ("ME*", "*E")


def test_the_default_prediction_block_has_attention_and_experts(tmp_path):
    config = {k: v for k, v in SUPER.items() if k != "mtp_hybrid_override_pattern"}
    assert load_model(written(tmp_path, config)).mtp == "*E"
    assert load_model(written(tmp_path, config | {"num_nextn_predict_layers": 0})).mtp == ""
    only_mamba = load_model(written(tmp_path, SUPER | {"hybrid_override_pattern": "MM", "num_hidden_layers": 2}))
    assert (only_mamba.moe.latent, only_mamba.attention.q_heads) == (1024, 32)


def test_an_unknown_architecture_is_refused_without_a_guess_from_its_spelling(tmp_path):
    (problem,) = problems(tmp_path, {"model_type": "qwen4", "hidden_size": 64, "kv_lora_rank": 5})
    assert problem.startswith(":2:3: model_type: unknown architecture qwen4; known: ")
    assert "did you mean" not in problem
    (alike,) = problems(tmp_path, LLAMA3 | {"model_type": "yi"})
    assert "every key is one that a" in alike
    for slip, meant in (("mixtrall", "mixtral"), ("deepsek_v3", "deepseek_v3"), ("qwen3_mo", "qwen3_moe")):
        assert (
            f"unknown architecture {slip}; did you mean {meant}?"
            in problems(tmp_path, LLAMA3 | {"model_type": slip})[0]
        )
    for newer in ("qwen4", "llama5", "deepseek_v4", "qwen4_moe", "yi"):
        assert "did you mean" not in problems(tmp_path, LLAMA3 | {"model_type": newer})[0]
    (missing,) = problems(tmp_path, {"hidden_size": 5})
    assert missing.startswith(":1:1: model_type: missing; known: ")


def test_a_pattern_as_long_as_the_model(tmp_path):
    (problem,) = problems(tmp_path, NANO | {"num_hidden_layers": 51})
    assert "hybrid_override_pattern: has 52 letters for 51 layers" in problem
    (missing,) = problems(tmp_path, {k: v for k, v in NANO.items() if k != "hybrid_override_pattern"})
    assert "hybrid_override_pattern: missing" in missing


def test_all_problems_at_their_places(tmp_path):
    config = {k: v for k, v in LLAMA3.items() if k != "vocab_size"} | {"hidden_act": "gelu", "hidden_size": "wide"}
    found = problems(tmp_path, config)
    place = ":" + str(list(config).index("hidden_act") + 2) + ":3: hidden_act: "
    assert any(p.startswith(place) for p in found)
    assert any("vocab_size: missing" in p for p in found)
    assert any("hidden_size: is text; write the number of the model" in p for p in found)


@pytest.mark.parametrize(
    "value, message",
    [
        (-4096, "hidden_size: is negative; write the number of the model, which is positive"),
        ("4096", "hidden_size: is text; write the number of the model, without quotes"),
        (10**12, "hidden_size: is more than 10^9; write"),
        (4096.5, "hidden_size: is not a whole number; write"),
        (True, "hidden_size: is not a whole number; write"),
    ],
)
def test_a_size_that_counts_nothing_is_told_why(tmp_path, value, message):
    found = problems(tmp_path, LLAMA3 | {"hidden_size": value})
    assert [p for p in found if message in p] and not [p for p in found if "hidden_size" in p and message not in p]


def test_contradictions_are_found_at_the_json_key(tmp_path):
    (problem,) = problems(tmp_path, NANO | {"num_experts_per_tok": 200})
    lines = (tmp_path / "config.json").read_text().splitlines()
    line = lines.index('  "num_experts_per_tok": 200,') + 1
    assert problem.startswith(f":{line}:3: moe.top_k: is more than the 128 experts")


@pytest.mark.parametrize(
    "key, value",
    [("mlp_hidden_act", "silu"), ("use_bias", True), ("mamba_proj_bias", True), ("use_conv_bias", False)],
)
def test_what_is_not_modelled_is_refused(tmp_path, key, value):
    (problem,) = problems(tmp_path, NANO | {key: value})
    assert f"{key}: {json.dumps(value)} is not modelled" in problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        "null",
        '{"model_type": 5}',
        '{"model_type": "llama"}',
        '{"model_type": "gpt_oss", "layer_types": [1], "num_hidden_layers": 2}',
        '{"model_type": "nemotron_h", "layers_block_type": ["mamba", 7]}',
        '{"model_type": "nemotron_h", "hybrid_override_pattern": 5}',
        '{"ssm_cfg": {"layer": "Mamba2", "d_state": 64}}',
        "[" * 100_000,
        json.dumps(LLAMA3 | {"num_hidden_layers": 10**12}),
        json.dumps(LLAMA3 | {"num_hidden_layers": 0}),
        json.dumps(LLAMA3 | {"num_attention_heads": 0}),
        json.dumps(LLAMA3 | {"num_attention_heads": [1]}),
        json.dumps(LLAMA3 | {"vocab_size": True}),
        json.dumps(LLAMA3)[:-1] + ', "x": ' + "9" * 5000 + "}",
    ],
)
def test_bad_files_are_input_errors(tmp_path, text):
    found = problems(tmp_path, text)
    assert found
    assert all(len(p) < 400 and "\n" not in p for p in found)


def test_binary_and_oversized_files(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8 text"):
        load_model(path)
    path.write_bytes(b" " * (16 * 2**20 + 1))
    with pytest.raises(InputError, match="larger than 16 MiB"):
        load_model(path)
