"""Families with attention and an MLP in every layer.

Sources: configuration and modelling classes of huggingface/transformers, models/NAME.
"""

from __future__ import annotations

from hwsim.workload.language.families.table import At, Every, Family, First, Flags, If, Types

HEADS = {
    "q_heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads|num_attention_heads",
    "head_dim": "head_dim|hidden_size//num_attention_heads",
    "rope": "partial_rotary_factor|=true",
}
HEADS_128 = HEADS | {"head_dim": "head_dim|128"}
HEADS_256 = HEADS | {"head_dim": "head_dim|256"}
SWIGLU = {"intermediate": "intermediate_size", "gated": "=true", "activation": "=silu"}
RELU2 = {
    "intermediate": "intermediate_size",
    "gated": "=false",
    "activation": "=relu2",
    "bias": "mlp_bias|=false",
}
GEGLU = SWIGLU | {"activation": "=gelu_tanh"}
SILU = {"hidden_act": ("silu", "swish")}
GELU = {"hidden_act": ("gelu_pytorch_tanh", "gelu"), "hidden_activation": ("gelu_pytorch_tanh", None)}
FULL = {"full_attention": "attention"}
WINDOWS = {"sliding_attention": "window_attention", "full_attention": "attention"}
#: One window for all layers, none where the key is null.
ALL_WINDOWS = If("sliding_window?0|4096", "window_attention", "attention")
#: Qwen: a switch, and the first layers have full attention.
QWEN_WINDOWS = Types(
    "layer_types",
    WINDOWS,
    If(
        "use_sliding_window|=false",
        First("max_window_layers|28", "attention", "window_attention"),
        "attention",
    ),
)

LLAMA = Family(
    types=("llama",),
    parts={
        "attention": HEADS | {"bias": "attention_bias|=false"},
        "mlp": SWIGLU | {"bias": "mlp_bias|=false"},
    },
    mixer=Types("layer_types", FULL, "attention"),
    ffn="mlp",
    refuse=SILU | {"sliding_window": (None,), "use_sliding_window": (False,)},
)

