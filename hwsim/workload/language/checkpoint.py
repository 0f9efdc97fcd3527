"""Checkpoint: the formats in which a release stores its weights, and those that it names for activations and cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Symmetric integers in groups of a size that has no name of its own.
INT4_GROUPS = re.compile(r"int4_g(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The formats of a release, which a run uses unless it names others.

    weights:     (key of a format map, name of a format); one key is `default`.
    activations, kv: names of formats (None: a run's defaults).
    method:      how the release calls it.
    """

    weights: tuple[tuple[str, str], ...]
    activations: str | None = None
    kv: str | None = None
    method: str = ""

    def table(self) -> dict[str, str | Mapping[str, object]]:
        """The format map as `mapping.operands` takes it; groups of other sizes than 128 as inline definitions."""
        return {key: _source(name) for key, name in self.weights}

    def config(self) -> dict[str, Any]:
        """As in a model file."""
        more = {"activations": self.activations, "kv": self.kv, "method": self.method or None}
        return {"weights": dict(self.weights)} | {key: value for key, value in more.items() if value is not None}


def _source(name: str) -> str | Mapping[str, object]:
    groups = INT4_GROUPS.fullmatch(name)
    if groups and groups[1] != "128":
        return {"name": name, "element": "INT4", "block": int(groups[1]), "scale": "fp16"}
    return name
