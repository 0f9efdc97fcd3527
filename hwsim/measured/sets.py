"""Measured kernels other than products, and what the simulator's kernels make of them.

Each set has at most three numbers of its own ("latency of a kernel family", rate, fixed time of a tile); `validate`
scores them, `calibrate` fits them. The copy rate of attention is the chip's, found on its first set.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hwsim.arch.cores import Cores
from hwsim.formats.names import layout
from hwsim.mapping.gpu import attention, kernels
from hwsim.mapping.gpu.waves import EXPERTS
from hwsim.workload.language.routing import spread

FOLDER = Path(__file__).parents[1] / "data" / "groundtruth"
US = 1e-6

Ranges = dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class KernelSet:
    """rows: as in the file. ranges: parameter -> (start, least, most). predict: seconds of one row."""

    name: str
    rows: tuple[Mapping[str, str], ...]
    ranges: Ranges
    predict: Callable[[Cores, Mapping[str, float], Mapping[str, str]], float]

    @property
    def seconds(self) -> np.ndarray:
        """[rows], measured."""
        return np.array([float(row["us"]) for row in self.rows]) * US

    def predicted(self, cores: Cores, values: Mapping[str, float], rows=None) -> np.ndarray:
        """[rows]"""
        return np.array([self.predict(cores, values, row) for row in (self.rows if rows is None else rows)])


def read_rows(name: str) -> list[dict[str, str]]:
    """Rows of a file of the ground truth."""
    with open(FOLDER / name, newline="") as file:
        return list(csv.DictReader(file))


def _ints(row: Mapping[str, str], *names: str) -> list[int]:
    return [int(row[name]) for name in names]


def _prefill(cores, v, row):
    b, t, h, kv, d = _ints(row, "batch", "tokens", "heads", "kv_heads", "head_dim")
    width, query = (1 if row[key] == "fp8" else 2 for key in ("kv", "dtype"))
    parts = v["launch"], v["rate"], v["tile"], v["copy"]
    return attention.prefill_attention(b, t, h, kv, d, width, cores, *parts, query_bytes=query).seconds


def _decode(cores, v, row):
    b, t, h, kv, d = _ints(row, "batch", "tokens", "heads", "kv_heads", "head_dim")
    width = 1 if row["kv"] == "fp8" else 2
    parts = v["launch"], v["tile"], v["query"]
    return attention.decode_attention(b, t, h, kv, d, width, cores, *parts).seconds


def _conv(cores, v, row):
    b, t, c = _ints(row, "batch", "tokens", "channels")
    return kernels.convolution(b, t, c, cores, v["launch"], v["block"], v["copy"]).seconds


def _update(cores, v, row):
    return kernels.conv_update(*_ints(row, "batch", "channels"), cores, v["launch"], v["copy"], v["cached"]).seconds


def _all_reduce(cores, v, row):
    return kernels.all_reduce(*_ints(row, "gpus"), 2 * int(row["size"]), v["launch"], v["link"], v["second"])


def power_law(tokens: int, top_k: int, experts: int, exponent: float) -> tuple[tuple[int, int], ...]:
    """(experts, rows each) of the tables' `power_law_a`: their sampler's quantiles, scaled to tokens * top_k rows.

    The sampler draws each expert's load from x^-a between 1 and 0.8 tokens (0.01 and 2 where there are fewer rows than
    experts), scales, rounds, and gives none more than one row a token (ai-dynamo/aiconfigurator, collector/helper.py,
    power_law_logits_v3); the tables do not say what was drawn.
    """
    wanted, power = tokens * top_k, 1 - exponent
    low, high = (1.0, 0.8 * tokens) if wanted > experts else (0.01, 2.0)
    drawn = [
        ((high**power - low**power) * (i + 0.5) / experts + low**power) ** (1 / power) for i in reversed(range(experts))
    ]
    rows, left, weight = [], wanted, sum(drawn)
    for x in drawn:
        rows.append(min(tokens, round(left * x / weight)))
        left, weight = left - rows[-1], weight - x
    for i in range(experts):
        more = min(left, tokens - rows[i])
        rows[i], left = rows[i] + more, left - more
    return tuple((rows.count(r), r) for r in sorted(set(rows) - {0}, reverse=True))


@lru_cache(maxsize=1024)
def expert_rows(tokens: int, top_k: int, experts: int, load: str) -> tuple[tuple[int, int], ...]:
    """(experts, rows each) of one measurement: dealt out evenly, or by the tables' power law."""
    if load == "balanced":
        return spread(tokens * top_k, min(experts, tokens * top_k))
    return power_law(tokens, top_k, experts, float(load.rsplit("_", 1)[1]))


