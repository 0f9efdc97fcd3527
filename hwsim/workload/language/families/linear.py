"""Families with linear attention or short convolutions beside attention.

Sources: configuration and modelling classes of huggingface/transformers, models/NAME.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwsim.workload.language.families.dense import HEADS, HEADS_256, SILU, SWIGLU
from hwsim.workload.language.families.experts import EXPERTS, QWEN_SPARSE
from hwsim.workload.language.families.given import is_count
from hwsim.workload.language.families.table import At, Every, Family, First, If, Mtp, Types

GATED_HEADS = (
    {"kind": "attention"}
    | HEADS_256
    | {
        "rope": "partial_rotary_factor|0.25",
        "qk_norm": "=head",
        "gate": "=true",
        "bias": "attention_bias|=false",
    }
)
DELTA = {
    "kind": "gdn",
    "key_heads": "linear_num_key_heads|16",
    "value_heads": "linear_num_value_heads|32",
    "key_dim": "linear_key_head_dim|128",
    "value_dim": "linear_value_head_dim|128",
    "conv_kernel": "linear_conv_kernel_dim|4",
}
DELTA_LAYERS = Types(
    "layer_types",
    {"linear_attention": "delta", "full_attention": "gated"},
    Every("full_attention_interval|4", "gated", "delta"),
)
SHARED_EXPERT = EXPERTS | {
    "intermediate": "moe_intermediate_size",
    "shared_intermediate": "shared_expert_intermediate_size",
    "shared_gate": "=true",
}


def _adjusted(given: Mapping[str, Any]) -> int | None:
    """LFM2: two thirds of the width, rounded up, unless `block_auto_adjust_ff_dim` is false."""
    width, multiple = given.get("intermediate_size", given.get("block_ff_dim")), given.get("block_multiple_of", 256)
    if given.get("block_auto_adjust_ff_dim", True) is False or "num_experts" in given or not is_count(width):
        return None
    if not is_count(multiple):
        return None
    return -(-(2 * width // 3) // multiple) * multiple


TABLES = (
    Family(
        types=("qwen3_next",),
        parts={"delta": DELTA, "gated": GATED_HEADS, "mlp": SWIGLU, "moe": SHARED_EXPERT},
        mixer=DELTA_LAYERS,
        ffn=QWEN_SPARSE,
        mtp=Mtp("=1", "gated", "moe"),
        refuse=SILU | {"use_sliding_window": (False,)},
        silent=("max_window_layers", "sliding_window"),
    ),
    Family(
        types=("qwen3_5_moe_text",),
        parts={
            "delta": DELTA,
            "gated": GATED_HEADS | {"gate": "attn_output_gate|=true"},
            "mlp": SWIGLU,
            "moe": SHARED_EXPERT,
        },
        mixer=DELTA_LAYERS,
        ffn=QWEN_SPARSE,
        mtp=Mtp("mtp_num_hidden_layers|0", "gated", "moe"),
        refuse=SILU | {"mtp_use_dedicated_embeddings": (False,), "mamba_ssm_dtype": ("float32",)},
        silent=("output_gate_type",),
    ),
    Family(
        types=("qwen3_5_text",),
        parts={"delta": DELTA, "gated": GATED_HEADS | {"gate": "attn_output_gate|=true"}, "mlp": SWIGLU},
        mixer=DELTA_LAYERS,
        ffn="mlp",
        mtp=Mtp("mtp_num_hidden_layers|0", "gated", "mlp"),
        refuse=SILU
        | {"mtp_use_dedicated_embeddings": (False,), "mamba_ssm_dtype": ("float32",), "mlp_only_layers": ([], None)},
        silent=("output_gate_type",),
    ),
    Family(
        types=("minimax", "minimax_text_01", "minimax_m1"),
        parts={
            "attention": HEADS | {"rope": "rotary_dim/head_dim|=true"},
            "lightning": {
                "kind": "lightning",
                "heads": "num_attention_heads",
                "head_dim": "head_dim|hidden_size//num_attention_heads",
                "chunk": "block_size|256",
            },
            "moe": EXPERTS | {"experts": "num_local_experts"},
        },
        mixer=Types(
            "layer_types",
            {"linear_attention": "lightning", "full_attention": "attention"},
            Types("attn_type_list", {"0": "lightning", "1": "attention"}, Every("=8", "attention", "lightning")),
        ),
        ffn="moe",
        refuse=SILU | {"shared_intermediate_size": (0, None), "sliding_window": (None,)},
        silent=(
            "layernorm_full_attention_alpha",
            "layernorm_full_attention_beta",
            "layernorm_linear_attention_alpha",
            "layernorm_linear_attention_beta",
            "layernorm_mlp_alpha",
            "layernorm_mlp_beta",
            "postnorm",
            "full_attn_alpha_factor",
            "full_attn_beta_factor",
            "linear_attn_alpha_factor",
            "linear_attn_beta_factor",
            "mlp_alpha_factor",
            "mlp_beta_factor",
            "shared_moe_mode",
        ),
    ),
    Family(
        types=("lfm2", "lfm2_moe"),
        parts={
            "attention": HEADS | {"qk_norm": "=true"},
            "conv": {
                "kind": "shortconv",
                "channels": "hidden_size",
                "conv_kernel": "conv_L_cache|3",
                "bias": "conv_bias|=false",
            },
            "mlp": SWIGLU | {"intermediate": "adjusted_width|intermediate_size"},
            "moe": EXPERTS | {"intermediate": "moe_intermediate_size", "correction": "use_expert_bias|=true"},
        },
        derived={"adjusted_width": _adjusted},
        mixer=Types(
            "layer_types",
            {"conv": "conv", "full_attention": "attention"},
            At("full_attn_idxs", "attention", "conv"),
        ),
        ffn=If("num_experts|0", First("num_dense_layers|2", "mlp", "moe"), "mlp"),
        tied=True,
        refuse={
            "conv_use_xavier_init": (True, False),
            "block_ffn_dim_multiplier": (1, 1.0, None),
            "block_mlp_init_scale": (1, 1.0, None),
        },
        silent=(
            "block_dim",
            "block_ff_dim",
            "block_multiple_of",
            "block_norm_eps",
            "block_out_init_scale",
            "block_use_swiglu",
            "block_use_xavier_init",
            "conv_dim",
            "conv_dim_out",
            "num_heads",
            "theta",
            "tie_embedding",
            "block_auto_adjust_ff_dim",
            "intermediate_size",
        ),
    ),
)
