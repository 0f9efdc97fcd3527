"""Parameters of a language model from the keys of its config.json, by the formulas of the papers: nothing of hwsim.

`counts(config)` is (all parameters, those that a token uses with the head), without the multi-token-prediction block.
h hidden, V vocabulary, nq / nkv heads, d head width, I width of a feed-forward block, E experts, k chosen, m wide.
"""

from typing import Any

Config = dict[str, Any]


def swiglu(h, width):
    return 3 * h * width


def gqa(c, h, **more):
    """Q, K, V and output of grouped-query attention. more: gate, qk ("head", "width"), qkv_bias."""
    nq, nkv = c["num_attention_heads"], c.get("num_key_value_heads") or c["num_attention_heads"]
    d = c.get("head_dim") or c.get("attention_head_dim") or h // nq
    n = h * d * (nq + 2 * nkv) + nq * d * h
    n += h * nq * d if more.get("gate") else 0
    n += {"head": 2 * d, "width": (nq + nkv) * d, None: 0}[more.get("qk")]
    n += (nq + 2 * nkv) * d if more.get("qkv_bias") else 0
    return n + (h * more.get("out_bias", 0)) + (nq if more.get("sinks") else 0)


def experts(c, h, shared_width=0, correction=0, shared_gate=0, latent=0, g=3, bias=0):
    """(all, active) of router, experts, shared expert."""
    e = c.get("n_routed_experts") or c.get("num_experts") or c["num_local_experts"]
    m = c.get("moe_intermediate_size") or c["intermediate_size"]
    one = g * (latent or h) * m + (bias and (g - 1) * m + h)
    rest = e * h + e * correction + (e if bias else 0) + g * h * shared_width + h * shared_gate + 2 * h * latent
    return rest + e * one, rest + c["num_experts_per_tok"] * one


def mla(c, h):
    """Latent attention: queries (through a rank, if there is one), the cached row, K and V from it, output."""
    nq, r, dr = c["num_attention_heads"], c["kv_lora_rank"], c["qk_rope_head_dim"]
    dn, dv, q = c["qk_nope_head_dim"], c["v_head_dim"], c["q_lora_rank"]
    queries = h * q + q + q * nq * (dn + dr) if q else h * nq * (dn + dr)
    n = queries + h * (r + dr) + r + r * nq * (dn + dv) + nq * dv * h
    if "index_n_heads" in c:
        ni, di = c["index_n_heads"], c["index_head_dim"]
        n += q * ni * di + h * di + 2 * di + h * ni
    return n


def delta(c, h):
    """Gated DeltaNet."""
    nk, nv = c["linear_num_key_heads"], c["linear_num_value_heads"]
    key, value = nk * c["linear_key_head_dim"], nv * c["linear_value_head_dim"]
    taps = (2 * key + value) * c["linear_conv_kernel_dim"]
    return h * (2 * key + 2 * value) + 2 * h * nv + taps + 2 * nv + c["linear_value_head_dim"] + value * h


def mamba2(h, heads, p, n, groups, kernel, norm=True):
    inner = heads * p
    conv = inner + 2 * groups * n
    return h * (inner + conv + heads) + conv * (kernel + 1) + 3 * heads + inner * norm + inner * h


def mamba1(h, inner, rank, n, kernel, norms):
    x = inner * (rank + 2 * n) + rank * inner + inner
    return 2 * h * inner + inner * (kernel + 1) + x + inner * n + inner + inner * h + (rank + 2 * n) * norms


