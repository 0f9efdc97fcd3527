"""Encoders: attention in both directions, no cache, no tokens made one by one; and a decoder that attends to one.

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

WHISPER_HEADS = {
    "kind": "attention",
    "q_heads": "decoder_attention_heads",
    "kv_heads": "decoder_attention_heads",
    "head_dim": "d_model//decoder_attention_heads",
    "rope": "=false",
    "bias": "=qvo",
}

TABLES = (
    Family(  # the decoder; the encoder, which runs once per piece of sound, is a graph
        types=("whisper",),
        parts={
            "own": WHISPER_HEADS,
            "cross": WHISPER_HEADS | {"source": "max_source_positions"},
            "mlp": {"intermediate": "decoder_ffn_dim", "gated": "=false", "activation": "=gelu", "bias": "=true"},
        },
        mixer="own cross",
        ffn="mlp",
        tied=True,
        hidden="d_model",
        layers="decoder_layers",
        what="the decoder; its encoder is a graph",
        context="max_target_positions",
        top={"norm.kind": "=layer", "norm.bias": "=true", "positions": "max_target_positions"},
        refuse={"activation_function": ("gelu",), "scale_embedding": (False,), "is_encoder_decoder": (True,)},
        silent=(
            "apply_spec_augment",
            "encoder_attention_heads",
            "encoder_ffn_dim",
            "encoder_layerdrop",
            "encoder_layers",
            "decoder_layerdrop",
            "mask_feature_length",
            "mask_feature_min_masks",
            "mask_feature_prob",
            "mask_time_length",
            "mask_time_min_masks",
            "mask_time_prob",
            "median_filter_width",
            "num_hidden_layers",
            "num_mel_bins",
            "use_weighted_layer_sum",
            "classifier_proj_size",
            "init_std",
            "alignment_heads",
        ),
    ),
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
