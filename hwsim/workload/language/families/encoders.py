"""Encoders: attention in both directions, no cache, no tokens made one by one.

Sources: configuration and modelling classes of huggingface/transformers, models/NAME.
"""

from __future__ import annotations

from hwsim.workload.language.families.table import Every, Family

BOTH_WAYS = {
    "kind": "attention",
    "q_heads": "num_attention_heads",
    "kv_heads": "num_attention_heads",
    "head_dim": "hidden_size//num_attention_heads",
    "rope": "=false",
    "bias": "=true",
    "causal": "=false",
}
BERT = {
    "parts": {
        "encoder": BOTH_WAYS,
        "mlp": {"intermediate": "intermediate_size", "gated": "=false", "activation": "=gelu", "bias": "=true"},
    },
    "mixer": "encoder",
    "ffn": "mlp",
    "tied": True,
    "bare_head": "pooler",
    "top": {
        "norm.kind": "=layer", "norm.bias": "=true", "norm.place": "=post", "final_norm": "=false",
        "embedding_norm": "=true", "positions": "max_position_embeddings+type_vocab_size",
    },
    "refuse": {
        "hidden_act": ("gelu",), "position_embedding_type": ("absolute",), "is_decoder": (False,),
        "add_cross_attention": (False,),
    },
}  # fmt: skip

TABLES = (
    Family(types=("bert", "roberta", "xlm-roberta", "camembert"), **BERT),  # type: ignore[arg-type]
    Family(
        types=("modernbert",),
        parts={
            "near": BOTH_WAYS | {"rope": "=true", "bias": "attention_bias|=false", "window": "local_attention|128"},
            "far": BOTH_WAYS | {"rope": "=true", "bias": "attention_bias|=false"},
            "mlp": {
                "intermediate": "intermediate_size",
                "gated": "=true",
                "activation": "=gelu",
                "bias": "mlp_bias|=false",
            },
        },
        mixer=Every("global_attn_every_n_layers|3", "far", "near", offset="=0"),
        ffn="mlp",
        # the first layer has no norm of its own before attention, but one follows the embedding: the same count
        tied=True,
        top={"norm.kind": "=layer"},
        refuse={"hidden_activation": ("gelu",), "norm_bias": (False,), "tie_word_embeddings": (True,)},
        silent=(
            "classifier_activation",
            "classifier_bias",
            "classifier_pooling",
            "decoder_bias",
            "deterministic_flash_attn",
            "global_rope_theta",
            "local_rope_theta",
            "reference_compile",
            "repad_logits_with_grad",
            "sparse_pred_ignore_index",
            "sparse_prediction",
            "position_embedding_type",
            "cls_token_id",
            "sep_token_id",
        ),
    ),
)
