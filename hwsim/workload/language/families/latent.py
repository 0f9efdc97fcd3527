"""Families with multi-head latent attention.

Sources: configuration and modelling classes of huggingface/transformers, models/NAME; deepseek-ai's inference code.
"""

from __future__ import annotations

from hwsim.workload.language.families.dense import SILU, SWIGLU
from hwsim.workload.language.families.experts import CORRECTED, DEEPSEEK
from hwsim.workload.language.families.table import At, Family, First, Mtp, Types

LATENT = {
    "kind": "mla",
    "q_heads": "num_attention_heads",
    "q_rank": "q_lora_rank?0|1536",
    "kv_rank": "kv_lora_rank",
    "nope_dim": "qk_nope_head_dim",
    "rope_dim": "qk_rope_head_dim",
    "v_dim": "v_head_dim",
    "bias": "attention_bias|=false",
}
INDEX = {"index.heads": "index_n_heads", "index.head_dim": "index_head_dim", "index.top_k": "index_topk"}
#: Keys that mean nothing here: K and V heads are as many as query heads, and a head's width is that of its parts.
MEANINGLESS = ("num_key_value_heads", "head_dim", "qk_head_dim", "scoring_func", "topk_method")
DENSE_FIRST = First("first_k_dense_replace|3", "mlp", "moe")
SPARSE = Types("mlp_layer_types", {"dense": "mlp", "sparse": "moe"}, DENSE_FIRST)
DEEPSEEK_ONLY = SILU | {"moe_layer_freq": (1,)}

TABLES = (
    Family(
        types=("deepseek_v2",),
        parts={"mla": LATENT, "mlp": SWIGLU, "moe": DEEPSEEK},
        mixer="mla",
        ffn=Types("mlp_layer_types", {"dense": "mlp", "sparse": "moe"}, First("first_k_dense_replace|0", "mlp", "moe")),
        refuse=DEEPSEEK_ONLY | {"mlp_bias": (False,)},
        silent=MEANINGLESS,
    ),
    Family(
        types=("deepseek_v3", "kimi_k2", "glm4_moe_lite"),
        parts={"mla": LATENT, "mlp": SWIGLU, "moe": CORRECTED},
        mixer="mla",
        ffn=SPARSE,
        mtp=Mtp("num_nextn_predict_layers|0", "mla", "moe", "own"),
        refuse=DEEPSEEK_ONLY
        | {"index_topk": (None,), "index_n_heads": (None,), "partial_rotary_factor": (1, 1.0, None)},
        silent=MEANINGLESS,
    ),
    Family(
        types=("deepseek_v32",),
        parts={"mla": LATENT | INDEX, "mlp": SWIGLU, "moe": CORRECTED},
        mixer="mla",
        ffn=SPARSE,
        mtp=Mtp("num_nextn_predict_layers|0", "mla", "moe", "own"),
        refuse=DEEPSEEK_ONLY,
        silent=MEANINGLESS,
    ),
    Family(
        types=("glm_moe_dsa",),
        parts={
            "mla": LATENT | INDEX,
            "follower": LATENT | INDEX | {"index.shared": "=true"},
            "mlp": SWIGLU,
            "moe": CORRECTED,
        },
        mixer=Types("indexer_types", {"full": "mla", "shared": "follower"}, "mla"),
        ffn=SPARSE,
        mtp=Mtp("num_nextn_predict_layers|0", "mla", "moe", "shared"),
        refuse=DEEPSEEK_ONLY | {"index_topk_freq": (1, None), "index_topk_pattern": (None,)},
        silent=(*MEANINGLESS, "indexer_rope_interleave", "index_skip_topk_offset", "index_share_for_mtp_iteration"),
    ),
    Family(
        types=("kimi_linear",),
        parts={
            "mla": LATENT | {"q_rank": "q_lora_rank?0|0", "rope": "=false"},
            "kda": {
                "kind": "kda",
                "heads": "linear_attn_config.num_heads",
                "head_dim": "linear_attn_config.head_dim",
                "conv_kernel": "linear_attn_config.short_conv_kernel_size|4",
            },
            "mlp": SWIGLU,
            "moe": CORRECTED
            | {
                "experts": "num_experts",
                "top_k": "num_experts_per_token|num_experts_per_tok",
                "shared_intermediate": "num_shared_experts*moe_intermediate_size|0",
                "groups": "num_expert_group|1",
            },
        },
        mixer=At("linear_attn_config.full_attn_layers", "mla", "kda", base=1),
        ffn=First("first_k_dense_replace|1", "mlp", "moe"),
        refuse=SILU | {"moe_layer_freq": (1,), "mla_use_nope": (True,), "num_nextn_predict_layers": (0, None)},
        silent=(
            *MEANINGLESS,
            "linear_attn_config.kda_layers",
            "moe_renormalize",
            "moe_router_activation_func",
            "use_grouped_topk",
        ),
    ),
)
