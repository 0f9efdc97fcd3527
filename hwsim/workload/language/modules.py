"""Names of the modules of a released checkpoint: which belong to which weight class of which layer.

A release lists by name what it leaves in 16 bits, or what it stores in which format. Files spell names in several ways
(`model.layers.3`, `backbone.layers.3`), so that each module here has all the names that released files use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import translate
from typing import NamedTuple

_PREFIXES = (
    "model.layers.",
    "model.language_model.layers.",
    "language_model.model.layers.",
    "language_model.layers.",
    "backbone.layers.",
    "layers.",
)

_ATTENTION = ("self_attn", "mixer", "attention")
_FEED_FORWARD = ("mlp", "feed_forward", "mixer", "block_sparse_moe", "ffn")

#: Kind of part -> weight class -> its modules: (share of the elements, names).
_MODULES: dict[str, dict[str, tuple[tuple[int, tuple[str, ...]], ...]]] = {
    "attention": {
        "attention_qkv": (
            (4, tuple(f"{a}.{n}" for a in _ATTENTION for n in ("q_proj", "qkv_proj"))),
            (1, tuple(f"{a}.k_proj" for a in _ATTENTION)),
            (1, tuple(f"{a}.v_proj" for a in _ATTENTION)),
        ),
        "attention_out": ((1, tuple(f"{a}.o_proj" for a in _ATTENTION)),),
    },
    "mla": {
        "attention_qkv": (
            (4, ("self_attn.q_b_proj", "self_attn.q_proj")),
            (2, ("self_attn.kv_b_proj",)),
            (2, ("self_attn.q_a_proj", "self_attn.fused_qkv_a_proj_with_mqa")),
            (1, ("self_attn.kv_a_proj_with_mqa",)),
        ),
        "attention_out": ((1, ("self_attn.o_proj",)),),
    },
    "gdn": {
        "mamba_in": ((1, ("linear_attn.in_proj_qkvz", "linear_attn.in_proj_qkv")),),
        "mamba_out": ((1, ("linear_attn.out_proj",)),),
    },
    "kda": {
        "mamba_in": ((1, ("self_attn.q_proj", "linear_attn.q_proj")),),
        "mamba_out": ((1, ("self_attn.o_proj", "linear_attn.o_proj")),),
    },
    "lightning": {
        "mamba_in": ((1, ("self_attn.qkv_proj",)),),
        "mamba_out": ((1, ("self_attn.out_proj",)),),
    },
    "mamba2": {
        "mamba_in": ((1, ("mixer.in_proj", "mamba.in_proj")),),
        "mamba_out": ((1, ("mixer.out_proj", "mamba.out_proj")),),
    },
    "mlp": {
        "mlp": (
            (2, tuple(f"{f}.{n}" for f in _FEED_FORWARD for n in ("up_proj", "gate_up_proj", "w1"))),
            (1, tuple(f"{f}.{n}" for f in _FEED_FORWARD for n in ("down_proj", "w2"))),
        ),
    },
    "moe": {
        "experts": (
            (2, tuple(f"{f}.experts{n}" for f in _FEED_FORWARD for n in (".0.up_proj", ".gate_up_proj", ".0.w1"))),
            (1, tuple(f"{f}.experts{n}" for f in _FEED_FORWARD for n in (".0.down_proj", ".down_proj", ".0.w2"))),
        ),
        "shared_experts": (
            (
                1,
                tuple(
                    f"{f}.{s}.{n}"
                    for f in _FEED_FORWARD
                    for s in ("shared_experts", "shared_expert", "shared_mlp")
                    for n in ("up_proj", "gate_up_proj")
                ),
            ),
        ),
        "latent": ((1, ("mixer.fc1_latent_proj", "mixer.fc2_latent_proj")),),
    },
}
_MODULES["mamba1"] = _MODULES["mamba2"]
_MODULES["shortconv"] = {
    "mamba_in": ((1, ("conv.in_proj",)),),
    "mamba_out": ((1, ("conv.out_proj",)),),
}


class Module(NamedTuple):
    """One module: weight class, layer (-1: outside the layers), its share of the class, and all of its names."""

    weights: str
    layer: int
    share: int
    names: tuple[str, ...]


def modules_of(kinds: Iterable[Iterable[str]], classes: set[str]) -> Iterator[Module]:
    """The modules of layers whose parts have these kinds, of the weight classes that the model has."""
    for layer, parts in enumerate(kinds):
        for part in parts:
            for weights, found in _MODULES[part].items():
                if weights in classes:
                    for share, names in found:
                        spelt = tuple(f"{prefix}{layer}.{name}" for prefix in _PREFIXES for name in names)
                        yield Module(weights, layer, share, spelt)


def outside(layers: int) -> Iterator[Module]:
    """The embedding, the head, and the multi-token-prediction block after `layers` layers."""
    yield Module("embedding", -1, 1, ("model.embed_tokens", "model.language_model.embed_tokens", "backbone.embeddings"))
    yield Module("head", -1, 1, ("lm_head", "model.lm_head", "language_model.lm_head"))
    block = tuple(f"{prefix}{layers}.mlp.experts.0.up_proj" for prefix in _PREFIXES)
    more = ("mtp.layers.0.mlp.experts.0.up_proj", "mtp.layers.0.mixer.experts.0.up_proj", "mtp.fc")
    yield Module("mtp", -1, 1, (*block, *more))


class Patterns:
    """Names, parts of names, wildcards (`model.layers.3.*`) and regular expressions (`re:...`) of modules.

    A name fits an entry that it equals or begins with (up to a dot), a wildcard that fits it so, a regular expression
    that fits its beginning, and an entry without a dot that is one of its components.
    """

    def __init__(self, entries: Iterable[str]):
        """raises: re.error for an entry that is no regular expression."""
        listed = list(dict.fromkeys(entries))
        self.plain = {e for e in listed if not e.startswith("re:") and "*" not in e}
        self.by_layer: dict[str, list[str]] = {}
        for entry in listed:
            if entry in self.plain:
                continue
            fits = entry[3:] if entry.startswith("re:") else f"(?:{translate(entry)}|{translate(entry + '.*')})"
            named = re.search(r"layers\.(\d+)\.", entry) if not entry.startswith("re:") else None
            self.by_layer.setdefault(named[1] if named else "", []).append(f"(?:{fits})")
        self._made = {layer: [re.compile(each) for each in fits] for layer, fits in self.by_layer.items()}

    def fits(self, name: str) -> bool:
        """Whether some entry fits the name."""
        steps = name.split(".")
        if any(".".join(steps[:end]) in self.plain for end in range(1, len(steps) + 1)):
            return True
        if any(step in self.plain for step in steps):
            return True
        layer = steps[steps.index("layers") + 1] if "layers" in steps else ""
        return any(made.match(name) for key in {"", layer} for made in self._made.get(key, ()))

    def fit_any(self, names: Iterable[str]) -> bool:
        """Whether some entry fits one of the names."""
        return any(map(self.fits, names))
