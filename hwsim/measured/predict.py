"""What the simulator predicts for one row of a dataset: one entry of `KINDS` per kind of kernel.

A kind says which job answers a row: the one behind the public function (`hwsim.gemm`, `hwsim.jobs.kernels`), with the
row's options. The same job's kernels are timed while `fit` looks for the numbers of a kind, at most four per kernel, so
that what is fitted, what is scored and what a user gets are one path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.arch import Arch, TileMachine
from hwsim.arch.cores import (
    AllReduceRates,
    ConvRates,
    ConvUpdateRates,
    Cores,
    DecodeRates,
    ExpertChip,
    ExpertRates,
    PrefillRates,
)
from hwsim.errors import InputError
from hwsim.formats.names import ALIASES, NAMES
from hwsim.jobs import kernels as jobs
from hwsim.jobs.gemv import GemvJob
from hwsim.jobs.run import gemm_job
from hwsim.jobs.tile import TileJob
from hwsim.mapping.gpu.kernels import PORT
from hwsim.mapping.gpu.waves import kernel_of
from hwsim.mapping.operands import Formats
from hwsim.measured.sets import Dataset, Row
from hwsim.workload.op import Gemm, Op

#: Number -> (start, least, most).
Ranges = dict[str, tuple[float, float, float]]

#: Half-width of the quadratic part of the loss, in log(predicted/measured); beyond it a row pulls linearly.
SOFT = 0.05
#: Share of a range, in its logarithm, within which a fitted number counts as on the limit.
AT_LIMIT = 2e-3
#: dtypes of the tables -> (weights, activations) as a user writes them.
FORMATS = {
    "bfloat16": ("bf16", "bf16"),
    "fp8": ("fp8", "fp8"),
    "fp8_block": ("fp8_block", "fp8_block"),
    "nvfp4": ("nvfp4", "nvfp4"),
    "sq": ("int8", "int8"),
    "int8_wo": ("int8", "bf16"),
    "int4_wo": ("int4_g128", "bf16"),
    "w4a16_mxfp4": ("mxfp4", "bf16"),
    "w4a8_mxfp4_mxfp8": ("mxfp4", "mxfp8"),
}


@dataclass(frozen=True)
class Asked:
    """A row as a user asks it. command: behind `hwsim`, without the machine's name; empty where none can say it."""

    job: TileJob | GemvJob
    command: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """asked: a row as its job. rates: the frozen class of its numbers; ranges: of those numbers."""

    asked: Callable[[Arch, Dataset, Row], Asked]
    rates: Callable[..., Any] | None = None
    ranges: Ranges | None = None


def tiled(arch: Arch) -> TileMachine:
    """The machine, of tiles as all are whose kernels are measured."""
    assert isinstance(arch, TileMachine)  # a GemvMachine has measured cycles only, which `_cycles` answers
    return arch


def cores_of(arch: Arch) -> Cores:
    """The machine's cores."""
    cores = tiled(arch).cores
    assert cores is not None  # sets.yaml names machines with cores, and `calibrate` refuses one without
    return cores


def predicted(arch: Arch, dataset: Dataset, rows: Sequence[Row] | None = None) -> np.ndarray:
    """[rows] seconds, as the public functions give them, without the dataset's overhead."""
    asked = KINDS[dataset.kind].asked
    return np.array([asked(arch, dataset, row).job.seconds for row in (dataset.rows if rows is None else rows)])


def overhead_seconds(arch: Arch, dataset: Dataset) -> float:
    """What the dataset's framework adds to a row."""
    return float(dataset.overhead.cycles(arch.clock_hz) / arch.clock_hz) if dataset.overhead else 0.0


def field_of(dataset: Dataset) -> str:
    """The dataset's field of `KernelRates`."""
    return f"{dataset.kind}_{dataset.kernel}" if dataset.kernel else dataset.kind


def with_rates(arch: TileMachine, dataset: Dataset, rates: Any, chip: ExpertChip | None = None) -> TileMachine:
    """The machine with these rates of the dataset's kernel. chip: what its kernels for experts share."""
    cores = cores_of(arch)
    if dataset.kind == "experts":
        experts = tuple(replace(e, rates=rates) if e.name == dataset.kernel else e for e in cores.experts)
        known = replace(cores.kernel_rates, experts=chip or cores.kernel_rates.experts)
        return replace(arch, cores=replace(cores, experts=experts, kernel_rates=known))
    return replace(arch, cores=replace(cores, kernel_rates=replace(cores.kernel_rates, **{field_of(dataset): rates})))


def kernel_seconds(job: TileJob, arch: TileMachine) -> float:
    """The job's time on the machine at other rates, by its kernels alone."""
    pipeline = replace(job.pipeline, machine=arch)
    ops = zip(job.ops, job.operands, strict=True)
    return sum(kernel_of(pipeline, op, opd, job.warm).seconds for op, opd in ops)


