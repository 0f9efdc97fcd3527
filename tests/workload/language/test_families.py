"""Further families: shapes of released models, against the counts of the authors' code or of the Hub."""

import json

import pytest

from hwsim.workload import load_model
from hwsim.workload.language.families import FAMILIES, OUTER
from tests.workload.language.shapes import lower


def c(kind, hidden, layers, heads, kv, inner, vocab, **more):
    """A config.json with the keys that most files have."""
    return {
        "model_type": kind, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "intermediate_size": inner, "vocab_size": vocab, "max_position_embeddings": 4096,
    } | more  # fmt: skip


def bert(kind, hidden, layers, heads, inner, vocab, positions, types, **more):
    return {
        "model_type": kind, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": inner, "vocab_size": vocab, "max_position_embeddings": positions,
        "type_vocab_size": types, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12,
        "architectures": ["BertModel"], "position_embedding_type": "absolute",
    } | more  # fmt: skip


KIMI_LINEAR = {
    "kda_layers": [i for i in range(1, 28) if i not in (4, 8, 12, 16, 20, 24, 27)],
    "full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "head_dim": 128, "num_heads": 32, "short_conv_kernel_size": 4,
}  # fmt: skip
MOE = {"num_experts": 64, "num_experts_per_tok": 8}

#: name: (config, all parameters).
MODELS = {
    "smollm3-3b": (
        c("smollm3", 2048, 36, 16, 4, 11008, 128256, no_rope_layers=[1, 1, 1, 0] * 9),
        3_075_098_624,
    ),
    "starcoder2-15b": (
        c("starcoder2", 6144, 40, 48, 4, 24576, 49152, use_bias=True, hidden_act="gelu_pytorch_tanh"),
        15_655_899_136,
    ),
    "glm-4-9b-0414": (c("glm4", 4096, 40, 32, 2, 13696, 151552, head_dim=128, attention_bias=True), 9_400_279_040),
    "seed-oss-36b": (
        c("seed_oss", 5120, 64, 80, 8, 27648, 155136, head_dim=128, attention_bias=True, attention_out_bias=False),
        36_151_104_512,
    ),
    "exaone-4-32b": (
        c("exaone4", 5120, 64, 40, 8, 27392, 102400, head_dim=128, sliding_window=4096, sliding_window_pattern="LLLG"),
        32_003_216_384,
    ),
    "command-r7b": (c("cohere2", 4096, 32, 32, 8, 14336, 256000, head_dim=128, sliding_window=4096), 8_028_033_024),
    "qwen1.5-moe-a2.7b": (
        c(
            "qwen2_moe", 2048, 24, 16, 16, 5632, 151936, num_experts=60, num_experts_per_tok=4,
            moe_intermediate_size=1408, shared_expert_intermediate_size=5632, decoder_sparse_step=1,
        ),
        14_315_784_192,
    ),
    "olmoe-7b": (c("olmoe", 2048, 16, 16, 16, 1024, 50304, clip_qkv=None, **MOE), 6_919_161_856),
    "ernie-4.5-21b": (
        c(
            "ernie4_5_moe", 2560, 28, 20, 4, 12288, 103424, moe_num_experts=64, moe_k=6, moe_intermediate_size=1536,
            moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_end_index=27, moe_layer_interval=1,
        ),
        21_825_437_888,
    ),
    "dots1": (
        c(
            "dots1", 4096, 62, 32, 32, 10944, 152064, head_dim=128, n_routed_experts=128, num_experts_per_tok=6,
            moe_intermediate_size=1408, n_shared_experts=2, first_k_dense_replace=1,
        ),
        142_774_373_888 + 61 * 128,  # and the correction biases
    ),
    "phi-3.5-moe": (
        c(
            "phimoe", 4096, 32, 32, 8, 6400, 32064, num_local_experts=16, num_experts_per_tok=2, attention_bias=True,
            lm_head_bias=True, sliding_window=131072,
        ),
        41_873_153_344,
    ),
    "hunyuan-a13b": (
        c(
            "hunyuan_v1_moe", 4096, 32, 32, 8, 3072, 128167, head_dim=128, num_experts=64, moe_topk=[8] * 32,
            moe_intermediate_size=[3072] * 32, num_shared_expert=[1] * 32, use_qk_norm=True, tie_word_embeddings=True,
        ),
        80_393_183_232,
    ),
    "minimax-text-01": (
        c(
            "minimax_text_01", 6144, 80, 64, 8, 9216, 200064, head_dim=128, num_local_experts=32,
            num_experts_per_tok=2, attn_type_list=[0, 0, 0, 0, 0, 0, 0, 1] * 10, rotary_dim=64,
        ),
        456_089_655_296,
    ),
    "kimi-linear-48b": (
        c(
            "kimi_linear", 2304, 27, 32, 32, 9216, 163840, linear_attn_config=KIMI_LINEAR, q_lora_rank=None,
            kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, mla_use_nope=True,
            num_experts=256, num_experts_per_token=8, moe_intermediate_size=1024, num_shared_experts=1,
            first_k_dense_replace=1, num_expert_group=1, topk_group=1,
        ),
        49_122_681_728,
    ),
    "lfm2-1.2b": (
        c(
            "lfm2", 2048, 16, 32, 8, 12288, 65536, full_attn_idxs=[2, 5, 8, 10, 12, 14], conv_L_cache=3,
            conv_bias=False, block_auto_adjust_ff_dim=True, block_multiple_of=256,
        ),
        1_170_340_608,
    ),
    "mamba-2.8b": (
        {
            "model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "intermediate_size": 5120,
            "state_size": 16, "time_step_rank": 160, "conv_kernel": 4, "vocab_size": 50280, "use_bias": False,
        },
        2_768_345_600,
    ),
    "whisper-large-v3": (  # 1,543,490,560 without the encoder's 636,968,960 (huggingface/transformers)
        {
            "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 1280,
            "activation_function": "gelu", "decoder_attention_heads": 20, "decoder_ffn_dim": 5120,
            "decoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "encoder_layers": 32,
            "is_encoder_decoder": True, "max_source_positions": 1500, "max_target_positions": 448,
            "num_hidden_layers": 32, "num_mel_bins": 128, "scale_embedding": False, "vocab_size": 51866,
        },
        1_543_490_560 - 636_968_960,
    ),
    "bert-base": (bert("bert", 768, 12, 12, 3072, 30522, 512, 2), 109_482_240),
    "bge-m3": (bert("xlm-roberta", 1024, 24, 16, 4096, 250002, 8194, 1), 567_754_752),
    "modernbert-base": (
        bert("modernbert", 768, 22, 12, 1152, 50368, 8192, 0)
        | {"hidden_act": None, "hidden_activation": "gelu", "type_vocab_size": None, "position_embedding_type": None,
           "hidden_dropout_prob": 0.0, "local_attention": 128, "global_attn_every_n_layers": 3},
        149_655_232 - (768 * 768 + 768 + 50368),  # without the head of its masked-language form
    ),
}  # fmt: skip


@pytest.fixture(params=MODELS)
def case(request, tmp_path):
    config, total = MODELS[request.param]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return load_model(path), total


def test_totals(case):
    model, total = case
    assert model.total == total


def test_a_step_of_them(case):
    model, _ = case
    phases = ("prefill",) if model.encoder else ("decode", "prefill")
    for phase in phases:
        ops = lower(model, phase, 2, 100)
        assert {op.layer for op in ops if op.layer >= 0} == set(range(len(model.layers)))


def test_every_outer_type_leads_to_a_family():
    assert set(OUTER.values()) <= set(FAMILIES)


def test_a_family_is_one_row():
    """Each model type stands in one table only, and a table has only types of one shape."""
    from hwsim.workload.language.families import dense, encoders, experts, latent, linear, mamba, searched

    rows = [f for room in (dense, experts, latent, linear, mamba, encoders, searched) for f in room.TABLES]
    types = [kind for f in rows for kind in f.types]
    assert len(types) == len(set(types)) == len(FAMILIES)
