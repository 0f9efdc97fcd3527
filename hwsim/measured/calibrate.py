"""hwsim calibrate: a chip's rates from measured GEMMs, by least squares (scipy), written to the machine's calibration.

At most eight numbers per chip and three per family, each inside a range that physics gives; none depends on a shape.
A fit that ends on a limit is refused: the model is then wrong there, or the range is.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwsim.arch import TileMachine
from hwsim.arch.calibration import (
    KERNELS,
    CalibrationFile,
    ChipRates,
    ExpertRatesFile,
    FamilyRates,
    KernelRatesFile,
    peaks_file,
    rates_file,
    rounded,
)
from hwsim.arch.cores import Cores, Family
from hwsim.errors import InputError
from hwsim.formats.names import layout
from hwsim.mapping.gpu.gemm import Pick, Problem, gemm_times
from hwsim.mapping.gpu.kernels import PORT
from hwsim.measured import predict
from hwsim.measured.sets import FOLDER, Dataset, fitted_machines, of_machine

Rows = np.ndarray  # [rows, 4]: m, n, k, seconds

#: Half-width of the quadratic part of the loss, in log(predicted/measured): rows beyond it pull linearly.
SOFT = 0.04
STEP = 1e-2
#: The clock may exceed the one that the peak rate is quoted at: 1.98 of 1.83 GHz on H100.
BOOST = 1.09
AT_LIMIT = 2e-3
#: Rates over those of the first start, in the second.
HIGH_RATE = 1.12
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
        self.quantised = rows[:, 0] * rows[:, 2]
        self.warm = warm

    def seconds(self, family: Family, cores: Cores) -> np.ndarray:
        """[rows]"""
        found = gemm_times(self.problem, family, cores, ARRAYS, self.warm).seconds(ARRAYS)
        return (found + self.barred).min(1) + family.launch_seconds + self.quantised * family.quantise_seconds


def ranges(arch: TileMachine, families: Sequence[Family]) -> dict[str, tuple[float, float, float]]:
    """Every parameter of `Cores.rated` with (start, least, most)."""
    cores, clock = predict.cores_of(arch), float(arch.clock_hz)
    memory = cores.peaks.dram / cores.cycles_per_second
    found = {
        "bandwidth": (0.85, 0.5, 1.0),
        "store": (1.3 * memory, 0.3 * memory, 6 * memory),
        "reduce": (2e-6, 5e-8, 12e-6),
        "step": (1e-9 * clock, 5e-11 * clock, 6e-9 * clock),
        "warm": (0.1, 2e-4, 1.0),
    }
    if "sustained" in cores.fitted:
        found["sustained"] = (0.25, 1e-3, 0.8)
    if "over_rows" in cores.fitted:
        found["over_rows"] = (4.0, 0.01, 30.0)
    for family in families:
        found[f"{family.name}.launch"] = ((2.5e-6 if family.name == "bfloat16" else 6e-6), 0.8e-6, 30e-6)
        found[f"{family.name}.rate"] = (0.85, 0.2, BOOST)
        found[f"{family.name}.feed"] = (0.6 * PORT, 0.1 * PORT, 3 * PORT)
    return found


def fit(arch: TileMachine, data: Mapping[str, Rows], start: Mapping[str, float] | None = None, steps: int = 40) -> Fit:
    """Rates of `arch` from `data`, by family. start: values of an earlier fit."""
    from scipy.optimize import least_squares

    whole = predict.cores_of(arch)
    families = [f for f in whole.families if f.name in data]
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
        cores = whole.rated(dict(zip(names, np.exp(x), strict=True)))
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

    def solved(x):
        found = least_squares(
            lambda x: np.concatenate(residual(x)),
            x,
            jac=jacobian,
            bounds=(least, most),
            loss="soft_l1",
            f_scale=SOFT,
            max_nfev=steps,
        )
        near = [n for n, x, a, b in zip(names, found.x, least, most, strict=True) if min(x - a, b - x) < AT_LIMIT]
        return len(near), found.cost, found.x, near

    starts = [first]
    if "sustained" in names and not start:  # a high rate that falls under load and a lower one are two minima
        starts.append(first + [np.log(HIGH_RATE) if name.endswith(".rate") else 0.0 for name in names])
    _, _, best, near = min((solved(x) for x in starts), key=lambda one: one[:2])
    values = dict(zip(names, map(float, np.exp(best)), strict=True))
    limits = tuple(near)
    cores = whole.rated(values)
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
    limits = []
    for dataset in datasets:
        arch, _, ends = predict.fit(arch, dataset)
        limits += [f"{dataset.label}: {name}" for name in ends]
        progress(dataset.label)
    return kernels_file(predict.cores_of(arch)), limits


def kernels_file(cores: Cores) -> KernelRatesFile:
    """The rates of kernels that are not dense GEMMs, as a part of the calibration's file."""
    found = {}
    for name, (_, file) in KERNELS.items():
        rates = getattr(cores.kernel_rates, name)
        found["expert_chip" if name == "experts" else name] = rates_file(rates, file) if rates else None
    experts = {e.name: rates_file(e.rates, ExpertRatesFile) for e in cores.experts if e.rates}
    return KernelRatesFile.model_construct(**{**dict(KernelRatesFile()), **found, "experts": experts})