def fit(
    arch: TileMachine,
    dataset: Dataset,
    rows: Sequence[Row] | None = None,
    steps: int = 40,
) -> tuple[TileMachine, dict[str, float], list[str]]:
    """(machine with the numbers found, the numbers, which of them ended on a limit), by least squares.

    rows: default: those that a fit may see. Of experts in bf16, the numbers that all kernels for experts share are
    found too; the others keep them.
    """
    from scipy.optimize import least_squares

    rows = dataset.fit_rows if rows is None else rows
    kind = KINDS[dataset.kind]
    if kind.rates is None or kind.ranges is None:
        raise InputError(f"{dataset.name}: nothing of kind {dataset.kind} is fitted")
    ranges, made = dict(kind.ranges), kind.rates
    shared = dataset.kind == "experts" and cores_of(arch).kernel_rates.experts is None
    if shared:
        ranges |= EXPERT_CHIP
    if dataset.kind == "experts":
        for name in cores_of(arch).expert_kernel(dataset.kernel).fitted:
            ranges |= EXPERT_FITTED[name]
    names = list(ranges)
    first, least, most = (np.log(np.array(column)) for column in zip(*ranges.values(), strict=True))
    measured = np.log(np.array([float(row["us"]) for row in rows]) * 1e-6)

    def machine(x: np.ndarray) -> TileMachine:
        values = dict(zip(names, map(float, np.exp(x)), strict=True))
        chip = ExpertChip(**{n: values.pop(n) for n in EXPERT_CHIP}) if shared else None
        return with_rates(arch, dataset, made(**values), chip)

    start = machine(first)
    asked = []
    for row in rows:
        job = kind.asked(start, dataset, row).job
        assert isinstance(job, TileJob)  # `start` is a machine of tiles
        asked.append(job)

    def residual(x: np.ndarray) -> np.ndarray:
        moved = machine(x)
        limited = jobs.only_kernel(moved, dataset.kernel) if dataset.kind == "experts" else moved
        return np.log([kernel_seconds(job, limited) for job in asked]) - measured

    got = least_squares(
        residual, first, bounds=(least, most), loss="soft_l1", f_scale=SOFT, diff_step=1e-2, max_nfev=steps
    )
    limits = [n for n, x, a, b in zip(names, got.x, least, most, strict=True) if min(x - a, b - x) < AT_LIMIT]
    return machine(got.x), dict(zip(names, map(float, np.exp(got.x)), strict=True)), limits


def _ints(row: Row, *names: str) -> list[int]:
    return [int(row[name]) for name in names]


def _options(row: Row, *names: str) -> tuple[str, ...]:
    return tuple(text for name in names for text in (f"--{name.replace('_', '-')}", row[name]))


def writable(formats: tuple[str, str]) -> bool:
    """Whether a user can write them: a table may name a format that this program does not have yet."""
    return all(name in NAMES or name in ALIASES for name in formats)


def only_family(arch: TileMachine, name: str) -> TileMachine:
    """The machine with one family of GEMMs."""
    cores = cores_of(arch)
    return replace(arch, cores=replace(cores, families=(cores.named(name),)))


def _gemm(arch: Arch, dataset: Dataset, row: Row) -> Asked:
    arch = tiled(arch)
    m, n, k = _ints(row, "m", "n", "k")
    formats = FORMATS[row["dtype"]]
    known = writable(formats)
    if not known:
        family = cores_of(arch).named(row["dtype"])
        arch, formats = only_family(arch, family.name), (family.weights, family.activations)
    if int(row.get("count", 1)) > 1:
        count = int(row["count"])
        op = Op(
            "gemm", "gemm", weights="mlp", gemms=(Gemm(m, n, k, count),), inputs=count * m * k, outputs=count * m * n
        )
        return Asked(TileJob(arch, (op,), Formats.of(*formats), "walk", name="gemm", phase="gemm", config={}), ())
    job = gemm_job(arch, m, n, k, *formats, engine="walk", warm=dataset.warm)
    assert isinstance(job, TileJob)  # of a machine of tiles
    command = ("gemm", *_options(row, "m", "n", "k"), "--weights", formats[0], "--activations", formats[1])
    return Asked(job, (*command, *["--warm"] * dataset.warm) if known else ())


def _attention(arch: Arch, dataset: Dataset, row: Row) -> Asked:
    sizes = ("batch", "tokens", "heads", "kv_heads", "head_dim")
    acts, kv = (FORMATS.get(row.get(c, "bfloat16"), ("bf16",))[0] for c in ("dtype", "kv"))
    batch, tokens, heads, kv_heads, head_dim = _ints(row, *sizes)
    job = jobs.attention_job(
        tiled(arch), dataset.kind, batch, tokens, heads, kv_heads, head_dim, activations=acts, kv=kv, engine="walk"
    )
    return Asked(job, ("kernel", dataset.kind, *_options(row, *sizes), "--activations", acts, "--kv", kv))


