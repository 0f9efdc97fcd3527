"""A Hugging Face config.json as a document in the layout of our model files; each value keeps its place in the JSON.

Keys and their defaults: the configuration classes of huggingface/transformers (models/llama, qwen3_moe,
gpt_oss, mamba2, nemotron_h) and, for the Mamba-2 checkpoints of its authors, state-spaces/mamba (MambaConfig,
modules/mamba2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.files.yaml import MAX_BYTES, Document, Loc, Mark, raise_problems, short

_BLOCKS = {
    "mamba": "M",
    "linear_attention": "M",
    "moe": "E",
    "attention": "*",
    "full_attention": "*",
    "mlp": "-",
}


def read(path: Path) -> Document:
    """Read a config.json as a document in our layout. raises: InputError with every error found."""
    source = str(path)
    try:
        raw = path.open("rb").read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{short(source, 200)}: cannot be read ({reason}); write the path of a config.json") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{source}: larger than {MAX_BYTES // 1024} KiB; write the path of a config.json")
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    try:
        return translate(raw.decode("utf-8-sig"), source, name)
    except UnicodeDecodeError:
        raise InputError(f"{source}: not UTF-8 text (a binary file?); write the path of a config.json") from None


def translate(text: str, source: str, name: str) -> Document:
    """The JSON text of a configuration as a document of our layout; `name` becomes the model's name."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{source}:{error.lineno}:{error.colno}"
        raise InputError(f"{place}: not JSON ({error.msg.lower()}); repair the file or download it again") from None
    except (ValueError, RecursionError):
        raise InputError(f"{source}: not JSON of a configuration; repair the file or download it again") from None
    if not isinstance(data, dict):
        raise InputError(f"{source}:1:1: not an object; write the path of a model's config.json")
    config = _Config(data, text, source)
    kind = data.get("model_type")
    ssm = data.get("ssm_cfg")
    if kind is None and isinstance(ssm, dict) and ssm.get("layer") == "Mamba2":
        kind = "state-spaces"
    known = [k for k in _KINDS if k != "state-spaces"]
    if not isinstance(kind, str):
        raise InputError(f"{source}:1:1: model_type: missing; known: {', '.join(known)}")
    if kind not in _KINDS:
        near = nearest(short(kind), known)
        also = f"; known: {', '.join(known)}" if "known:" not in near else ""
        raise InputError(f"{config.mark('model_type')}: model_type: unknown architecture {short(kind)}{near}{also}")
    config.data["name"] = re.sub("[^a-z0-9._-]", "-", name.lower()).strip("._-")[:64] or kind
    config.data["description"] = f"{source} ({kind})"
    _KINDS[kind](config)
    if config.problems:
        raise_problems(config.problems)
    return Document(source, config.data, {}, config.values)


class _Config:
    """The given JSON, and the document in our layout that is made from it."""

    def __init__(self, given: dict[str, Any], text: str, source: str):
        self.given, self.text, self.source = given, text, source
        self.data: dict[str, Any] = {}
        self.values: dict[Loc, Mark] = {(): Mark(source, 1, 1)}
        self.problems: list[str] = []

    def mark(self, key: str) -> Mark:
        """Place of the first occurrence of the key, or of the start of the file."""
        found = re.search(rf'"{re.escape(key)}"\s*:', self.text)
        if not found:
            return Mark(self.source, 1, 1)
        before = self.text[: found.start()]
        return Mark(self.source, before.count("\n") + 1, found.start() - before.rfind("\n"))

    def get(self, *keys: str, default: Any = None) -> Any:
        """The value of the first key that exists and is not null; else the default. Without a default: an error."""
        for key in keys:
            if self.given.get(key) is not None:
                return self.given[key]
        if default is None:
            self.problems.append(f"{self.source}:1:1: {keys[0]}: missing; write the number of the model")
        return default

    def size(self, *keys: str, default: int | None = None) -> int:
        """A whole number for a calculation; 1 if the file has none, which is already an error."""
        value = self.get(*keys, default=default)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9:
            return value
        if value is not None:
            key = next(k for k in keys if self.given.get(k) is not None)
            self.problems.append(f"{self.mark(key)}: {key}: is not a whole number; write the number of the model")
        return 1

    def put(self, where: str, *keys: str, default: Any = None) -> None:
        """Copy the value of a key to a dotted path of our layout."""
        self.set(where, self.get(*keys, default=default), *keys)

    def set(self, where: str, value: Any, *keys: str) -> None:
        """Set a dotted path of our layout to a value that came from one of the keys."""
        *parents, last = where.split(".")
        node = self.data
        for i, parent in enumerate(parents):
            node = node.setdefault(parent, {})
            self.values.setdefault(tuple(parents[: i + 1]), Mark(self.source, 1, 1))
        if value is not None:
            node[last] = value
            key = next((k for k in keys if self.given.get(k) is not None), None)
            self.values[(*parents, last)] = self.mark(key) if key else Mark(self.source, 1, 1)

    def refuse(self, key: str, wanted: Any) -> None:
        """Add an error if the file has a value that is not modelled."""
        value = self.given.get(key)
        if value is not None and value != wanted:
            shown = f"{short(json.dumps(value))} is not modelled, only {json.dumps(wanted)} is"
            self.problems.append(f"{self.mark(key)}: {key}: {shown}; write the model as a YAML file if it can be")

    def blocks(self, pattern: str, names: str, default: str | None = None) -> str | None:
        """Letters of a nemotron_h layer pattern, or of the list of layer names in newer files."""
        listed = self.given.get(names)
        if not isinstance(listed, list):
            value = self.get(pattern, default=default)
            return value if isinstance(value, str) else None
        unknown = [n for n in listed if not isinstance(n, str) or n not in _BLOCKS]
        if unknown:
            near = nearest(short(unknown[0]), _BLOCKS)
            self.problems.append(f"{self.mark(names)}: {names}: unknown layer {short(unknown[0])}{near}")
            return None
        return "".join(_BLOCKS[n] for n in listed)


