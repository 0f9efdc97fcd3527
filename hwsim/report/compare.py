"""Results side by side: figures, causes, ops, and the settings in which they differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isclose
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, collect
from hwsim.files.tables import table
from hwsim.result import SCHEMA, known_text

Json = dict[str, Any]

RUN, TRAIN, STEADY, LOAD = "run", "train", "serve", "serve under load"
#: The figures of each kind of result, as dotted paths.
FIGURES = {
    RUN: (
        "cycles", "seconds", "bound_cycles", "tokens_per_second", "dram_bytes", "macs", "energy_joules",
        *(f"memory.{what}" for what in ("total", "weights", "kv", "state", "activations")),
    ),
    TRAIN: (
        "seconds", "bound_seconds", "tokens_per_second_per_chip", "mfu", "exposed_seconds", "idle_seconds",
        *(f"memory.{what}" for what in ("total", "weights", "gradients", "optimiser", "activations", "buffers")),
    ),
    STEADY: (
        "tokens_per_second_per_chip", "tokens_per_second_per_user", "time_to_first_token", "time_per_output_token",
        "step_seconds", "prefill_seconds", "batch", "energy_joules_per_token",
    ),
    LOAD: (
        "tokens_per_second", "tokens_per_second_per_chip", "tokens_per_second_per_user", "goodput", "attained",
        *(f"{name}.{at}" for name in ("ttft", "tpot", "itl", "e2e") for at in ("mean", "p50", "p99")),
        "running.0", "waiting.0", "kv.0", "preemptions", "energy_joules_per_token",
    ),
}  # fmt: skip
#: Figures that are sums of terms with a source each; a sum without some of its terms is a lower bound.
ENERGY = ("energy_joules", "energy_joules_per_token")
#: Shares below this are the rounding of sums: settings within it are equal, and parts of a time below it are none.
ROUNDING = 1e-9
#: What of each kind says how it was asked for.
SETTINGS = {
    RUN: ("config",),
    TRAIN: ("config",),
    STEADY: ("machine", "request", "batch", "stack"),
    LOAD: ("machine", "model", "chips", "engine", "load", "limits", "formats"),
}


def kind_of(result: Json) -> str | None:
    """Which command wrote a result; None: none of those that can be compared."""
    schema = result.get("schema")
    if schema == SCHEMA and "cycles" in result:
        return RUN
    if schema == SCHEMA and result.get("phase") == "train":
        return TRAIN
    if schema == SCHEMA and "ttft" in result and "load" in result:
        return LOAD
    return STEADY if schema == 1 and "time_to_first_token" in result else None


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
    kinds = [kind_of(result) for result in found]
    for path, kind in zip(paths, kinds, strict=False):
        if not problems and kind != kinds[0]:
            problems.append(
                f"{path}: is a result of `hwsim {kind}`, and {paths[0]} of `hwsim {kinds[0]}`; "
                "compare results of one kind"
            )
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
    if not isinstance(data, dict) or kind_of(data) is None:
        raise InputError(
            f"{path}: is not a result of schema {SCHEMA}; create it with `hwsim run ... --json > {path}`, or with "
            "`hwsim serve` or `hwsim train`"
        )
    return data


def names(results: Sequence[Json]) -> list[str]:
    """A name for each result: A to Z, and numbers from the 27th on."""
    return [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(len(results))]


def comparison(results: Sequence[Json]) -> Json:
    """For every result: figures, with their ratio to the first; seconds by cause and by op, of a training step by part
    of the model and by pass; settings that differ.

    Each list has one entry per result, null where a result has no such row. The figures of energy also have `lacking`:
    the terms without a figure, for each result. With such terms the value is a lower bound, and two values have a ratio
    only if they lack the same terms.
    """
    kind = kind_of(results[0]) or RUN
    heads = [
        {"name": n, "run": title(r), "machine": r["machine"]} for n, r in zip(names(results), results, strict=True)
    ]
    figures = {key: _energy(results, key) if key in ENERGY else _figure(results, key) for key in FIGURES[kind]}
    stated = SETTINGS[kind]
    settings = [flat(r.get(stated[0], {}) if len(stated) == 1 else {n: r.get(n) for n in stated}) for r in results]
    paths = dict.fromkeys(path for some in settings for path in some)
    differ = {path: [some.get(path) for some in settings] for path in paths}
    differs = {path: values for path, values in differ.items() if not all(_equal(v, values[0]) for v in values)}
    found: Json = {"schema": 3, "results": heads, "figures": figures}
    found["provenance"] = [r.get("provenance") or {} for r in results]  # of an answer without passes, none
    if kind in (RUN, TRAIN):
        found |= {
            "limited_by": [r["limited_by"] for r in results],
            "fits": [at(r, "memory.fits") for r in results],
        }
    if kind == RUN:
        found |= {
            "stalls_seconds": _rows([{c: _seconds(r, n) for c, n in r["stalls"].items() if n} for r in results]),
            "by_op_seconds": _rows([{row["name"]: _seconds(r, row["cycles"]) for row in r["by_op"]} for r in results]),
        }
    if kind == TRAIN:
        found |= {
            "by_part_seconds": _rows([_spent(r, "part") for r in results]),
            "by_pass_seconds": _rows([_spent(r, "when") for r in results]),
        }
    return found | {"differ": differs}


def _spent(result: Json, by: str) -> dict[str, float]:
    """Seconds of a training step by part of the model or by pass, and those of no pass; they sum to the step."""
    sums: dict[str, float] = {}
    for one in result["spent"]:
        sums[one[by]] = sums.get(one[by], 0.0) + one["seconds"]
    return sums | {"exposed communication": at(result, "exposed_seconds"), "idle in the pipeline": _idle(result)}


def _idle(result: Json) -> float:
    """What a step waits for other stages; 0 where it is what rounding leaves of a difference."""
    idle: float = result["idle_seconds"]
    return idle if idle > ROUNDING * result["seconds"] else 0.0


def _equal(x: Any, y: Any) -> bool:
    """Whether two settings are the same; of numbers, up to rounding."""
    if isinstance(x, float) and isinstance(y, (int, float)):
        return isclose(x, y, rel_tol=ROUNDING)
    return bool(x == y)


def _figure(results: Sequence[Json], key: str) -> Json:
    """The values at a dotted path, and their ratios to the first."""
    values = [_idle(r) if key == "idle_seconds" else at(r, key) for r in results]
    return {"values": values, "ratios": _quotients(values)}


def _energy(results: Sequence[Json], key: str) -> Json:
    """The sums of the known terms in joules (None: no term is known), their ratios, and the terms that they lack."""
    parts = [at(r, "cost.energy") or r.get("energy") or [] for r in results]
    known = [[term["value"] for term in terms if term["value"] is not None] for terms in parts]
    lacking = [list(dict.fromkeys(term["name"] for term in terms if term["value"] is None)) for terms in parts]
    values = [sum(some) if some else None for some in known]
    alike = [y if less == lacking[0] else None for y, less in zip(values, lacking, strict=True)]
    return {"values": values, "ratios": _quotients(alike), "lacking": lacking}


def _quotients(values: Sequence[Any]) -> list[float | None]:
    """Each value divided by the first; None where one of the two is missing or the first is zero."""
    first = values[0]
    return [y / first if first and y is not None else None for y in values]


def title(result: Json) -> str:
    """What a result is of, in words."""
    if "name" in result:
        return str(result["name"])
    return f"{kind_of(result)}, {result['model'] if 'model' in result else result['request']['model']}"


def at(result: Json, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = result
    for name in path.split("."):
        if isinstance(value, list) and name.isdecimal():
            value = value[int(name)]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


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
    figures = {
        key: part
        for key, part in found["figures"].items()
        if not key.startswith((*ENERGY, "memory.")) or any(part["values"])
    }
    rows = [[key, *_cells(part), *map(_ratio, part["ratios"][1:])] for key, part in figures.items()]
    if "limited_by" in found:
        rows.append(["limited_by", *found["limited_by"], *[""] * len(ratios)])
        if any(fits is not None for fits in found["fits"]):
            said = ["-" if fits is None else "yes" if fits else "no" for fits in found["fits"]]
            rows.append(["fits in memory", *said, *[""] * len(ratios)])
    rows.append(["kernels, shares of the time", *map(known_text, found["provenance"]), *[""] * len(ratios)])
    parts = ["\n".join(f"{n}  {title(r)}, {r['machine']}" for n, r in zip(letters, results, strict=True))]
    bounds = [line for key, part in figures.items() for line in _bounds(key, part, letters)]
    parts.append("\n".join([table(["", *letters, *ratios], rows), *bounds, *_unlike(found["provenance"], letters)]))
    for head, name in TABLES:
        if some := found.get(name):
            cells = [[name, *(_time(x, head) for x in values), *_ratios(values)] for name, values in some.items()]
            parts.append(table([head, *letters, *ratios], cells))
    if found["differ"]:
        cells = [[path, *map(_cell, values)] for path, values in found["differ"].items()]
        parts.append(table(["differs in", *letters], cells))
    return "\n\n".join(parts)


def _unlike(provenance: Sequence[Json], letters: Sequence[str]) -> list[str]:
    """A line where some results are ideal and others are not: their ratios compare peaks with kernels."""
    ideal = [n for n, known in zip(letters, provenance, strict=True) if known_text(known) == "ideal"]
    others = [n for n, known in zip(letters, provenance, strict=True) if known and n not in ideal]
    if not ideal or not others:
        return []
    return [
        f"kernels: {', '.join(ideal)} {'are' if len(ideal) > 1 else 'is'} ideal, at the machine's peaks, and "
        f"{', '.join(others)} {'have' if len(others) > 1 else 'has'} kernels that were measured or transferred: ratios "
        "between the two are no comparison of chips"
    ]


#: Heads of the tables of times, and what of a comparison is in them.
TABLES = (
    ("time by cause, us", "stalls_seconds"),
    ("time by op, us", "by_op_seconds"),
    ("time by part, ms", "by_part_seconds"),
    ("time by pass, ms", "by_pass_seconds"),
)


def _cell(x: Any) -> str:
    return "-" if x is None else f"{x:,}" if isinstance(x, int) else f"{x:,.6g}" if isinstance(x, float) else str(x)


def _cells(part: Json) -> list[str]:
    """The values of a figure; a sum that lacks terms is a lower bound, `>=`."""
    lacking = part.get("lacking") or [[] for _ in part["values"]]
    return [
        f">= {_cell(x)}" if less and x is not None else _cell(x)
        for x, less in zip(part["values"], lacking, strict=True)
    ]


def _bounds(key: str, part: Json, letters: Sequence[str]) -> list[str]:
    """For a figure of energy, one line per set of missing terms: which results are lower bounds, and without what."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for letter, value, less in zip(letters, part["values"], part.get("lacking", ()), strict=False):
        if value is not None and less:
            groups.setdefault(tuple(less), []).append(letter)
    lines = [
        f"{key}: {', '.join(some)} {'are lower bounds' if len(some) > 1 else 'is a lower bound'}, without "
        f"{', '.join(less)} (no figure)"
        for less, some in groups.items()
    ]
    if lines and None in part["ratios"]:
        lines.append(f"{key}: two sums have a ratio where both lack the same terms or none")
    return lines


def _time(seconds: float | None, head: str) -> str:
    """In the unit that the head of the table ends with."""
    return "-" if seconds is None else f"{seconds * (1e3 if head.endswith('ms') else 1e6):,.4g}"


def _ratio(x: float | None) -> str:
    return "-" if x is None else f"{x:,.4g}"


def _ratios(values: Sequence[float | None]) -> list[str]:
    first = values[0]
    return [_ratio(v / first if first and v is not None else None) for v in values[1:]]
