"""Families with Mamba layers, most of them beside attention.

Sources: configuration and modelling classes of huggingface/transformers, models/NAME; for the checkpoints of its
authors, state-spaces/mamba (MambaConfig, modules/mamba2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwsim.workload.language.families.dense import HEADS, SILU, SWIGLU
from hwsim.workload.language.families.experts import EXPERTS
from hwsim.workload.language.families.given import is_count
from hwsim.workload.language.families.table import At, Every, Family, If, Missing, Mtp, Pattern, Types

#: Keys of Mamba-2 in Bamba, Granite and Falcon-H1.
MAMBA = {
    "heads": "mamba_n_heads|128",
    "head_dim": "mamba_d_head|64",
    "state": "mamba_d_state",
    "groups": "mamba_n_groups|1",
    "conv_kernel": "mamba_d_conv|4",
    "chunk": "mamba_chunk_size|256",
    "bias": "mamba_proj_bias|=false",
}


GRANITE = ("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier")
NEMOTRON = {
    "mamba": "mamba", "linear_attention": "mamba", "moe": "moe", "attention": "attention",
    "full_attention": "attention", "mlp": "mlp",
}  # fmt: skip
NEMOTRON_LETTERS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}


def _padded(given: Mapping[str, Any]) -> int | None:
    """Rows of the embedding: whole multiples of `pad_vocab_size_multiple` (state-spaces/mamba, MambaLMHeadModel)."""
    rows, multiple = given.get("vocab_size"), given.get("pad_vocab_size_multiple", 8)
    if not is_count(rows) or not is_count(multiple):
        return None
    return -(-rows // multiple) * multiple


def _rank(given: Mapping[str, Any]) -> int | None:
    """Width that dt is projected through; "auto" is a sixteenth of the hidden width."""
    rank, hidden = given.get("mamba_dt_rank", given.get("time_step_rank")), given.get("hidden_size")
    if rank != "auto":
        return rank
    return -(-hidden // 16) if is_count(hidden) else None


TABLES = (
    Family(
        types=("nemotron_h",),
        parts={
            "attention": {
                "q_heads": "num_attention_heads",
                "kv_heads": "num_key_value_heads|num_attention_heads",
                "head_dim": "head_dim|attention_head_dim|hidden_size//num_attention_heads",
                "rope": "=false",
                "bias": "attention_bias|=false",
            },
            "mamba2": {
                "heads": "mamba_num_heads",
                "head_dim": "mamba_head_dim",
                "state": "ssm_state_size",
                "groups": "n_groups|mamba_n_groups",
                "conv_kernel": "conv_kernel|mamba_d_conv|4",
                "chunk": "chunk_size|mamba_chunk_size|128",
            },
            "mlp": {
                "intermediate": "intermediate_size",
                "gated": "=false",
                "activation": "=relu2",
                "bias": "mlp_bias|=false",
            },
            "moe": {
                "experts": "n_routed_experts|num_local_experts",
                "top_k": "num_experts_per_tok",
                "intermediate": "moe_intermediate_size",
                "gated": "=false",
                "activation": "=relu2",
                "shared_intermediate": "moe_shared_expert_intermediate_size",
                "latent": "moe_latent_size?0|0",
                "correction": "=true",
            },
        },
        mixer=Types(
            "layers_block_type",
            NEMOTRON,
            Pattern("hybrid_override_pattern", NEMOTRON_LETTERS, Missing("hybrid_override_pattern")),
        ),
        mtp=Mtp(
            "num_nextn_predict_layers|0",
            listed="mtp_layers_block_type",
            words=NEMOTRON,
            text="mtp_hybrid_override_pattern",
            letters=NEMOTRON_LETTERS,
            default="*E",
        ),
        refuse={
            "mlp_hidden_act": ("relu2",),
            "use_bias": (False,),
            "mamba_proj_bias": (False,),
            "use_conv_bias": (True,),
            "mamba_hidden_act": ("silu",),
            "sliding_window": (None,),
            "n_group": (1, None),
            "topk_group": (1, None),
            "n_shared_experts": (1, None),
        },
        silent=(
            "expand",
            "mamba_ssm_cache_dtype",
            "moe_shared_expert_overlap",
            "partial_rotary_factor",
            "time_step_floor",
            "time_step_limit",
            "time_step_max",
            "time_step_min",
            "time_step_rank",
            "mamba_num_groups",
            "mamba_state_dim",
            "num_logits_to_keep",
            "use_mamba_kernels",
            "norm_before_gate",
            "n_groups",
            "intermediate_size",
            "mamba_expand",
            "mamba_n_groups",
            "conv_kernel",
            "mamba_dt_min",
            "mamba_dt_max",
            "mamba_dt_limit",
            "mamba_dt_init_floor",
        ),
    ),
    Family(
        types=("mamba2",),
        parts={
            "mamba2": {
                "heads": "num_heads",
                "head_dim": "head_dim",
                "state": "state_size",
                "groups": "n_groups",
                "conv_kernel": "conv_kernel|4",
                "chunk": "chunk_size|256",
            }
        },
        mixer="mamba",
        refuse={"use_bias": (False,), "use_conv_bias": (True,), "hidden_act": ("silu",), "rms_norm": (True,)},
        silent=(
            "expand",
            "norm_before_gate",
            "time_step_rank",
            "time_step_floor",
            "time_step_limit",
            "time_step_max",
            "time_step_min",
            "d_inner",
            "conv_bias",
            "time_step_init_scheme",
            "time_step_scale",
        ),
    ),
    Family(
        types=("state-spaces",),
        parts={
            "mamba2": {
                "heads": "d_model*=2//=64",
                "head_dim": "=64",
                "state": "=128",
                "groups": "=1",
                "conv_kernel": "=4",
                "chunk": "=256",
            }
        },
        mixer="mamba",
        hidden="d_model",
        vocab="padded_vocab",
        layers="n_layer",
        derived={"padded_vocab": _padded},
        tie_key="tie_embeddings",
        tied=True,
        refuse={"d_intermediate": (0,), "attn_layer_idx": ([], None), "rms_norm": (True,)},
        silent=(
            "attn_cfg",
            "fused_add_norm",
            "residual_in_fp32",
            "pad_vocab_size_multiple",
            "ssm_cfg.layer",
            "ssm_cfg",
        ),
    ),
    Family(
        types=("falcon_mamba",),
        parts={
            "scan": {
                "kind": "mamba1",
                "inner": "intermediate_size|hidden_size*=2",
                "state": "state_size|16",
                "dt_rank": "dt_rank",
                "conv_kernel": "conv_kernel|4",
                "norms": "=plain",
                "conv_bias": "use_conv_bias|=true",
                "bias": "use_bias|=false",
            }
        },
        mixer="scan",
        derived={"dt_rank": _rank},
        tied=True,
        refuse={"hidden_act": ("silu",)},
        silent=(
            "time_step_rank",
            "expand",
            "use_mambapy",
            "use_falcon_mambapy",
            "mixer_rms_eps",
            "time_step_floor",
            "time_step_max",
            "time_step_min",
            "time_step_init_scheme",
            "time_step_scale",
            "d_inner",
            "d_model",
        ),
    ),
    Family(
        types=("mamba",),
        parts={
            "scan": {
                "kind": "mamba1",
                "inner": "intermediate_size|hidden_size*=2",
                "state": "state_size|16",
                "dt_rank": "dt_rank",
                "conv_kernel": "conv_kernel|4",
                "conv_bias": "use_conv_bias|=true",
                "bias": "use_bias|=false",
            }
        },
        mixer="scan",
        derived={"dt_rank": _rank},
        tied=True,
        refuse={"hidden_act": ("silu",)},
        silent=(
            "time_step_rank",
            "expand",
            "use_mambapy",
            "time_step_floor",
            "time_step_max",
            "time_step_min",
            "time_step_init_scheme",
            "time_step_scale",
            "d_inner",
            "d_model",
            "n_layer",
            "rms_norm",
            "fused_add_norm",
            "ssm_cfg",
            "pad_vocab_size_multiple",
            "conv_bias",
        ),
    ),
    Family(
        types=("jamba",),
        parts={
            "attention": HEADS | {"rope": "=false"},
            "scan": {
                "kind": "mamba1",
                "inner": "mamba_expand*hidden_size|hidden_size*=2",
                "state": "mamba_d_state|16",
                "dt_rank": "dt_rank|256",
                "conv_kernel": "mamba_d_conv|4",
                "norms": "=gain",
                "conv_bias": "mamba_conv_bias|=true",
                "bias": "mamba_proj_bias|=false",
            },
            "mlp": SWIGLU,
            "moe": EXPERTS | {"intermediate": "intermediate_size"},
        },
        derived={"dt_rank": _rank},
        mixer=Every("attn_layer_period|8", "attention", "scan", offset="attn_layer_offset|4"),
        ffn=If(
            "num_experts|16",
            Every("expert_layer_period|2", "moe", "mlp", offset="expert_layer_offset|1"),
            "mlp",
        ),
        refuse=SILU | {"sliding_window": (None,)},
        silent=("mamba_dt_rank", "use_mamba_kernels", "num_logits_to_keep", "calc_logits_for_entire_prompt"),
    ),
    Family(
        types=("bamba",),
        parts={
            "attention": HEADS | {"rope": "partial_rotary_factor|0.5", "bias": "attention_bias|=false"},
            "mamba2": MAMBA | {"state": "mamba_d_state|256"},
            "mlp": SWIGLU | {"bias": "mlp_bias|=false"},
        },
        mixer=Types("layer_types", NEMOTRON, At("attn_layer_indices", "attention", "mamba")),
        ffn="mlp",
        refuse=SILU | {"mamba_conv_bias": (True,)},
        silent=("mamba_expand", "attn_rotary_emb", "num_logits_to_keep", "z_loss_coefficient"),
    ),
    Family(
        types=("granitemoehybrid",),
        parts={
            "attention": HEADS | {"rope": "position_embedding_type==rope|=false", "bias": "attention_bias|=false"},
            "mamba2": MAMBA | {"state": "mamba_d_state|256"},
            "moe": EXPERTS
            | {"experts": "num_local_experts", "intermediate": "intermediate_size"}
            | {"shared_intermediate": "shared_intermediate_size"},
            "mlp": SWIGLU | {"intermediate": "shared_intermediate_size"},
        },
        mixer=Types("layer_types|layers_block_type", NEMOTRON, "mamba"),
        ffn=If("num_local_experts|8", "moe", "mlp"),
        refuse=SILU | {"mamba_conv_bias": (True,), "position_embedding_type": ("rope", "nope")},
        silent=(*GRANITE, "mamba_expand", "normalization_function", "init_method", "shared_expert_gate"),
    ),
    Family(
        types=("falcon_h1",),
        parts={
            "attention": HEADS | {"bias": "attention_bias|=false"},
            "mamba2": MAMBA | {"state": "mamba_d_state|256", "norm": "mamba_rms_norm|=false"},
            "mlp": SWIGLU | {"bias": "mlp_bias|=false"},
        },
        mixer="attention +mamba",
        ffn="mlp",
        refuse=SILU | {"mamba_conv_bias": (True,), "mamba_use_mlp": (True,), "attn_layer_indices": (None, [])},
        silent=(
            "mamba_d_ssm",
            "mamba_expand",
            "mamba_norm_before_gate",
            "attention_in_multiplier",
            "num_logits_to_keep",
            "attention_out_multiplier",
            "embedding_multiplier",
            "key_multiplier",
            "lm_head_multiplier",
            "mlp_multipliers",
            "ssm_in_multiplier",
            "ssm_multipliers",
            "ssm_out_multiplier",
            "mlp_expansion_factor",
            "projectors_bias",
            "time_step_floor",
            "time_step_limit",
            "time_step_max",
            "time_step_min",
        ),
    ),
)
