"""hwsim calibrate: a chip's rates from measured GEMMs, by least squares (scipy), written to the machine's calibration.

At most eight numbers per chip and three per family, each inside a range that physics gives; none depends on a shape.
A fit that ends on a limit is refused: the model is then wrong there, or the range is.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwsim.arch import TileMachine
from hwsim.arch.cores import Cores, Family
from hwsim.arch.kernel_library import (
    KERNELS,
    CalibrationFile,
    ChipRates,
    ExpertRatesFile,
    FamilyRates,
    KernelRatesFile,
    rates_file,
    rounded,
)
from hwsim.errors import InputError
from hwsim.formats.names import layout
from hwsim.mapping.gpu.kernels import Pick, Problem, gemm_times
from hwsim.measured import predict
from hwsim.measured.predict import peak
from hwsim.measured.scaled import scaled
from hwsim.measured.sets import FOLDER, Dataset, fitted_machines, manifest, of_machine

Rows = np.ndarray  # [rows, 4]: m, n, k, seconds

#: Half-width of the quadratic part of the loss, in log(predicted/measured): rows beyond it pull linearly.
SOFT = 0.04
STEP = 1e-2
#: The clock may exceed the one that the peak rate is quoted at: 1.98 of 1.83 GHz on H100.
BOOST = 1.09
AT_LIMIT = 2e-3
ARRAYS = Pick(np.minimum, np.maximum)
Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Fit:
    """Rates found. errors: |predicted/measured - 1| by family, in the order of the rows. limits: what ended on one."""

    cores: Cores
    values: dict[str, float]
    errors: dict[str, np.ndarray]
    limits: tuple[str, ...]

    @property
    def error(self) -> float:
        """Mean over all rows."""
        return float(np.concatenate(list(self.errors.values())).mean())


def read_gemms(path: Path) -> dict[str, Rows]:
    """Measured GEMMs by family: columns dtype, m, n, k, us. raises: InputError naming the line."""
    found: dict[str, list] = {}
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if not {"dtype", "m", "n", "k", "us"} <= set(reader.fieldnames or ()):
            raise InputError(f"{path}:1: columns {reader.fieldnames}; write dtype,m,n,k,us")
        for line, row in enumerate(reader, 2):
            try:
                m, n, k, us = int(row["m"]), int(row["n"]), int(row["k"]), float(row["us"])
                if min(m, n, k) < 1 or not us > 0:
                    raise ValueError
            except (TypeError, ValueError):
                raise InputError(f"{path}:{line}: {row}: sizes are whole numbers, us a time above 0") from None
            found.setdefault(row["dtype"], []).append((m, n, k, us * 1e-6))
    return {name: np.array(rows, float) for name, rows in found.items()}


class Gemms:
    """Times of one family's rows under any rates: every tile of the menu at once, the fastest taken."""

    def __init__(self, rows: Rows, family: Family, warm: bool = True):
        m, n, k = (rows[:, i, None] for i in range(3))
        tile_m, tile_n, split, chain, low, high = np.array(
            [(t.m, t.n, t.split, t.chain, *t.rows) for t in family.tiles], float
        ).T[:, None, :]
        weight, activation = (float(layout(f).bits_per_value) / 8 for f in (family.weights, family.activations))
        self.problem = Problem(m, n, k, tile_m, tile_n, split, chain, weight, activation)
        self.barred = np.where((low <= m) & (m <= high), 0.0, 1e9)
        self.quantised = family.quantise_bytes * rows[:, 0] * rows[:, 2]
        self.warm = warm

    def seconds(self, family: Family, cores: Cores) -> np.ndarray:
        """[rows]"""
        found = gemm_times(self.problem, family, cores, ARRAYS, self.warm).seconds(ARRAYS)
        return (found + self.barred).min(1) + family.launch_seconds + self.quantised / cores.bandwidth