TABLES = (
    LLAMA,
    Family(
        types=("mistral", "ministral", "ministral3"),
        parts={"attention": HEADS | {"window": "sliding_window?0|4096"}, "mlp": SWIGLU},
        mixer=Types("layer_types", WINDOWS, ALL_WINDOWS),
        ffn="mlp",
        refuse=SILU,
        silent=("llama_4_scaling",),
    ),
    Family(
        types=("qwen2",),
        parts={"attention": HEADS | {"bias": "=qkv", "window": "sliding_window?0|4096"}, "mlp": SWIGLU},
        mixer=QWEN_WINDOWS,
        ffn="mlp",
        refuse=SILU,
        silent=("use_mrope", "mrope_section"),
    ),
    Family(
        types=("qwen3", "qwen3_vl_text"),
        parts={
            "attention": HEADS_128
            | {"qk_norm": "=true", "bias": "attention_bias|=false", "window": "sliding_window?0|4096"},
            "mlp": SWIGLU,
        },
        mixer=QWEN_WINDOWS,
        ffn="mlp",
        refuse=SILU,
    ),
    Family(
        types=("phi3",),
        parts={"attention": HEADS | {"window": "sliding_window?0|0"}, "mlp": SWIGLU},
        mixer=If("sliding_window?0|0", "window_attention", "attention"),
        ffn="mlp",
        refuse=SILU | {"attention_bias": (False,)},
    ),
    Family(
        types=("gemma",),
        parts={"attention": HEADS_256, "mlp": GEGLU},
        mixer="attention",
        ffn="mlp",
        tied=True,
        refuse=GELU | {"attention_bias": (False,)},
    ),
    Family(
        types=("gemma2",),
        parts={
            "attention": HEADS_256 | {"window": "sliding_window?0|4096", "softcap": "=true"},
            "mlp": GEGLU,
        },
        mixer=Types("layer_types", WINDOWS, Every("=2", "attention", "window_attention")),
        ffn="mlp",
        tied=True,
        top={"norm.place": "=both", "softcap": "=true"},
        refuse=GELU | {"attention_bias": (False,), "use_bidirectional_attention": (None, False)},
        silent=("attn_logit_softcapping", "final_logit_softcapping", "sliding_window_size"),
    ),
    Family(
        types=("gemma3_text",),
        parts={
            "attention": HEADS_256
            | {"q_heads": "num_attention_heads|8", "kv_heads": "num_key_value_heads|4", "qk_norm": "=true"}
            | {"window": "sliding_window?0|4096"},
            "mlp": GEGLU,
        },
        mixer=Types("layer_types", WINDOWS, Every("sliding_window_pattern|6", "attention", "window_attention")),
        ffn="mlp",
        tied=True,
        vocab="vocab_size|262208",
        top={"norm.place": "=both"},
        refuse=GELU
        | {
            "attention_bias": (False,),
            "use_bidirectional_attention": (None, False),
            "attn_logit_softcapping": (None,),
            "final_logit_softcapping": (None,),
        },
    ),
    Family(
        types=("olmo2",),
        parts={"attention": HEADS | {"qk_norm": "=width"}, "mlp": SWIGLU},
        mixer="attention",
        ffn="mlp",
        top={"norm.place": "=post"},
        refuse=SILU | {"attention_bias": (False,)},
    ),
    Family(
        types=("olmo3",),
        parts={"attention": HEADS | {"qk_norm": "=width", "window": "sliding_window?0|4096"}, "mlp": SWIGLU},
        mixer=Types("layer_types", WINDOWS, Every("=4", "attention", "window_attention")),
        ffn="mlp",
        top={"norm.place": "=post"},
        refuse=SILU | {"attention_bias": (False,)},
    ),
    Family(
        types=("exaone4",),
        parts={
            "full": {"kind": "attention"} | HEADS | {"qk_norm": "=head", "rope": "=false"},
            "near": {"kind": "attention"} | HEADS | {"qk_norm": "=head", "window": "sliding_window?0|4096"},
            "all": {"kind": "attention"} | HEADS | {"qk_norm": "=head"},
            "mlp": SWIGLU,
        },
        # without a window every layer has full attention, and rotates (the 1.2B)
        mixer=If(
            "sliding_window?0|4096",
            Types(
                "layer_types",
                {"sliding_attention": "near", "full_attention": "full"},
                Every("=4", "full", "near"),
            ),
            Types("layer_types", {"full_attention": "all"}, "all"),
        ),
        ffn="mlp",
        top={"norm.place": "=post"},
        refuse=SILU | {"sliding_window_pattern": (4, "LLLG", None)},
    ),
    Family(
        types=("cohere",),
        parts={"attention": HEADS | {"bias": "attention_bias|=false"}, "mlp": SWIGLU},
        mixer="attention",
        ffn="+mlp",
        tied=True,
        top={"norm.kind": "=layer"},
        refuse=SILU | {"use_qk_norm": (False,)},
        silent=("logit_scale",),
    ),
    Family(
        types=("cohere2",),
        parts={
            "full": {"kind": "attention"} | HEADS | {"rope": "=false", "bias": "attention_bias|=false"},
            "near": {"kind": "attention"}
            | HEADS
            | {"window": "sliding_window?0|4096", "bias": "attention_bias|=false"},
            "mlp": SWIGLU,
        },
        mixer=Types(
            "layer_types",
            {"sliding_attention": "near", "full_attention": "full"},
            Every("sliding_window_pattern|4", "full", "near"),
        ),
        ffn="+mlp",
        tied=True,
        top={"norm.kind": "=layer"},
        refuse=SILU | {"use_qk_norm": (False,), "use_gated_activation": (True,), "use_parallel_block": (True,)},
        silent=(
            "logit_scale",
            "order_of_interleaved_layers",
            "position_embedding_type",
            "rotary_pct",
            "layer_switch",
            "use_embedding_sharing",
            "use_parallel_embedding",
        ),
    ),
    Family(
        types=("smollm3",),
        parts={
            "attention": HEADS | {"bias": "attention_bias|=false"},
            "still": {"kind": "attention"} | HEADS | {"rope": "=false", "bias": "attention_bias|=false"},
            "mlp": SWIGLU | {"bias": "mlp_bias|=false"},
        },
        mixer=Flags("no_rope_layers", "attention", "still", Every("no_rope_layer_interval|4", "still", "attention")),
        ffn="mlp",
        tied=True,
        refuse=SILU | {"use_sliding_window": (False,), "sliding_window": (None,)},
        silent=("layer_types", "max_window_layers"),
    ),
    Family(
        types=("starcoder2",),
        parts={
            "attention": HEADS | {"bias": "use_bias|=true", "window": "sliding_window?0|0"},
            "mlp": {
                "intermediate": "intermediate_size",
                "gated": "=false",
                "activation": "=gelu_tanh",
                "bias": "use_bias|=true",
            },
        },
        mixer=If("sliding_window?0|0", "window_attention", "attention"),
        ffn="mlp",
        tied=True,
        top={"norm.kind": "=layer", "norm.bias": "=true"},
        refuse={
            "hidden_act": ("gelu_pytorch_tanh",),
            "norm_type": ("layer_norm",),
            "mlp_type": ("default",),
            "attention_softmax_in_fp32": (True, False),
            "scale_attention_softmax_in_fp32": (True, False),
            "scale_attn_weights": (True, False),
        },
    ),
    Family(
        types=("glm",),
        parts={
            "attention": HEADS_128 | {"rope": "partial_rotary_factor|0.5", "bias": "=qkv"},
            "mlp": SWIGLU,
        },
        mixer="attention",
        ffn="mlp",
        refuse=SILU | {"attention_bias": (True,)},
    ),
    Family(
        types=("glm4",),
        parts={
            "attention": HEADS_128 | {"rope": "partial_rotary_factor|0.5", "bias": "=qkv"},
            "mlp": SWIGLU,
        },
        mixer="attention",
        ffn="mlp",
        top={"norm.place": "=both"},
        refuse=SILU | {"attention_bias": (True,)},
    ),
    Family(
        types=("granite",),
        parts={"attention": HEADS | {"bias": "attention_bias|=false"}, "mlp": SWIGLU | {"bias": "mlp_bias|=false"}},
        mixer="attention",
        ffn="mlp",
        refuse=SILU,
        silent=("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"),
    ),
    Family(
        types=("seed_oss",),
        parts={"attention": HEADS_128 | {"bias": "=qkv"}, "mlp": SWIGLU},
        mixer="attention",
        ffn="mlp",
        refuse=SILU | {"attention_bias": (True,), "attention_out_bias": (False,), "mlp_bias": (False,)},
    ),
    Family(
        types=("ernie4_5",),
        parts={"attention": HEADS_128 | {"bias": "use_bias|=false"}, "mlp": SWIGLU | {"bias": "use_bias|=false"}},
        mixer="attention",
        ffn="mlp",
        tied=True,
        refuse=SILU,
    ),
    Family(
        types=("hunyuan_v1_dense",),
        parts={"attention": HEADS | {"qk_norm": "=true", "bias": "attention_bias|=false"}, "mlp": SWIGLU},
        mixer="attention",
        ffn="mlp",
        refuse=SILU | {"use_qk_norm": (True,), "mlp_bias": (False,), "use_cla": (False,)},
        silent=("attention_head_dim", "org_vocab_size", "pad_id", "eod_token_id", "im_start_id", "im_end_id", "eos_id"),
    ),
    Family(
        types=("arcee",),
        parts={
            "attention": HEADS | {"bias": "attention_bias|=false"},
            "mlp": RELU2,
        },
        mixer="attention",
        ffn="mlp",
        refuse={"hidden_act": ("relu2",)},
    ),
    Family(
        types=("nemotron",),
        parts={
            "attention": HEADS | {"rope": "partial_rotary_factor|0.5", "bias": "attention_bias|=false"},
            "mlp": RELU2,
        },
        mixer="attention",
        ffn="mlp",
        top={"norm.kind": "=layer", "norm.bias": "=true"},
        refuse={"hidden_act": ("relu2",)},
    ),
    Family(
        types=("internlm3",),
        parts={
            "attention": HEADS | {"bias": "=false"},
            "mlp": SWIGLU,
        },
        mixer="attention",
        ffn="mlp",
        refuse=SILU | {"bias": (False,), "qkv_bias": (False,)},
    ),
    Family(
        types=("gpt2",),
        parts={
            "attention": {
                "q_heads": "n_head",
                "kv_heads": "n_head",
                "head_dim": "n_embd//n_head",
                "rope": "=false",
                "bias": "=true",
            },
            "mlp": {
                "intermediate": "n_inner|n_embd*=4",
                "gated": "=false",
                "activation": "=gelu_tanh",
                "bias": "=true",
            },
        },
        mixer="attention",
        ffn="mlp",
        tied=True,
        hidden="n_embd",
        layers="n_layer",
        context="n_positions",
        top={"norm.kind": "=layer", "norm.bias": "=true", "positions": "n_positions"},
        refuse={"activation_function": ("gelu_new",), "add_cross_attention": (False,)},
        silent=(
            "n_ctx",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
            "scale_attn_weights",
            "scale_attn_by_inverse_layer_idx",
            "reorder_and_upcast_attn",
        ),
    ),
    Family(
        types=("gpt_neox",),
        parts={
            "attention": {
                "q_heads": "num_attention_heads",
                "kv_heads": "num_attention_heads",
                "head_dim": "hidden_size//num_attention_heads",
                "rope": "rotary_pct|partial_rotary_factor|0.25",
                "bias": "attention_bias|=true",
            },
            "mlp": {"intermediate": "intermediate_size", "gated": "=false", "activation": "=gelu", "bias": "=true"},
        },
        mixer="attention",
        ffn="mlp",
        top={"norm.kind": "=layer", "norm.bias": "=true"},
        refuse={"hidden_act": ("gelu", "gelu_fast")},
        silent=("rotary_emb_base", "use_parallel_residual"),
    ),
)

__all__ = ["At", "HEADS", "HEADS_128", "HEADS_256", "LLAMA", "SILU", "SWIGLU", "TABLES", "WINDOWS"]