def _width_and_tables(c: _Config, tied: bool) -> None:
    c.put("hidden", "hidden_size")
    c.put("vocab", "vocab_size")
    if c.given.get("max_position_embeddings") is not None:
        c.put("max_context", "max_position_embeddings")
    c.put("tied_embeddings", "tie_word_embeddings", default=tied)


def _attention(c: _Config, rope: bool, bias: bool = False, head_dim: int | None = None) -> None:
    heads = c.size("num_attention_heads")
    c.put("attention.q_heads", "num_attention_heads")
    c.put("attention.kv_heads", "num_key_value_heads", default=heads)
    share = head_dim or max(1, c.size("hidden_size") // max(heads, 1))
    c.put("attention.head_dim", "head_dim", "attention_head_dim", default=share)
    c.set("attention.rope", rope)
    c.put("attention.bias", "attention_bias", default=bias)


def _llama(c: _Config) -> None:
    c.refuse("hidden_act", "silu")
    _width_and_tables(c, tied=False)
    c.set("layers", "X" * min(c.size("num_hidden_layers"), 2000), "num_hidden_layers")
    _attention(c, rope=True)
    c.put("mlp.intermediate", "intermediate_size")
    c.set("mlp.gated", True)
    c.set("mlp.activation", "silu")
    c.put("mlp.bias", "mlp_bias", default=False)


def _qwen3_moe(c: _Config) -> None:
    c.refuse("hidden_act", "silu")
    c.refuse("use_sliding_window", False)
    _width_and_tables(c, tied=False)
    step, dense = c.size("decoder_sparse_step", default=1), c.get("mlp_only_layers", default=[])
    sparse = [
        not (isinstance(dense, list) and i in dense) and not (i + 1) % max(step, 1)
        for i in range(min(c.size("num_hidden_layers"), 2000))
    ]
    c.set("layers", "".join("Y" if s else "X" for s in sparse), "num_hidden_layers")
    _attention(c, rope=True)
    c.set("attention.qk_norm", True)
    if not all(sparse):
        c.put("mlp.intermediate", "intermediate_size")
        c.set("mlp.gated", True)
        c.set("mlp.activation", "silu")
    c.put("moe.experts", "num_experts", "num_local_experts")
    c.put("moe.top_k", "num_experts_per_tok")
    c.put("moe.intermediate", "moe_intermediate_size")
    c.set("moe.gated", True)
    c.set("moe.activation", "silu")


def _gpt_oss(c: _Config) -> None:
    _width_and_tables(c, tied=False)
    n = min(c.size("num_hidden_layers"), 2000)
    types = c.get("layer_types", default=["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(n)])
    letters = {"sliding_attention": "y", "full_attention": "Y"}
    if not isinstance(types, list) or any(not isinstance(t, str) or t not in letters for t in types):
        c.problems.append(f"{c.mark('layer_types')}: layer_types: write a list of {' and '.join(letters)}")
        types = ["full_attention"]
    c.set("layers", "".join(letters[t] for t in types), "layer_types", "num_hidden_layers")
    _attention(c, rope=True, bias=True, head_dim=64)
    c.put("attention.window", "sliding_window", default=128)
    c.set("attention.sinks", True)
    c.put("moe.experts", "num_local_experts")
    c.put("moe.top_k", "num_experts_per_tok", "experts_per_token")
    c.put("moe.intermediate", "intermediate_size")
    c.set("moe.gated", True)
    c.set("moe.activation", "silu_clamped")
    c.set("moe.bias", True)


def _mamba2(c: _Config) -> None:
    c.refuse("use_bias", False)
    c.refuse("use_conv_bias", True)
    _width_and_tables(c, tied=False)
    c.set("layers", "M" * min(c.size("num_hidden_layers"), 2000), "num_hidden_layers")
    c.put("mamba2.heads", "num_heads")
    c.put("mamba2.head_dim", "head_dim")
    c.put("mamba2.state", "state_size")
    c.put("mamba2.groups", "n_groups")
    c.put("mamba2.conv_kernel", "conv_kernel", default=4)
    c.put("mamba2.chunk", "chunk_size", default=256)


def _state_spaces(c: _Config) -> None:
    c.refuse("d_intermediate", 0)
    c.refuse("attn_layer_idx", [])
    for key in sorted(set(c.given["ssm_cfg"]) - {"layer"}):
        c.problems.append(f"{c.mark(key)}: ssm_cfg.{short(key)}: is not read; write the model as a YAML file")
    width, rows = c.size("d_model"), max(1, c.size("pad_vocab_size_multiple", default=8))
    c.set("hidden", width, "d_model")
    c.set("vocab", -(-c.size("vocab_size") // rows) * rows, "vocab_size")
    c.put("tied_embeddings", "tie_embeddings", default=True)
    c.set("layers", "M" * min(c.size("n_layer"), 2000), "n_layer")
    shape = {
        "heads": 2 * width // 64,
        "head_dim": 64,
        "state": 128,
        "groups": 1,
        "conv_kernel": 4,
        "chunk": 256,
    }
    for key, value in shape.items():
        c.set(f"mamba2.{key}", value)


def _nemotron_h(c: _Config) -> None:
    c.refuse("mlp_hidden_act", "relu2")
    for key in ("use_bias", "mamba_proj_bias"):
        c.refuse(key, False)
    c.refuse("use_conv_bias", True)
    _width_and_tables(c, tied=False)
    layers = c.blocks("hybrid_override_pattern", "layers_block_type")
    c.set("layers", layers, "layers_block_type", "hybrid_override_pattern")
    mtp = None
    if c.size("num_nextn_predict_layers", default=0):
        mtp = c.blocks("mtp_hybrid_override_pattern", "mtp_layers_block_type", default="*E")
        c.set("mtp", mtp, "mtp_layers_block_type", "mtp_hybrid_override_pattern")
    letters = {*(layers or ""), *(mtp or "")}
    if "*" in letters:
        _attention(c, rope=False)
    if "M" in letters:
        c.put("mamba2.heads", "mamba_num_heads")
        c.put("mamba2.head_dim", "mamba_head_dim")
        c.put("mamba2.state", "ssm_state_size")
        c.put("mamba2.groups", "n_groups", "mamba_n_groups")
        c.put("mamba2.conv_kernel", "conv_kernel", "mamba_d_conv", default=4)
        c.put("mamba2.chunk", "chunk_size", "mamba_chunk_size", default=128)
    if "-" in letters:
        c.put("mlp.intermediate", "intermediate_size")
        c.set("mlp.gated", False)
        c.set("mlp.activation", "relu2")
        c.put("mlp.bias", "mlp_bias", default=False)
    if "E" in letters:
        c.put("moe.experts", "n_routed_experts", "num_local_experts")
        c.put("moe.top_k", "num_experts_per_tok")
        c.put("moe.intermediate", "moe_intermediate_size")
        c.set("moe.gated", False)
        c.set("moe.activation", "relu2")
        c.put("moe.shared_intermediate", "moe_shared_expert_intermediate_size")
        c.put("moe.latent", "moe_latent_size", default=0)


_KINDS: dict[str, Callable[[_Config], None]] = {
    "gpt_oss": _gpt_oss,
    "llama": _llama,
    "mamba2": _mamba2,
    "nemotron_h": _nemotron_h,
    "qwen3_moe": _qwen3_moe,
    "state-spaces": _state_spaces,
}
