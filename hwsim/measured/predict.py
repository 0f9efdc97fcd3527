"""What the simulator predicts for one row of a dataset: one entry of `KINDS` per kind of kernel.

A kind other than `gemm`, `cycles`, `serving` and `tpot` has at most four numbers per kernel (a frozen class of
`hwsim.arch.cores`), which `fit` finds by least squares; the copy rate of prefill attention is shared by the machine's
three kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hwsim.arch import TileMachine
from hwsim.arch.cores import (
    AllReduceRates,
    ConvRates,
    ConvUpdateRates,
    DecodeRates,
    ExpertRates,
    PrefillRates,
)
from hwsim.errors import InputError
from hwsim.formats.names import layout
from hwsim.jobs.run import gemm as run_gemm
from hwsim.mapping.gpu import attention, kernels
from hwsim.measured.sets import Dataset, Row
from hwsim.workload.language.routing import spread

#: Number of a frozen class of rates -> (start, least, most), SI units.
Ranges = dict[str, tuple[float, float, float]]
#: One of the frozen classes of rates.
Rates = Any

#: Half-width of the quadratic part of the loss, in log(predicted/measured); beyond it a row pulls linearly.
SOFT = 0.05
#: Share of a range, in its logarithm, within which a fitted number counts as on the limit.
AT_LIMIT = 2e-3


@dataclass(frozen=True)
class Kind:
    """seconds: of one row, by the machine's own rates where `rates` is None. rates: the frozen class of its numbers.

    ranges: of the numbers to fit, on a machine.
    shared: numbers that the machine's first kernel of the kind finds for all of them.
    """

    seconds: Callable[[TileMachine, Dataset, Row, Rates], float]
    rates: Callable[..., Rates] | None = None
    ranges: Callable[[TileMachine], Ranges] = lambda arch: {}
    shared: tuple[str, ...] = ()


def predicted(
    arch: TileMachine, dataset: Dataset, rates: Rates = None, rows: Sequence[Row] | None = None
) -> np.ndarray:
    """[rows] seconds, with the dataset's overhead."""
    kind = KINDS[dataset.kind]
    found = np.array([kind.seconds(arch, dataset, row, rates) for row in (dataset.rows if rows is None else rows)])
    return found + overhead_seconds(arch, dataset)


def overhead_seconds(arch: TileMachine, dataset: Dataset) -> float:
    """What the dataset's framework adds to a row."""
    return float(dataset.overhead.cycles(arch.clock_hz) / arch.clock_hz) if dataset.overhead else 0.0


def calibrated(arch: TileMachine, dataset: Dataset) -> Rates:
    """The machine's rates for the dataset's kernel, or None."""
    cores = arch.cores
    if cores is None or KINDS[dataset.kind].rates is None:
        return None
    if dataset.kind == "experts":
        return cores.expert_kernel(dataset.kernel).rates
    return getattr(cores.kernel_rates, field_of(dataset))


def field_of(dataset: Dataset) -> str:
    """The dataset's field of `KernelRates`."""
    return f"{dataset.kind}_{dataset.kernel}" if dataset.kernel else dataset.kind


def fit(
    arch: TileMachine,
    dataset: Dataset,
    shared: Mapping[str, float],
    rows: Sequence[Row] | None = None,
    steps: int = 30,
) -> tuple[Rates, list[str]]:
    """(rates, limits): the kernel's numbers by least squares on `rows`, and which of them ended on a limit.

    shared: numbers that are not fitted here.
    """
    from scipy.optimize import least_squares

    rows = dataset.rows if rows is None else rows
    kind = KINDS[dataset.kind]
    made = kind.rates
    if made is None:
        raise InputError(f"{dataset.name}: nothing of kind {dataset.kind} is fitted")
    ranges = {name: limits for name, limits in kind.ranges(arch).items() if name not in shared}
    names = list(ranges)
    first, least, most = (np.log(np.array(column)) for column in zip(*ranges.values(), strict=True))
    measured = np.log(np.array([float(row["us"]) for row in rows]) * 1e-6)

    def rates(x: np.ndarray) -> Rates:
        return made(**shared, **dict(zip(names, map(float, np.exp(x)), strict=True)))

    def residual(x: np.ndarray) -> np.ndarray:
        return np.log(predicted(arch, dataset, rates(x), rows)) - measured

    got = least_squares(
        residual, first, bounds=(least, most), loss="soft_l1", f_scale=SOFT, diff_step=1e-2, max_nfev=steps
    )
    limits = [n for n, x, a, b in zip(names, got.x, least, most, strict=True) if min(x - a, b - x) < AT_LIMIT]
    return rates(got.x), limits


