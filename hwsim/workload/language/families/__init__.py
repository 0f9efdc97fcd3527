"""Families of released models: one table each, from the keys of a config.json to a model file.

`FAMILIES` has a row per `model_type`. `OUTER` names the types of files whose language model stands in an inner object.
"""

from __future__ import annotations

from hwsim.workload.language.families import dense, encoders, experts, latent, linear, mamba, searched
from hwsim.workload.language.families.table import Family

FAMILIES: dict[str, Family] = {
    kind: family
    for tables in (
        dense.TABLES,
        experts.TABLES,
        latent.TABLES,
        linear.TABLES,
        mamba.TABLES,
        encoders.TABLES,
        searched.TABLES,
    )
    for family in tables
    for kind in family.types
}

#: Type of an outer file -> type of its language model, where the inner object does not name it.
OUTER: dict[str, str] = {
    "gemma3": "gemma3_text",
    "kimi_k25": "kimi_k2",
    "llama4": "llama4_text",
    "llava": "llama",
    "mistral3": "mistral",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
}
