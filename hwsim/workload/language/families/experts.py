"""Families with grouped-query attention and experts.

Sources: configuration and modelling classes of huggingface/transformers, models/NAME.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwsim.workload.language.families.dense import HEADS, HEADS_128, SILU, SWIGLU, WINDOWS
from hwsim.workload.language.families.table import At, Every, Family, First, Flags, If, Mtp, Types

EXPERTS = {
    "experts": "num_experts|num_local_experts|n_routed_experts",
    "top_k": "num_experts_per_tok|num_experts_per_token",
    "intermediate": "moe_intermediate_size|intermediate_size",
    "gated": "=true",
    "activation": "=silu",
}
#: DeepSeek's keys: shared experts as a number, a correction bias, groups.
DEEPSEEK = EXPERTS | {
    "experts": "n_routed_experts",
    "shared_intermediate": "n_shared_experts*moe_intermediate_size|0",
    "groups": "n_group|1",
    "top_groups": "topk_group|1",
}
CORRECTED = DEEPSEEK | {"correction": "=true"}
#: Qwen: dense layers at some indices, and where the step does not fall.
QWEN_SPARSE = At("mlp_only_layers", "mlp", Every("decoder_sparse_step|1", "moe", "mlp"))
QWEN = SILU | {"use_sliding_window": (False,), "layer_types": (None,)}


def _after_the_last(given: Mapping[str, Any]) -> Any:
    """ERNIE 4.5: the number of layers up to the last sparse one, whose index -1 means the last layer."""
    last = given.get("moe_layer_end_index")
    return last + 1 if isinstance(last, int) and last >= 0 else None if last in (-1, None) else last


TABLES = (
    Family(
        types=("mixtral",),
        parts={
            "attention": HEADS | {"window": "sliding_window?0|0"},
            "moe": EXPERTS | {"experts": "num_local_experts|8"},
        },
        mixer=If("sliding_window?0|0", "window_attention", "attention"),
        ffn="moe",
        refuse=SILU,
    ),
    Family(
        types=("qwen2_moe",),
        parts={
            "attention": HEADS | {"bias": "=qkv"},
            "mlp": SWIGLU,
            "moe": EXPERTS
            | {
                "intermediate": "moe_intermediate_size",
                "shared_intermediate": "shared_expert_intermediate_size",
                "shared_gate": "=true",
            },
        },
        mixer="attention",
        ffn=QWEN_SPARSE,
        refuse=QWEN | {"qkv_bias": (True,)},
        silent=("sliding_window", "max_window_layers"),
    ),
    Family(
        types=("qwen3_moe", "qwen3_vl_moe_text"),
        parts={
            "attention": HEADS | {"qk_norm": "=true", "bias": "attention_bias|=false"},
            "mlp": SWIGLU,
            "moe": EXPERTS | {"intermediate": "moe_intermediate_size"},
        },
        mixer=Types("layer_types", {"full_attention": "attention"}, "attention"),
        ffn=QWEN_SPARSE,
        refuse=SILU
        | {
            "use_sliding_window": (False,),
            "use_qk_norm": (True,),
            "qkv_bias": (False,),
            "shared_expert_intermediate_size": (0, None),
        },
        silent=("sliding_window", "max_window_layers"),
    ),
    Family(
        types=("glm4_moe", "glm4v_moe_text"),
        parts={
            "attention": HEADS
            | {
                "rope": "partial_rotary_factor|0.5",
                "bias": "attention_bias>qkv|=qkv",  # every released file says true; the output has none
                "qk_norm": "use_qk_norm|=false",
            },
            "mlp": SWIGLU,
            "moe": CORRECTED,
        },
        mixer="attention",
        ffn=First("first_k_dense_replace|1", "mlp", "moe"),
        refuse=SILU,
        mtp=Mtp("num_nextn_predict_layers|0", "attention", "moe", "own"),
        silent=("scoring_func", "topk_method"),
    ),
    Family(
        types=("minimax_m2",),
        parts={
            "attention": HEADS_128 | {"rope": "rotary_dim/head_dim|=true", "qk_norm": "=width"},
            "moe": EXPERTS | {"correction": "use_routing_bias|=true"},
        },
        mixer="attention",
        ffn="moe",
        refuse=SILU
        | {
            "use_qk_norm": (True,),
            "qk_norm_type": ("per_layer",),
            "shared_intermediate_size": (0, None),
            "attn_type_list": (None,),
            "scoring_func": ("sigmoid",),
        },
        # the released checkpoints have no MTP weights
        silent=(
            "mtp_transformer_layers",
            "num_mtp_modules",
            "use_mtp",
            "layernorm_full_attention_beta",
            "layernorm_linear_attention_beta",
            "layernorm_mlp_beta",
            "postnorm",
            "max_model_len",
            "shared_moe_mode",
            "output_router_logits",
        ),
    ),
    Family(
        types=("granitemoe",),
        parts={
            "attention": HEADS | {"bias": "attention_bias|=false"},
            "moe": EXPERTS | {"experts": "num_local_experts"},
        },
        mixer="attention",
        ffn="moe",
        refuse=SILU,
        silent=("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"),
    ),
    Family(
        types=("granitemoeshared",),
        parts={
            "attention": HEADS | {"bias": "attention_bias|=false"},
            "moe": EXPERTS | {"experts": "num_local_experts", "shared_intermediate": "shared_intermediate_size|0"},
        },
        mixer="attention",
        ffn="moe",
        refuse=SILU,
        silent=("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"),
    ),
    Family(
        types=("olmoe",),
        parts={
            "attention": HEADS | {"qk_norm": "=width", "bias": "attention_bias|=false"},
            "moe": EXPERTS,
        },
        mixer="attention",
        ffn="moe",
        refuse=SILU | {"clip_qkv": (None,)},
    ),
    Family(
        types=("ernie4_5_moe",),
        derived={"sparse_end": _after_the_last},
        parts={
            "attention": HEADS | {"bias": "use_bias|=false"},
            "mlp": SWIGLU,
            "moe": EXPERTS
            | {
                "experts": "moe_num_experts",
                "top_k": "moe_k",
                "intermediate": "moe_intermediate_size",
                "shared_intermediate": "moe_num_shared_experts*moe_intermediate_size|0",
                "correction": "=true",
            },
        },
        mixer="attention",
        ffn=First(
            "moe_layer_start_index|1",
            "mlp",
            First("sparse_end|num_hidden_layers", Every("moe_layer_interval|1", "moe", "mlp"), "mlp"),
        ),
        tied=True,
        refuse=SILU | {"use_bias": (False,), "moe_use_aux_free": (True,)},
        silent=("moe_layer_end_index", "moe_capacity", "moe_gate", "moe_aux_loss_coef", "moe_norm_min"),
    ),
    Family(
        types=("hunyuan_v1_moe",),
        parts={
            "attention": HEADS | {"qk_norm": "=true", "bias": "attention_bias|=false"},
            "moe": EXPERTS
            | {
                "experts": "num_experts",
                "top_k": "moe_topk",
                "intermediate": "moe_intermediate_size|intermediate_size",
                "shared_intermediate": "intermediate_size",
            },
        },
        mixer="attention",
        ffn="moe",
        refuse=SILU
        | {
            "use_qk_norm": (True,),
            "mlp_bias": (False,),
            "use_cla": (False,),
            "use_mixed_mlp_moe": (True,),
            "num_shared_expert": (1,),
        },
        silent=(
            "attention_head_dim",
            "org_vocab_size",
            "pad_id",
            "eod_token_id",
            "im_start_id",
            "im_end_id",
            "eos_id",
            "moe_drop_tokens",
            "moe_random_routing_dropped_token",
            "moe_layer_num_skipped",
            "cla_share_factor",
            "group_limited_greedy",
            "capacity_factor",
            "norm_type",
            "use_rotary_pos_emb",
            "position_embedding_xdrope",
        ),
        tied=True,
    ),
    Family(
        types=("dots1",),
        parts={
            "attention": HEADS | {"qk_norm": "=true", "bias": "attention_bias|=false"},
            "mlp": SWIGLU,
            "moe": CORRECTED,
        },
        mixer=Types("layer_types", {"full_attention": "attention"}, "attention"),
        ffn=First("first_k_dense_replace|1", "mlp", "moe"),
        refuse=SILU | {"use_sliding_window": (False,), "moe_layer_freq": (1,)},
        silent=("sliding_window", "max_window_layers", "scoring_func", "topk_method"),
    ),
    Family(
        types=("phimoe",),
        parts={
            "attention": HEADS | {"bias": "attention_bias|=false", "window": "sliding_window?0|0"},
            "moe": EXPERTS,
        },
        mixer=If("sliding_window?0|0", "window_attention", "attention"),
        ffn="moe",
        top={"norm.kind": "=layer", "norm.bias": "=true", "head_bias": "lm_head_bias|=false"},
        refuse=SILU,
        silent=("input_jitter_noise",),
    ),
    Family(
        types=("gpt_oss",),
        parts={
            "attention": HEADS
            | {
                "head_dim": "head_dim|64",
                "bias": "attention_bias|=true",
                "sinks": "=true",
                "window": "sliding_window?0|128",
            },
            "moe": EXPERTS
            | {"experts": "num_local_experts", "top_k": "num_experts_per_tok|experts_per_token"}
            | {"intermediate": "intermediate_size", "activation": "=silu_clamped", "bias": "=true"},
        },
        mixer=Types("layer_types", WINDOWS, Every("=2", "attention", "window_attention")),
        ffn="moe",
        refuse={"hidden_act": ("silu",)},
        silent=("swiglu_limit", "experts_per_token", "head_dim"),
    ),
    Family(
        types=("llama4_text",),
        parts={
            "far": {"kind": "attention"} | HEADS_128 | {"rope": "=false", "bias": "attention_bias|=false"},
            "near": {"kind": "attention"}
            | HEADS_128
            | {
                "bias": "attention_bias|=false",
                "chunk": "attention_chunk_size?0|8192",
                "qk_norm": "use_qk_norm>plain|=plain",
            },
            "mlp": SWIGLU | {"intermediate": "intermediate_size_mlp"},
            "moe": EXPERTS
            | {"experts": "num_local_experts", "intermediate": "intermediate_size"}
            | {"shared_intermediate": "intermediate_size"},
        },
        mixer=Types(
            "layer_types",
            {"chunked_attention": "near", "full_attention": "far"},
            Flags("no_rope_layers", "near", "far", Every("no_rope_layer_interval|4", "far", "near")),
        ),
        ffn=At("moe_layers", "moe", "mlp", absent=Every("interleave_moe_layer_step|1", "moe", "mlp")),
        refuse=SILU,
        silent=("attn_scale", "attn_temperature_tuning", "floor_scale", "for_llm_compressor"),
    ),
    Family(
        types=("mimo_v2_flash",),
        parts={
            "far": {"kind": "attention"}
            | HEADS
            | {"v_dim": "v_head_dim", "bias": "attention_bias>qkv|=false"}
            | {"sinks": "add_full_attention_sink_bias|=false"},
            "near": {"kind": "attention"}
            | HEADS
            | {
                "q_heads": "swa_num_attention_heads|num_attention_heads",
                "kv_heads": "swa_num_key_value_heads",
                "head_dim": "swa_head_dim|head_dim",
                "v_dim": "swa_v_head_dim|v_head_dim",
                "window": "sliding_window|sliding_window_size",
                "sinks": "add_swa_attention_sink_bias|=true",
                "bias": "attention_bias>qkv|=false",
            },
            "mlp": SWIGLU,
            "moe": CORRECTED,
        },
        mixer=Flags("hybrid_layer_pattern", "near", "far", "far"),
        ffn=Flags("moe_layer_freq", "moe", "mlp", "moe"),
        refuse=SILU,
        silent=(
            "scoring_func",
            "topk_method",
            "hybrid_block_size",
            "attention_chunk_size",
            "swa_rope_theta",
            "attention_value_scale",
            "sliding_window_size",
        ),
    ),
)