def _moe(cores, v, row):
    name, weights, acts = EXPERTS[row["dtype"]]
    n, h, inner, k = _ints(row, "tokens", "hidden", "intermediate", "top_k")
    gated = 1 if row["model"].startswith("nemotron") else 2
    return kernels.expert_layer(
        n,
        k,
        expert_rows(n, k, int(row["experts"]), row["load"]),
        h,
        inner,
        gated,
        cores.named(name),
        cores,
        layout(weights),
        layout(acts),
        v["launch"],
        v["rate"],
        v["copy"],
    )


def kernel_sets(chip: str, cores: Cores, peak: float, dot: float) -> list[KernelSet]:
    """The sets of `h100` or `b200`. peak: bytes a second of its memory; dot: bf16 multiply-adds a second."""
    found = []

    def add(name, rows, ranges, predict):
        found.append(KernelSet(name, tuple(rows), ranges, predict))

    start = {"launch": (8e-6, 1e-6, 4e-5)}
    rows = read_rows(f"{chip}_attention_context.csv")
    for kind in ("bf16", "bf16_fp8kv", "fp8"):
        pair = {"bf16": ("bfloat16", "bfloat16"), "bf16_fp8kv": ("bfloat16", "fp8"), "fp8": ("fp8", "fp8")}[kind]
        own = {**start, "rate": (0.6 * dot, 0.05 * dot, 2 * dot), "tile": (1e-6, 1e-8, 1e-5)}
        if kind == "bf16":
            own["copy"] = (0.9 * peak, 0.1 * peak, 2 * peak)
        add(f"prefill_{kind}", [r for r in rows if (r["dtype"], r["kv"]) == pair], own, _prefill)
    rows = read_rows(f"{chip}_attention_generation.csv")
    for kind in ("bf16", "fp8kv"):
        own = {**start, "tile": (1e-6, 1e-9, 2e-5), "query": (1e-6, 1e-8, 1e-5)}
        add(f"decode_{kind}", [r for r in rows if (r["kv"] == "fp8") == (kind == "fp8kv")], own, _decode)
    rows = read_rows(f"{chip}_conv.csv")
    own = {**start, "block": (5e-7, 5e-8, 5e-6), "copy": (0.7 * peak, 0.2 * peak, peak)}
    add("conv_prefill", [r for r in rows if r["kernel"].endswith("fn")], own, _conv)
    own = {**start, "copy": (0.6 * peak, 0.1 * peak, peak), "cached": (0.9 * peak, 0.1 * peak, 3 * peak)}
    add("conv_decode", [r for r in rows if r["kernel"].endswith("update")], own, _update)
    own = {"launch": (3e-6, 5e-7, 2e-5), "link": (3e11, 5e10, 9e11), "second": (1e-5, 1e-7, 1e-4)}
    add("all_reduce", read_rows(f"{chip}_allreduce.csv"), own, _all_reduce)
    rows = read_rows(f"{chip}_moe.csv")
    for kernel, dtype in sorted({(r["kernel"], r["dtype"]) for r in rows if r["kernel"] != "nongated"}):
        mine = [r for r in rows if r["dtype"] == dtype and r["kernel"] in (kernel, "nongated")]
        own = {"launch": (2e-5, 2e-6, 2e-4), "rate": (0.6, 0.02, 2.0), "copy": (0.8, 0.1, 2.0)}
        name = f"experts_{dtype}" + ("_min_latency" if kernel == "min_latency" else "")
        add(name, mine, own, _moe)
    return found


def fit_set(one: KernelSet, cores: Cores, shared: Mapping[str, float], rows=None, steps: int = 30):
    """(values, limits): the set's numbers by least squares on `rows`, and those that ended on a limit."""
    from scipy.optimize import least_squares

    rows = one.rows if rows is None else rows
    names = list(one.ranges)
    first, least, most = (np.log(np.array(c)) for c in zip(*one.ranges.values(), strict=True))
    measured = np.log(np.array([float(r["us"]) for r in rows]) * US)

    def residual(x):
        return np.log(one.predicted(cores, {**shared, **dict(zip(names, np.exp(x), strict=True))}, rows)) - measured

    got = least_squares(
        residual, first, bounds=(least, most), loss="soft_l1", f_scale=0.05, diff_step=1e-2, max_nfev=steps
    )
    limits = [n for n, x, a, b in zip(names, got.x, least, most, strict=True) if min(x - a, b - x) < 2e-3]
    return {**shared, **dict(zip(names, map(float, np.exp(got.x)), strict=True))}, limits


def values_of(cores: Cores, name: str) -> dict[str, float]:
    """Calibrated numbers of a set."""
    found = {key.split(".")[1]: x for key, x in cores.others.items() if key.split(".")[0] == name}
    if name.startswith("prefill_"):
        found.setdefault("copy", cores.others.get("prefill_bf16.copy"))
    return found
