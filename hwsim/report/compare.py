"""Two results side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hwsim.errors import InputError
from hwsim.files.tables import table
from hwsim.result import SCHEMA, weakest

FIGURES = ("cycles", "seconds", "bound_cycles", "tokens_per_second", "dram_bytes", "macs")


def read_result(path: Path) -> dict[str, Any]:
    """Read a result written with `--json`. raises: InputError if the file does not hold one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); create it with `hwsim run ... --json > {path}`") from error
    if isinstance(data, dict) and data.get("schema") == 1 and "cycles" in data:
        raise InputError(f"{path}: a result of schema 1, which has no provenance; run it again with `--json > {path}`")
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or "cycles" not in data:
        raise InputError(f"{path}: is not a result of schema {SCHEMA}; create it with `hwsim run ... --json > {path}`")
    return data


def comparison(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The figures of both results with the ratio b/a, how their times are known, and the settings that differ."""
    figures = {}
    for key in FIGURES:
        x, y = a.get(key), b.get(key)
        figures[key] = {"a": x, "b": y, "ratio": y / x if x and y is not None else None}
    left, right = flat(a.get("config", {})), flat(b.get("config", {}))
    differ = {k: {"a": left.get(k), "b": right.get(k)} for k in {**left, **right} if left.get(k) != right.get(k)}
    return {
        "schema": SCHEMA,
        "figures": figures,
        "limited_by": [a["limited_by"], b["limited_by"]],
        "provenance": [a["provenance"], b["provenance"]],
        "differ": differ,
    }


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one flat mapping with dotted paths as keys."""
    if isinstance(tree, dict):
        parts = [flat(v, f"{path}.{k}" if path else str(k)) for k, v in tree.items()]
    elif isinstance(tree, list):
        parts = [flat(v, f"{path}.{i}") for i, v in enumerate(tree)]
    else:
        return {path: tree}
    return {k: v for part in parts for k, v in part.items()}


def compare_text(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The comparison as two tables."""
    found = comparison(a, b)

    def cell(x: Any) -> str:
        return "-" if x is None else f"{x:,}" if isinstance(x, int) else f"{x:,.6g}" if isinstance(x, float) else str(x)

    rows = [[k, cell(v["a"]), cell(v["b"]), cell(v["ratio"])] for k, v in found["figures"].items()]
    rows.append(["limited_by", *found["limited_by"], ""])
    rows.append(["kernels, at the weakest", *map(weakest, found["provenance"]), ""])
    text = table(["", "A", "B", "B/A"], rows)
    differ = [[k, cell(v["a"]), cell(v["b"])] for k, v in found["differ"].items()]
    head = f"A  {a['name']}, {a['machine']}\nB  {b['name']}, {b['machine']}\n\n"
    return head + text + ("\n\n" + table(["differs in", "A", "B"], differ) if differ else "")