def _conv(arch: Arch, dataset: Dataset, row: Row) -> Asked:
    phase = dataset.kind.removeprefix("conv_")
    sizes = ("batch", "tokens", "channels") if phase == "prefill" else ("batch", "channels")
    tokens = int(row["tokens"]) if phase == "prefill" else 1
    job = jobs.convolution_job(
        tiled(arch), phase, int(row["batch"]), tokens, int(row["channels"]), dataset.warm, "walk"
    )
    return Asked(job, ("kernel", f"conv-{phase}", *_options(row, *sizes), *["--warm"] * dataset.warm))


def _all_reduce(arch: Arch, dataset: Dataset, row: Row) -> Asked:
    chips, elements = _ints(row, "gpus", "size")
    job = jobs.all_reduce_job(tiled(arch), chips, elements, "walk")
    return Asked(job, ("kernel", "all-reduce", "--chips", row["gpus"], "--elements", row["size"]))


def _experts(arch: Arch, dataset: Dataset, row: Row) -> Asked:
    sizes = ("tokens", "hidden", "intermediate", "top_k", "experts")
    gated, formats = row["kernel"] != "nongated", FORMATS[row["dtype"]]
    known = writable(formats)
    if not known:
        kernel = cores_of(arch).expert_kernel(dataset.kernel)
        formats = (kernel.weights, kernel.activations)
    tokens, hidden, intermediate, top_k, experts = _ints(row, *sizes)
    shape = (tiled(arch), tokens, hidden, intermediate, top_k, experts)
    job = jobs.experts_job(*shape, gated, *formats, row["load"], dataset.kernel, "walk")
    command = ("kernel", "experts", *_options(row, *sizes, "load"), *([] if gated else ["--no-gate"]))
    written = ("--weights", formats[0], "--activations", formats[1], "--kernel", dataset.kernel)
    return Asked(job, (*command, *written) if known else ())


def _cycles(arch: Arch, dataset: Dataset, row: Row) -> Asked:
    m, n, k = _ints(row, "m", "n", "k")
    job = gemm_job(arch, m, n, k, row["weights"], engine="walk" if isinstance(arch, TileMachine) else None)
    assert isinstance(job, TileJob | GemvJob)  # the jobs that there are
    return Asked(job, ("gemm", *_options(row, "m", "n", "k"), "--weights", row["weights"]))


def _serving(arch: Arch, dataset: Dataset, row: Row) -> Asked:
    raise InputError(f"{dataset.name}: rows of whole models are scored by hwsim.measured.serving")


LAUNCH = (8e-6, 1e-6, 4e-5)
#: Of a set of kernels for experts, by the menu's `fitted`; of all such kernels of a chip.
EXPERT_FITTED: dict[str, Ranges] = {
    "floor": {"floor_cycles": (7000.0, 50.0, 5e4)},
    "rows": {"rows_share": (1.0, 0.1, 10.0)},
}
EXPERT_CHIP: Ranges = {"weight_share": (0.87, 0.5, 1.0), "row_bytes": (8.0, 1.0, 40.0)}

#: By kind; the ranges are those that physics gives.
KINDS: dict[str, Kind] = {
    "gemm": Kind(_gemm),
    "prefill": Kind(
        _attention,
        PrefillRates,
        {
            "launch_seconds": LAUNCH,
            "mac_share": (0.6, 0.05, 1.0),
            "tile_cycles": (1500.0, 20.0, 2e4),
            "copy_bytes": (12.0, 2.0, PORT),
        },
    ),
    "decode": Kind(
        _attention,
        DecodeRates,
        {
            "launch_seconds": LAUNCH,
            "tile_cycles": (1500.0, 2.0, 4e4),
            "query_cycles": (1500.0, 20.0, 2e4),
            "pull_share": (0.006, 0.001, 0.03),
        },
    ),
    "conv_prefill": Kind(
        _conv,
        ConvRates,
        {"launch_seconds": LAUNCH, "block_cycles": (900.0, 90.0, 1e4), "copy_share": (0.33, 0.1, 1.0)},
    ),
    "conv_decode": Kind(
        _conv,
        ConvUpdateRates,
        {"launch_seconds": LAUNCH, "copy_share": (0.6, 0.1, 1.0), "cached_bytes": (15.0, 2.0, PORT)},
    ),
    "all_reduce": Kind(
        _all_reduce,
        AllReduceRates,
        {
            "launch_seconds": (3e-6, 5e-7, 2e-5),
            "link_share": (0.7, 0.1, 1.0),
            "second_seconds": (1e-5, 1e-7, 1e-4),
            "switch_seconds": (6e-5, 1e-6, 3e-4),
        },
    ),
    "experts": Kind(
        _experts,
        ExpertRates,
        {"launch_seconds": (2e-5, 2e-6, 2e-4)},
    ),
    "cycles": Kind(_cycles),
    "serving": Kind(_serving),
    "tpot": Kind(_serving),
}