def ranges(arch: TileMachine, families: Sequence[Family]) -> dict[str, tuple[float, float, float]]:
    """Every parameter with (start, least, most), SI units."""
    cores, clock, memory = arch.cores, float(arch.clock_hz), peak(arch)
    port = 64 * clock  # 64 B per clock: the port of an L1 to L2 (Jia et al., arXiv 1804.06826)
    found = {
        "bandwidth": (0.85 * memory, 0.5 * memory, memory),
        "store": (1.3 * memory, 0.3 * memory, 6 * memory),
        "reduce": (2e-6, 5e-8, 12e-6),
        "step": (64e-9, 3e-9, 400e-9),
        "warm": (5e6, 1e4, float(arch.buffers.activations)),
    }
    if "sustained" in cores.fitted:
        found["sustained"] = (0.2, 1e-3, 0.8)
    if "over_rows" in cores.fitted:
        found["over_rows"] = (4.0, 0.01, 30.0)
    for family in families:
        rate = arch.dot.rate(family.weights, family.activations)
        one = float(rate or arch.dot.rate(family.activations, family.activations)) * clock / cores.count
        found[f"{family.name}.launch"] = ((2.5e-6 if family.name == "bfloat16" else 6e-6), 0.8e-6, 30e-6)
        found[f"{family.name}.rate"] = (0.85 * one, 0.2 * one, BOOST * one)
        found[f"{family.name}.feed"] = (0.6 * port, 0.1 * port, 3 * port)
    return found


def fit(arch: TileMachine, data: Mapping[str, Rows], start: Mapping[str, float] | None = None, steps: int = 40) -> Fit:
    """Rates of `arch` from `data`, by family. start: values of an earlier fit."""
    from scipy.optimize import least_squares

    families = [f for f in arch.cores.families if f.name in data]
    bounds = ranges(arch, families)
    names = list(bounds)
    first, least, most = (np.log(np.array(column)) for column in zip(*bounds.values(), strict=True))
    if start:
        first = np.log(np.array([start.get(name, float(np.exp(x))) for name, x in zip(names, first, strict=True)]))
    first = np.clip(first, least + 1e-4, most - 1e-4)
    gemms = {f.name: Gemms(data[f.name], f) for f in families}
    measured = {name: np.log(rows[:, 3]) for name, rows in data.items()}
    ends = np.cumsum([0, *(len(data[f.name]) for f in families)])

    def residual(x, only=None):
        cores = arch.cores.rated(dict(zip(names, np.exp(x), strict=True)))
        return [
            np.log(gemms[f.name].seconds(f, cores)) - measured[f.name] if only in (None, f.name) else None
            for f in cores.families
            if f.name in gemms
        ]

    def jacobian(x):
        base, slopes = residual(x), np.zeros((ends[-1], len(x)))
        for j, name in enumerate(names):
            step = STEP if x[j] + STEP < most[j] else -STEP
            moved = x.copy()
            moved[j] += step
            owner = name.split(".")[0] if "." in name else None
            for i, after in enumerate(residual(moved, owner)):
                if after is not None:
                    slopes[ends[i] : ends[i + 1], j] = (after - base[i]) / step
        return slopes

    found = least_squares(
        lambda x: np.concatenate(residual(x)),
        first,
        jac=jacobian,
        bounds=(least, most),
        loss="soft_l1",
        f_scale=SOFT,
        max_nfev=steps,
    )
    values = dict(zip(names, map(float, np.exp(found.x)), strict=True))
    limits = tuple(
        name
        for name, x, low, high in zip(names, found.x, least, most, strict=True)
        if min(x - low, high - x) < AT_LIMIT
    )
    cores = arch.cores.rated(values)
    errors = {
        f.name: np.abs(gemms[f.name].seconds(f, cores) / data[f.name][:, 3] - 1)
        for f in cores.families
        if f.name in gemms
    }
    return Fit(cores, values, errors, limits)


def fit_kernels(
    arch: TileMachine, datasets: Sequence[Dataset], progress: Progress = lambda name: None
) -> tuple[KernelRatesFile, list[str]]:
    """The rates of the kernels that are not dense GEMMs, and the numbers that ended on a limit."""
    shared: dict[str, dict[str, float]] = {}
    found, experts, limits = {}, {}, []
    for dataset in datasets:
        rates, ends = predict.fit(arch, dataset, shared.get(dataset.kind, {}))
        shared.setdefault(dataset.kind, predict.shared_with(dataset.kind, rates))
        limits += [f"{dataset.label}: {name}" for name in ends]
        if dataset.kind == "experts":
            experts[dataset.kernel] = rates_file(rates, ExpertRatesFile)
        else:
            name = predict.field_of(dataset)
            found[name] = rates_file(rates, KERNELS[name][1])
        progress(dataset.label)
    return KernelRatesFile.model_construct(**{**dict(KernelRatesFile()), **found, "experts": experts}), limits