def shared_with(kind: str, rates: Rates) -> dict[str, float]:
    """The numbers of `rates` that the other kernels of its kind share."""
    return {name: getattr(rates, name) for name in KINDS[kind].shared} if rates else {}


def power_law(tokens: int, top_k: int, experts: int, exponent: float) -> tuple[tuple[int, int], ...]:
    """(experts, rows each) of the tables' `power_law_a`: their sampler's quantiles, scaled to tokens * top_k rows.

    The sampler draws each expert's load from x^-a between 1 and 0.8 tokens (0.01 and 2 where there are fewer rows than
    experts), scales, rounds, and gives none more than one row per token (ai-dynamo/aiconfigurator, collector/helper.py,
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
    """(experts, rows each) of one measurement: spread evenly, or by the tables' power law."""
    if load == "balanced":
        return spread(tokens * top_k, min(experts, tokens * top_k))
    return power_law(tokens, top_k, experts, float(load.rsplit("_", 1)[1]))


def _ints(row: Row, *names: str) -> list[int]:
    return [int(row[name]) for name in names]


def _gemm(arch: TileMachine, dataset: Dataset, row: Row, rates: Rates) -> float:
    m, n, k = _ints(row, "m", "n", "k")
    family, cores = arch.cores.named(row["dtype"]), arch.cores
    formats = layout(family.weights), layout(family.activations)
    if int(row.get("count", 1)) > 1:
        return kernels.grouped(((int(row["count"]), m),), n, k, family, cores, *formats).seconds
    return kernels.gemm(m, n, k, family, cores, *formats, warm=dataset.warm).seconds


def _prefill(arch: TileMachine, dataset: Dataset, row: Row, rates: PrefillRates) -> float:
    b, t, h, kv, d = _ints(row, "batch", "tokens", "heads", "kv_heads", "head_dim")
    width, query = (1 if row[key] == "fp8" else 2 for key in ("kv", "dtype"))
    return attention.prefill_attention(b, t, h, kv, d, width, arch.cores, rates, query_bytes=query).seconds


def _decode(arch: TileMachine, dataset: Dataset, row: Row, rates: DecodeRates) -> float:
    b, t, h, kv, d = _ints(row, "batch", "tokens", "heads", "kv_heads", "head_dim")
    return attention.decode_attention(b, t, h, kv, d, 1 if row["kv"] == "fp8" else 2, arch.cores, rates).seconds


def _conv(arch: TileMachine, dataset: Dataset, row: Row, rates: ConvRates) -> float:
    batch, tokens, channels = _ints(row, "batch", "tokens", "channels")
    return kernels.convolution(batch, tokens, channels, arch.cores, rates).seconds


def _update(arch: TileMachine, dataset: Dataset, row: Row, rates: ConvUpdateRates) -> float:
    batch, channels = _ints(row, "batch", "channels")
    return kernels.conv_update(batch, channels, arch.cores, rates).seconds


def _all_reduce(arch: TileMachine, dataset: Dataset, row: Row, rates: AllReduceRates | None) -> float:
    gpus, nbytes = int(row["gpus"]), 2 * int(row["size"])
    if rates:
        return kernels.all_reduce(gpus, nbytes, rates)
    return arch.seconds(arch.link.cycles("all_reduce", nbytes, gpus))