def counts(config: Config) -> tuple[int, int]:
    """(total, active with head)."""
    outer, c = config, config.get("text_config", config)
    kind = c.get("model_type", "state-spaces")
    h = c.get("hidden_size") or c["d_model"]
    layers = c.get("num_hidden_layers") or c["n_layer"]
    vocab, total, active = c["vocab_size"], h, h
    tied = c.get("tie_word_embeddings", outer.get("tie_word_embeddings", kind.startswith("gemma")))
    if kind == "state-spaces":
        rows = c["pad_vocab_size_multiple"]
        vocab, tied = -(-vocab // rows) * rows, c["tie_embeddings"]
    for i in range(layers):
        everything, used = layer(c, kind, h, i)
        total, active = total + everything, active + used
    return total + vocab * h * (1 if tied else 2), active + vocab * h


def layer(c: Config, kind: str, h: int, i: int) -> tuple[int, int]:
    """(total, active) of layer i."""
    norms = 2 * h
    if kind in ("llama", "mistral", "phi3"):
        return (gqa(c, h) + swiglu(h, c["intermediate_size"]) + norms,) * 2
    if kind in ("qwen2", "qwen3", "olmo2"):
        more = {"qwen2": {"qkv_bias": 1}, "qwen3": {"qk": "head"}, "olmo2": {"qk": "width"}}[kind]
        return (gqa(c, h, **more) + swiglu(h, c["intermediate_size"]) + norms,) * 2
    if kind.startswith("gemma"):
        return (gqa(c, h, qk="head" if "3" in kind else None) + swiglu(h, c["intermediate_size"]) + 2 * norms,) * 2
    if kind == "llama4_text":
        return plus(experts(c, h, c["intermediate_size"]), gqa(c, h) + norms)
    if kind in ("mixtral", "qwen3_moe", "gpt_oss", "minimax_m2"):
        oss, width = kind == "gpt_oss", kind == "minimax_m2"
        qk = "width" if width else "head" if kind == "qwen3_moe" else None
        mixer = gqa(c, h, qk=qk, qkv_bias=oss, out_bias=oss, sinks=oss)
        return plus(experts(c, h, correction=width, bias=oss), mixer + norms)
    if kind in ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa", "glm4_moe"):
        mixer = gqa(c, h, qkv_bias=1) if kind == "glm4_moe" else mla(c, h)
        if i < c["first_k_dense_replace"]:
            return (mixer + swiglu(h, c["intermediate_size"]) + norms,) * 2
        shared = c["n_shared_experts"] * c["moe_intermediate_size"]
        return plus(experts(c, h, shared, correction=kind != "deepseek_v2"), mixer + norms)
    if kind.startswith("qwen3_"):
        full = (i + 1) % c["full_attention_interval"] == 0
        mixer = gqa(c, h, gate=1, qk="head") if full else delta(c, h)
        return plus(experts(c, h, c["shared_expert_intermediate_size"], shared_gate=1), mixer + norms)
    return hybrid(c, kind, h, i)


def hybrid(c: Config, kind: str, h: int, i: int) -> tuple[int, int]:
    """(total, active) of layer i of models with Mamba layers."""
    if kind == "nemotron_h":
        names = {"mamba": "M", "moe": "E", "attention": "*"}
        letter = c["hybrid_override_pattern"][i] if "layers_block_type" not in c else names[c["layers_block_type"][i]]
        if letter == "M":
            sizes = c["mamba_num_heads"], c["mamba_head_dim"], c["ssm_state_size"], c["n_groups"], c["conv_kernel"]
            return (mamba2(h, *sizes) + h,) * 2
        if letter == "*":
            return (gqa(c, h) + h,) * 2
        if letter == "-":
            return (2 * h * c["intermediate_size"] + h,) * 2
        shared, latent = c["moe_shared_expert_intermediate_size"], c.get("moe_latent_size") or 0
        return plus(experts(c, h, shared, correction=1, g=2, latent=latent), h)
    if kind == "mamba2":
        return (mamba2(h, c["num_heads"], c["head_dim"], c["state_size"], c["n_groups"], c["conv_kernel"]) + h,) * 2
    if kind == "state-spaces":
        return (mamba2(h, 2 * h // 64, 64, 128, 1, 4) + h,) * 2
    if kind == "jamba":
        inner = c["mamba_expand"] * h
        scan = mamba1(h, inner, c["mamba_dt_rank"], c["mamba_d_state"], c["mamba_d_conv"], 1)
        mixer = gqa(c, h) if i % c["attn_layer_period"] == c["attn_layer_offset"] else scan
        if i % c["expert_layer_period"] == c["expert_layer_offset"]:
            return plus(experts(c, h), mixer + 2 * h)
        return (mixer + swiglu(h, c["intermediate_size"]) + 2 * h,) * 2
    ssm = mamba2(
        h, c["mamba_n_heads"], c["mamba_d_head"], c["mamba_d_state"], c["mamba_n_groups"], c["mamba_d_conv"],
        norm=kind != "falcon_h1",
    )  # fmt: skip
    if kind == "falcon_h1":
        return (gqa(c, h) + ssm + swiglu(h, c["intermediate_size"]) + 2 * h,) * 2
    if kind == "bamba":
        mixer = gqa(c, h) if i in c["attn_layer_indices"] else ssm
        return (mixer + swiglu(h, c["intermediate_size"]) + 2 * h,) * 2
    assert kind == "granitemoehybrid", kind
    mixer = gqa(c, h) if c["layer_types"][i] == "attention" else ssm
    return plus(experts(c, h, c["shared_intermediate_size"]), mixer + 2 * h)


def plus(pair: tuple[int, int], more: int) -> tuple[int, int]:
    return pair[0] + more, pair[1] + more
