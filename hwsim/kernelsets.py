"""Measured kernels other than products, and what the simulator's kernels make of them.

Each set has at most three numbers of its own ("latency of a kernel family", rate, fixed time of a tile); `validate`
scores them, `calibrate` fits them. The copy rate of attention is the chip's, found on its first set.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim import kernels
from hwsim.arch.cores import Cores
from hwsim.formats.layout import layout
from hwsim.waves import EXPERTS
from hwsim.workload.routing import groups, spread

FOLDER = Path(__file__).parent / "data" / "groundtruth"
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
    width = 1 if row["kv"] == "fp8" else 2
    return kernels.prefill_attention(b, t, h, kv, d, width, cores, v["launch"], v["rate"], v["tile"], v["copy"]).seconds


def _decode(cores, v, row):
    b, t, kv, d = _ints(row, "batch", "tokens", "kv_heads", "head_dim")
    width = 1 if row["kv"] == "fp8" else 2
    return kernels.decode_attention(b, t, kv, d, width, cores, v["launch"], v["tile"], v["feed"]).seconds


def _conv(cores, v, row):
    b, t, c = _ints(row, "batch", "tokens", "channels")
    return kernels.convolution(b, t, c, cores, v["launch"], v["block"], v["copy"]).seconds


def _update(cores, v, row):
    return kernels.conv_update(*_ints(row, "batch", "channels"), v["launch"], v["copy"], v["warm"]).seconds


def _all_reduce(cores, v, row):
    return kernels.all_reduce(*_ints(row, "gpus"), 2 * int(row["size"]), v["launch"], v["link"], v["second"])


def expert_rows(row: Mapping[str, str]):
    """(experts, rows each) of one measurement: dealt out evenly, or by popularity of the given exponent."""
    n, k, experts = _ints(row, "tokens", "top_k", "experts")
    if row["load"] == "balanced":
        return spread(n * k, min(experts, n * k))
    return groups(experts, k, n, f"zipf({row['load'].rsplit('_', 1)[1]})")


def _moe(cores, v, row):
    name, weights, acts = EXPERTS[row["dtype"]]
    n, h, inner, k = _ints(row, "tokens", "hidden", "intermediate", "top_k")
    gated = 1 if row["model"].startswith("nemotron") else 2
    return kernels.expert_layer(
        n,
        k,
        expert_rows(row),
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
            own["copy"] = (0.5 * peak, 0.1 * peak, peak)
        add(f"prefill_{kind}", [r for r in rows if (r["dtype"], r["kv"]) == pair], own, _prefill)
    rows = read_rows(f"{chip}_attention_generation.csv")
    for kind in ("bf16", "fp8kv"):
        own = {**start, "tile": (2e-6, 1e-7, 2e-5), "feed": (5e10, 5e9, 2e12)}
        add(f"decode_{kind}", [r for r in rows if (r["kv"] == "fp8") == (kind == "fp8kv")], own, _decode)
    rows = read_rows(f"{chip}_conv.csv")
    own = {**start, "block": (5e-7, 5e-8, 5e-6), "copy": (0.7 * peak, 0.2 * peak, peak)}
    add("conv_prefill", [r for r in rows if r["kernel"].endswith("fn")], own, _conv)
    own = {**start, "copy": (0.6 * peak, 0.1 * peak, peak), "warm": (4e7, 1e6, 5e8)}
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