def calibration_file(
    arch: TileMachine, found: Fit, data: str, kernels: KernelRatesFile | None = None
) -> CalibrationFile:
    """What `cores.calibration` of the machine names, rounded to four digits. data: what the numbers were fitted to."""
    v, cores = found.values, found.cores
    chip = ChipRates.model_construct(
        bandwidth=float(f"{v['bandwidth']:.4g}"),
        store=rounded(v["store"], "B/cycle"),
        reduce=rounded(v["reduce"], "s"),
        step=rounded(v["step"], "cycle"),
        warm=float(f"{v['warm']:.4g}"),
        sustained=float(f"{v['sustained']:.4g}") if "sustained" in v else None,
        over_rows=float(f"{v['over_rows']:.4g}") if "over_rows" in v else None,
    )
    families = {
        f.name: FamilyRates.model_construct(
            launch=rounded(v[f"{f.name}.launch"], "s"),
            rate=float(f"{v[f'{f.name}.rate']:.4g}"),
            feed=rounded(v[f"{f.name}.feed"], "B/cycle"),
            peak=rounded(cores.peaks.rate(f.weights, f.activations), "MAC/s", 9),
        )
        for f in found.cores.families
    }
    return CalibrationFile.model_construct(
        machine=arch.name,
        data=data,
        error=float(f"{found.error:.4f}"),
        peaks=peaks_file(predict.cores_of(arch)),
        chip=chip,
        families=families,
        kernels=kernels or KernelRatesFile(),
    )


def calibrate(
    arch: TileMachine,
    path: Path,
    others: Sequence[Dataset] = (),
    progress: Progress = lambda name: None,
    held_out: Callable[[float, float], bool] = lambda n, k: False,
) -> tuple[CalibrationFile, str, Fit]:
    """The machine's calibration, the comment for its file, and the fit to a CSV of measured GEMMs.

    others: datasets of other kernels, fitted too. held_out: whether no fit may see the GEMMs of an (n, k).
    raises: InputError where the machine has no cores, or a fit ends on a limit.
    """
    if arch.cores is None:
        raise InputError(f"{arch.name}: no `cores:`; name its cores and the kernels of its library first")
    data = read_gemms(path)
    known = [f.name for f in arch.cores.families]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise InputError(f"{path}: dtype {', '.join(unknown)}: {arch.cores.kernels} has {', '.join(known)}")
    data = {name: rows[[not held_out(n, k) for n, k in rows[:, 1:3]]] for name, rows in data.items()}
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
    rows = sum(map(len, found.errors.values()))
    text = f"{path.name}, {rows} rows, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    return calibration_file(arch, found, text, kernels), comment, found


def kernel_datasets(machine: str) -> tuple[Dataset, ...]:
    """The project's datasets of a machine whose kernels are not dense GEMMs. raises: InputError where it has none."""
    found = tuple(d for d in of_machine(machine) if d.kind != "gemm")
    if not found:
        have = dict.fromkeys(d.machine for m in fitted_machines() for d in of_machine(m) if d.kind != "gemm")
        raise InputError(f"--kernels: the project has no measurements of {machine}; it has those of {', '.join(have)}")
    return found


def main() -> None:
    """`make calibration`: the committed calibrations, from the rows that sets.yaml does not hold out."""
    from hwsim.arch import load_arch
    from hwsim.arch.builtin import arch_folder
    from hwsim.files.yaml import read

    for machine in fitted_machines():
        bare = predict.tiled(load_arch(machine, [("cores.calibration", "null"), ("cores.others", "null")]))
        others = tuple(d for d in of_machine(machine) if d.kind != "gemm")
        (gemms,) = of_machine(machine, "gemm")
        seen = {(float(r["n"]), float(r["k"])) for r in gemms.fit_rows}

        def held_out(n: float, k: float, seen: set[tuple[float, float]] = seen) -> bool:
            return (n, k) not in seen

        file, _, found = calibrate(bare, FOLDER / gemms.file, others, print, held_out)
        target = arch_folder() / read(arch_folder() / f"{machine}.yaml").data["cores"]["calibration"]
        target.write_text(
            file.text("Written by `make calibration`; do not edit. No row that sets.yaml holds out was seen.")
        )
        print(f"{machine}: mean error {100 * found.error:.1f} %")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
