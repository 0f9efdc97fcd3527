"""Families whose layers were found by a search, so that each has a shape of its own.

Source: modelling_decilm.py and block_config.py, which the releases of nvidia/Llama-3_3-Nemotron-Super-49B-v1 contain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwsim.workload.language.families.dense import SILU
from hwsim.workload.language.families.given import is_count
from hwsim.workload.language.families.table import Family, Missing, Types

#: Inner widths are a multiple of this.
MULTIPLE = 256


def _halves(given: Mapping[str, Any], half: str) -> list[Mapping[str, Any]] | None:
    """The entries `attention` or `ffn` of `block_configs`; None where the list is none."""
    blocks = given.get("block_configs")
    if not isinstance(blocks, list) or not blocks:
        return None
    halves = [block[half] for block in blocks if isinstance(block, dict) and isinstance(block.get(half), dict)]
    return halves if len(halves) == len(blocks) else None


def _words(half: str) -> Any:
    def words(given: Mapping[str, Any]) -> list[str] | None:
        """What each layer has there: nothing, a matrix in its place, or the part itself."""
        halves = _halves(given, half)
        if halves is None:
            return None
        return [
            "none" if each.get("no_op") else "linear" if each.get("replace_with_linear") else half for each in halves
        ]

    return words


def _kept(given: Mapping[str, Any], half: str) -> list[Mapping[str, Any]]:
    """The entries of the layers that have the part."""
    return [
        each for each in _halves(given, half) or [] if not each.get("no_op") and not each.get("replace_with_linear")
    ]


def _kv_heads(given: Mapping[str, Any]) -> list[int] | None:
    """Query heads over the heads per group."""
    heads, groups = given.get("num_attention_heads"), [e.get("n_heads_in_group") for e in _kept(given, "attention")]
    counts = [n for n in groups if is_count(n)]
    if not is_count(heads) or not groups or counts != groups or any(heads % n for n in counts):
        return None
    return [heads // n for n in counts]


def _widths(given: Mapping[str, Any]) -> list[int] | None:
    """Two thirds of a multiple of the hidden width, rounded up."""
    hidden, factors = given.get("hidden_size"), [each.get("ffn_mult") for each in _kept(given, "ffn")]
    numbers = [factor for factor in factors if isinstance(factor, (int, float)) and 0 < factor < 1000]
    if not is_count(hidden) or not factors or numbers != factors:
        return None
    return [-(-int(2 * factor * hidden / 3) // MULTIPLE) * MULTIPLE for factor in numbers]


TABLES = (
    Family(
        types=("nemotron-nas",),
        parts={
            "grouped": {
                "kind": "attention",
                "q_heads": "num_attention_heads",
                "kv_heads": "block_configs.attention.n_heads_in_group",
                "head_dim": "head_dim|hidden_size//num_attention_heads",
                "rope": "=true",
                "bias": "attention_bias|=false",
            },
            "ffn": {
                "kind": "mlp",
                "intermediate": "block_configs.ffn.ffn_mult",
                "gated": "=true",
                "activation": "=silu",
                "bias": "mlp_bias|=false",
            },
        },
        mixer=Types("block_configs.attention", {"attention": "grouped", "none": ""}, Missing("block_configs")),
        ffn=Types("block_configs.ffn", {"ffn": "ffn", "none": ""}, Missing("block_configs")),
        refuse=SILU,
        silent=("num_key_value_heads", "intermediate_size"),
        derived={
            "block_configs.attention": _words("attention"),
            "block_configs.ffn": _words("ffn"),
            "block_configs.attention.n_heads_in_group": _kv_heads,
            "block_configs.ffn.ffn_mult": _widths,
        },
    ),
)