def calibration_file(
    arch: TileMachine, found: Fit, path: Path, kernels: KernelRatesFile | None = None
) -> CalibrationFile:
    """What `cores.calibration` of the machine names; numbers of GEMMs are rounded to four digits."""
    v = found.values
    rows = sum(map(len, found.errors.values()))
    chip = ChipRates.model_construct(
        bandwidth=rounded(v["bandwidth"], "B/s", 4),
        store=rounded(v["store"], "B/s", 4),
        reduce=rounded(v["reduce"], "s", 4),
        step=rounded(v["step"], "s", 4),
        warm=1000 * round(v["warm"] / 1000),
        **{name: float(f"{v[name]:.4g}") if name in v else None for name in ("sustained", "over_rows")},
    )
    families = {
        f.name: FamilyRates.model_construct(
            launch=rounded(v[f"{f.name}.launch"], "s", 4),
            rate=rounded(v[f"{f.name}.rate"], "MAC/s", 4),
            feed=rounded(v[f"{f.name}.feed"], "B/s", 4),
        )
        for f in found.cores.families
        if f"{f.name}.rate" in v
    }
    return CalibrationFile.model_construct(
        machine=arch.name,
        data=f"{path.name}, {rows} rows, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}",
        error=float(f"{found.error:.4f}"),
        chip=chip,
        families=families,
        kernels=kernels or KernelRatesFile(),
    )


def calibrate(
    arch: TileMachine, path: Path, others: Sequence[Dataset] = (), progress: Progress = lambda name: None
) -> tuple[CalibrationFile, str, Fit]:
    """The machine's calibration, the comment for its file, and the fit to a CSV of measured GEMMs.

    others: datasets of other kernels, fitted too. raises: InputError where the machine has no cores, or a fit ends on
    a limit.
    """
    if arch.cores is None:
        raise InputError(f"{arch.name}: no `cores:`; name its cores and the kernels of its library first")
    data = read_gemms(path)
    known = [f.name for f in arch.cores.families]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise InputError(f"{path}: dtype {', '.join(unknown)}: {arch.cores.kernels} has {', '.join(known)}")
    found = fit(arch, data)
    kernels, limits = fit_kernels(replace(arch, cores=found.cores), others, progress)
    limits = [*found.limits, *limits]
    if limits:
        raise InputError(f"{arch.name}: the fit ended on a limit of {', '.join(limits)}: model or range is wrong there")
    option = " --kernels" if others else ""
    comment = (
        f"Written by `hwsim calibrate {arch.name} {path.name}{option}`; do not edit. "
        "Values are fitted, each inside its range."
    )
    return calibration_file(arch, found, path, kernels), comment, found


def kernel_datasets(machine: str) -> tuple[Dataset, ...]:
    """The project's datasets of a machine whose kernels are not dense GEMMs. raises: InputError where it has none."""
    found = tuple(d for d in of_machine(machine) if d.kind != "gemm")
    if not found:
        have = dict.fromkeys(d.machine for m in fitted_machines() for d in of_machine(m) if d.kind != "gemm")
        raise InputError(
            f"--kernels: the project has no measurements of {machine}; it has those of {', '.join(have)}"
        )
    return found


def main() -> None:
    """`python -m hwsim.measured.calibrate`: the committed calibrations, fitted and scaled."""
    from hwsim.arch import load_tile_machine
    from hwsim.arch.builtin import arch_folder
    from hwsim.files.yaml import read

    def target(machine: str) -> Path:
        return arch_folder() / read(arch_folder() / f"{machine}.yaml").data["cores"]["calibration"]

    files = {}
    for machine in fitted_machines():
        bare = load_tile_machine(machine, [("cores.calibration", "null")])
        others = tuple(d for d in of_machine(machine) if d.kind != "gemm")
        (data,) = {d.file for d in of_machine(machine, "gemm")}
        files[machine], comment, found = calibrate(bare, FOLDER / data, others, print)
        target(machine).write_text(files[machine].text(comment))
        print(f"{machine}: mean error {100 * found.error:.1f} %")
    for transfer in manifest().transfers:
        one, of = (load_tile_machine(name, [("cores.calibration", "null")]) for name in (transfer.machine, transfer.of))
        file, comment = scaled(files[transfer.of], one, of)
        target(transfer.machine).write_text(file.text(comment))


if __name__ == "__main__":
    main()
