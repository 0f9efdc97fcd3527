"""Keys of a config.json that change neither the shape of a language model nor the work of a step."""

from __future__ import annotations

import re

#: Token ids, dropout, generation, library, training, precision of norms: as words, or as patterns.
SILENT = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path add_cross_attention_id
    architectures attention_softmax_in_fp32 attn_implementation auto_map aux_loss_alpha aux_loss_coef bad_words_ids
    begin_suppress_tokens bos_token cache_implementation chunk_size_feed_forward classifier_dropout
    compression_config cross_attention_hidden_size_id custom_generate diversity_penalty do_sample dtype
    early_stopping embedding_dropout encoder_no_repeat_ngram_size eos_token ep_size exponential_decay_length_penalty
    finetuning_task flash_attn forced_bos_token_id forced_eos_token_id fused_mlp gradient_checkpointing hidden_size
    id2label initial_context_length initializer_range is_decoder keys_to_ignore_at_inference label2id language
    layer_norm_eps layer_norm_epsilon layernorm_eps layernorm_epsilon length_penalty license max_length
    max_new_tokens max_position_embeddings max_seq_len max_sequence_length min_length mlp_dropout model_max_length
    model_type moe_dropout name no_repeat_ngram_size norm_eps norm_epsilon norm_topk_prob num_beam_groups num_beams
    num_labels num_return_sequences original_max_position_embeddings output_attentions output_hidden_states
    output_router_logits output_scores pad_token prefix pretraining_tp problem_type pruned_heads quantization
    quantization_config query_pre_attn_scalar remove_invalid_values repetition_penalty rescale_prenorm_residual
    residual_dropout residual_in_fp32 return_dict return_dict_in_generate rms_norm_eps rope_interleave
    rope_interleaved rope_local_base_freq rope_parameters rope_pct rope_scaling rope_theta rope_type rotary_base
    routed_scaling_factor router_aux_loss_coef router_jitter_noise router_z_loss_coef sampling save_dtype scale_emb
    seq_aux seq_length softmax_scale suppress_tokens task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tie_word_embeddings tokenizer_class top_p torch_dtype torch_dtype_str torchscript
    transformers_version typical_p unk_token unsloth_fixed unsloth_version use_bfloat16 use_cache
    use_flash_attention use_fused_mlp use_kernels use_return_dict vocab_size
    """.split()
)
_PATTERNS = re.compile(
    r".*_token_ids?|.*_token_index|.*_dropout(_prob|_rate)?|.*_pdrop|dropout|.*_dropout_p|initializer_.*|.*_initializer(_range)?"
    r"|.*init_std|.*_init_range|_.*"
)

#: Keys of a file around a language model: of the tower that is left out.
_OUTER = re.compile(
    r"(vision|image|video|audio|visual|mm|projector|multimodal|ignore|media|tower)_.*|spatial_merge_size|patch_size"
    r"|vision_config|audio_config|text_config|language_config|llm_config|use_image_.*|use_unified_vision_chunk"
    r"|.*_placeholder|boi_.*|eoi_.*|downsample_ratio|select_layer|template|.*_template|force_image_size|ps_version"
    r"|tile_tag|global_view_pos|candidate_resolutions|image_size|processor_class|language_model_only"
)


def is_silent(key: str) -> bool:
    """Whether the key of a language model changes nothing."""
    return key in SILENT or _PATTERNS.fullmatch(key) is not None


def is_outer(key: str) -> bool:
    """Whether the key belongs to the file around a language model."""
    return is_silent(key) or _OUTER.fullmatch(key) is not None