def _experts(arch: TileMachine, dataset: Dataset, row: Row, rates: ExpertRates) -> float:
    n, h, inner, k, experts = _ints(row, "tokens", "hidden", "intermediate", "top_k", "experts")
    gated = 1 if row["kernel"] == "nongated" else 2
    layer = kernels.ExpertLayer(n, k, expert_rows(n, k, experts, row["load"]), h, inner, gated)
    kernel = arch.cores.expert_kernel(dataset.kernel)
    return kernels.expert_layer(
        layer, kernel, rates, arch.cores, layout(kernel.weights), layout(kernel.activations)
    )


def _cycles(arch: TileMachine, dataset: Dataset, row: Row, rates: Rates) -> float:
    m, n, k = _ints(row, "m", "n", "k")
    return run_gemm(arch, m, n, k, row["weights"], engine="walk").cycles / float(arch.clock_hz)


def _serving(arch: TileMachine, dataset: Dataset, row: Row, rates: Rates) -> float:
    raise InputError(f"{dataset.name}: rows of whole models are scored by hwsim.measured.serving")


def peak(arch: TileMachine) -> float:
    """Bytes per second of the machine's memory, by its data sheet."""
    return float(arch.dram.bytes_per_cycle * arch.clock_hz)


def _dot(arch: TileMachine) -> float:
    return float(arch.dot.rate("bf16", "bf16") * arch.clock_hz)


LAUNCH = (8e-6, 1e-6, 4e-5)

#: By kind; the ranges are those that physics gives.
KINDS: dict[str, Kind] = {
    "gemm": Kind(_gemm),
    "prefill": Kind(
        _prefill,
        PrefillRates,
        lambda a: {
            "launch_seconds": LAUNCH,
            "macs_per_second": (0.6 * _dot(a), 0.05 * _dot(a), 2 * _dot(a)),
            "tile_seconds": (1e-6, 1e-8, 1e-5),
            "copy_per_second": (0.9 * peak(a), 0.1 * peak(a), 2 * peak(a)),
        },
        ("copy_per_second",),
    ),
    "decode": Kind(
        _decode,
        DecodeRates,
        lambda a: {
            "launch_seconds": LAUNCH,
            "tile_seconds": (1e-6, 1e-9, 2e-5),
            "query_seconds": (1e-6, 1e-8, 1e-5),
        },
    ),
    "conv_prefill": Kind(
        _conv,
        ConvRates,
        lambda a: {
            "launch_seconds": LAUNCH,
            "block_seconds": (5e-7, 5e-8, 5e-6),
            "copy_per_second": (0.7 * peak(a), 0.2 * peak(a), peak(a)),
        },
    ),
    "conv_decode": Kind(
        _update,
        ConvUpdateRates,
        lambda a: {
            "launch_seconds": LAUNCH,
            "copy_per_second": (0.6 * peak(a), 0.1 * peak(a), peak(a)),
            "cached_per_second": (0.9 * peak(a), 0.1 * peak(a), 3 * peak(a)),
        },
    ),
    "all_reduce": Kind(
        _all_reduce,
        AllReduceRates,
        lambda a: {
            "launch_seconds": (3e-6, 5e-7, 2e-5),
            "link_per_second": (3e11, 5e10, 9e11),
            "second_seconds": (1e-5, 1e-7, 1e-4),
        },
    ),
    "experts": Kind(
        _experts,
        ExpertRates,
        lambda a: {
            "launch_seconds": (2e-5, 2e-6, 2e-4),
            "rate_share": (0.6, 0.02, 2.0),
            "copy_share": (0.8, 0.1, 2.0),
        },
    ),
    "cycles": Kind(_cycles),
    "serving": Kind(_serving),
    "tpot": Kind(_serving),
}
