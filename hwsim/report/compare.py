"""Results side by side: figures, causes, ops, and the settings in which they differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, collect
from hwsim.files.tables import table
from hwsim.result import SCHEMA, weakest

FIGURES = ("cycles", "seconds", "bound_cycles", "tokens_per_second", "dram_bytes", "macs")

Json = dict[str, Any]


def read_results(paths: Sequence[Path]) -> list[Json]:
    """Read results written with `--json`. raises: InputError for every file that does not hold one, or for fewer than
    two files.
    """
    problems: list[str] = []
    found = []
    for path in paths:
        with collect(problems):
            found.append(_read(path))
    if len(paths) < 2:
        problems.append("compare: one result; write at least two files, for example `hwsim compare a.json b.json`")
    if problems:
        raise InputError(*problems)
    return found


def _read(path: Path) -> Json:
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


def names(results: Sequence[Json]) -> list[str]:
    """A name for each result: A to Z, and numbers from the 27th on."""
    return [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(len(results))]


def comparison(results: Sequence[Json]) -> Json:
    """For every result: figures, with their ratio to the first; seconds by cause and by op; settings that differ.

    Each list has one entry per result, null where a result has no such row.
    """
    heads = [
        {"name": n, "run": r["name"], "machine": r["machine"]} for n, r in zip(names(results), results, strict=True)
    ]
    figures = {}
    for key in FIGURES:
        values = [r.get(key) for r in results]
        figures[key] = {
            "values": values,
            "ratios": [y / values[0] if values[0] and y is not None else None for y in values],
        }
    settings = [flat(r.get("config", {})) for r in results]
    paths = dict.fromkeys(path for some in settings for path in some)
    differ = {path: [some.get(path) for some in settings] for path in paths}
    return {
        "schema": 3,
        "results": heads,
        "figures": figures,
        "limited_by": [r["limited_by"] for r in results],
        "provenance": [r["provenance"] for r in results],
        "stalls_seconds": _rows([{c: _seconds(r, n) for c, n in r["stalls"].items() if n} for r in results]),
        "by_op_seconds": _rows([{row["name"]: _seconds(r, row["cycles"]) for row in r["by_op"]} for r in results]),
        "differ": {path: values for path, values in differ.items() if any(v != values[0] for v in values)},
    }


def _seconds(result: Json, cycles: int) -> float:
    seconds: float = cycles / result["cycles"] * result["seconds"] if result["cycles"] else 0.0
    return seconds


def _rows(parts: Sequence[dict[str, float]]) -> dict[str, list[float | None]]:
    """Name -> one value per result."""
    return {name: [part.get(name) for part in parts] for name in dict.fromkeys(n for part in parts for n in part)}


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one flat mapping with dotted paths as keys."""
    if isinstance(tree, dict):
        parts = [flat(v, f"{path}.{k}" if path else str(k)) for k, v in tree.items()]
    elif isinstance(tree, list):
        parts = [flat(v, f"{path}.{i}") for i, v in enumerate(tree)]
    else:
        return {path: tree}
    return {k: v for part in parts for k, v in part.items()}


def compare_text(results: Sequence[Json]) -> str:
    """The comparison as tables, one column per result and one per ratio to the first."""
    found, letters = comparison(results), names(results)
    ratios = [f"{n}/{letters[0]}" for n in letters[1:]]
    rows = [
        [key, *map(_cell, part["values"]), *map(_ratio, part["ratios"][1:])] for key, part in found["figures"].items()
    ]
    rows.append(["limited_by", *found["limited_by"], *[""] * len(ratios)])
    rows.append(["kernels, at the weakest", *map(weakest, found["provenance"]), *[""] * len(ratios)])
    parts = ["\n".join(f"{n}  {r['name']}, {r['machine']}" for n, r in zip(letters, results, strict=True))]
    parts.append(table(["", *letters, *ratios], rows))
    for title, some in (("time by cause, us", found["stalls_seconds"]), ("time by op, us", found["by_op_seconds"])):
        if some:
            cells = [[name, *map(_us, values), *_ratios(values)] for name, values in some.items()]
            parts.append(table([title, *letters, *ratios], cells))
    if found["differ"]:
        cells = [[path, *map(_cell, values)] for path, values in found["differ"].items()]
        parts.append(table(["differs in", *letters], cells))
    return "\n\n".join(parts)


def _cell(x: Any) -> str:
    return "-" if x is None else f"{x:,}" if isinstance(x, int) else f"{x:,.6g}" if isinstance(x, float) else str(x)


def _us(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e6 * seconds:,.4g}"


def _ratio(x: float | None) -> str:
    return "-" if x is None else f"{x:,.4g}"


def _ratios(values: Sequence[float | None]) -> list[str]:
    first = values[0]
    return [_ratio(v / first if first and v is not None else None) for v in values[1:]]
