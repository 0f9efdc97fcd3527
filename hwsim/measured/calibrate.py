"""hwsim calibrate: a chip's rates from measured products, by least squares (scipy), written beside its machine.

At most eight numbers of the chip and three a family, each inside a range that physics gives; none depends on a shape.
A fit that ends on a limit is refused: the model is then wrong there, or the range is.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from hwsim.arch import Arch
from hwsim.arch.cores import Cores, CoreTile, Family
from hwsim.errors import InputError
from hwsim.formats.names import layout
from hwsim.mapping.gpu.kernels import product
from hwsim.measured.sets import FOLDER, fit_set, kernel_sets

Rows = np.ndarray  # [rows, 4]: m, n, k, seconds

#: Half-width of the quadratic part of the loss, in log(predicted/measured): rows beyond it pull linearly.
SOFT = 0.04
STEP = 1e-2
#: The clock may exceed the one that the peak rate is quoted at: 1.98 of 1.83 GHz on H100.
BOOST = 1.09
AT_LIMIT = 2e-3


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
    """Measured products by family: columns dtype, m, n, k, us. raises: InputError naming the line."""
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


class Products:
    """Times of one family's rows under any rates: every tile of the menu at once, the fastest taken."""

    def __init__(self, rows: Rows, family: Family):
        self.m, self.n, self.k = (rows[:, i, None] for i in range(3))
        sides = np.array([(t.m, t.n, t.split) for t in family.tiles], float).T[:, None, :]
        self.tile = CoreTile(*sides, chain=np.array([t.chain for t in family.tiles], float))
        low, high = np.array([t.rows for t in family.tiles], float).T[:, None, :]
        self.barred = np.where((low <= self.m) & (self.m <= high), 0.0, 1e9)
        self.bytes = [float(layout(name).bits_per_value) / 8 for name in (family.weights, family.activations)]
        self.quantised = family.quantise_bytes * rows[:, 0] * rows[:, 2]

    def seconds(self, family: Family, cores: Cores) -> np.ndarray:
        """[rows]"""
        parts = product(
            self.m, self.n, self.k, *self.bytes, self.tile, family, cores, warm=1.0, least=np.minimum, most=np.maximum
        )
        times = (parts.seconds(np.minimum, np.maximum) + self.barred).min(1)
        return times + family.launch_seconds + self.quantised / cores.bandwidth


def ranges(arch: Arch, families: Sequence[Family]) -> dict[str, tuple[float, float, float]]:
    """Every parameter with (start, least, most), SI units."""
    cores, clock = arch.cores, float(arch.clock_hz)
    peak = float(arch.dram.bytes_per_cycle) * clock
    port = 64 * clock  # 64 B a clock: the port of an L1 to L2 (Jia et al., arXiv 1804.06826)
    found = {
        "bandwidth": (0.85 * peak, 0.5 * peak, peak),
        "store": (1.3 * peak, 0.3 * peak, 6 * peak),
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


def fit(arch: Arch, data: Mapping[str, Rows], start: Mapping[str, float] | None = None, steps: int = 40) -> Fit:
    """Rates of `arch` from `data`, by family. start: values of an earlier fit."""
    from scipy.optimize import least_squares

    families = [f for f in arch.cores.families if f.name in data]
    bounds = ranges(arch, families)
    names = list(bounds)
    first, least, most = (np.log(np.array(column)) for column in zip(*bounds.values(), strict=True))
    if start:
        first = np.log(np.array([start.get(name, float(np.exp(x))) for name, x in zip(names, first, strict=True)]))
    first = np.clip(first, least + 1e-4, most - 1e-4)
    products = {f.name: Products(data[f.name], f) for f in families}
    measured = {name: np.log(rows[:, 3]) for name, rows in data.items()}
    ends = np.cumsum([0, *(len(data[f.name]) for f in families)])

    def residual(x, only=None):
        cores = arch.cores.rated(dict(zip(names, np.exp(x), strict=True)))
        return [
            np.log(products[f.name].seconds(f, cores)) - measured[f.name] if only in (None, f.name) else None
            for f in cores.families
            if f.name in products
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
        f.name: np.abs(products[f.name].seconds(f, cores) / data[f.name][:, 3] - 1)
        for f in cores.families
        if f.name in products
    }
    return Fit(cores, values, errors, limits)


def fit_others(arch: Arch, cores: Cores, chip: str, progress=None) -> tuple[dict[str, tuple[float, str]], list[str]]:
    """Numbers of the other kernels of `h100` or `b200`, with units, and the sets that ended on a limit."""
    clock, shared, found, limits = float(arch.clock_hz), {}, {}, []
    peak, dot = float(arch.dram.bytes_per_cycle) * clock, float(arch.dot.rate("bf16", "bf16")) * clock
    for one in kernel_sets(chip, cores, peak, dot):
        values, ends = fit_set(one, cores, shared if one.name.startswith("prefill_") else {})
        if one.name == "prefill_bf16":
            shared = {"copy": values["copy"]}
        limits += [f"{one.name}.{name}" for name in ends]
        share = {"rate", "copy"} if one.name.startswith("experts_") else set()
        found |= {f"{one.name}.{name}": (values[name], "1" if name in share else UNITS[name]) for name in one.ranges}
        if progress:
            progress(one.name)
    return found, limits


#: Units of the numbers of `fit_others`; rate and copy of experts are shares of the chip's.
UNITS = {"launch": "s", "rate": "MAC/s", "tile": "s", "copy": "B/s", "query": "s", "block": "s", "cached": "B/s"}
UNITS |= {"link": "B/s", "second": "s"}


def calibration_text(
    arch: Arch, found: Fit, path: Path, command: str, others: Mapping[str, tuple[float, str]] | None = None
) -> str:
    """The file `calibration:` names."""
    v = found.values
    rows = sum(map(len, found.errors.values()))
    lines = [
        f"# Written by `{command}`; do not edit. Values are fitted, each inside its range.",
        f"machine: {arch.name}",
        f"data: {path.name}, {rows} rows, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}",
        f"error: {found.error:.4f}",
        "chip:",
        f"  bandwidth: {v['bandwidth'] / 1e12:.4g} TB/s",
        f"  store: {v['store'] / 1e12:.4g} TB/s",
        f"  reduce: {v['reduce'] * 1e6:.4g} us",
        f"  step: {v['step'] * 1e9:.4g} ns",
        f"  warm: {round(v['warm'] / 1e3)} kB",
    ]
    lines += [f"  {name}: {v[name]:.4g}" for name in ("sustained", "over_rows") if name in v]
    lines.append("families:")
    for family in found.cores.families:
        if f"{family.name}.rate" in v:
            lines += [
                f"  {family.name}:",
                f"    launch: {v[f'{family.name}.launch'] * 1e6:.4g} us",
                f"    rate: {v[f'{family.name}.rate'] / 1e12:.4g} TMAC/s",
                f"    feed: {v[f'{family.name}.feed'] / 1e9:.4g} GB/s",
            ]
    if others:
        lines += ["others:", *(f"  {key}: {{value: {x:.6e}, unit: '{unit}'}}" for key, (x, unit) in others.items())]
    return "\n".join(lines) + "\n"


def calibrate(arch: Arch, path: Path, progress=None) -> tuple[str, Fit]:
    """The text of the machine's calibration, fitted to a file of measured products, and of the other kernels the
    project has measurements of. raises: InputError where the machine has no cores, or a fit ends on a limit.
    """
    if arch.cores is None:
        raise InputError(f"{arch.name}: no `cores:`; name its cores and the kernels of its library first")
    data = read_gemms(path)
    known = [f.name for f in arch.cores.families]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise InputError(f"{path}: dtype {', '.join(unknown)}: {arch.cores.kernels} has {', '.join(known)}")
    found = fit(arch, data)
    chip, others, limits = path.name.split("_")[0], {}, list(found.limits)
    if (FOLDER / f"{chip}_moe.csv").is_file():
        others, more = fit_others(arch, found.cores, chip, progress)
        limits += more
    if limits:
        raise InputError(f"{arch.name}: the fit ended on a limit of {', '.join(limits)}: model or range is wrong there")
    return calibration_text(arch, found, path, f"hwsim calibrate {arch.name} {path.name}", others), found


def scaled(text: str, arch: Arch, of: Arch) -> str:
    """A calibration of `arch` without measurements: that of `of`, each rate by the two data sheets.

    text: `of`'s file. Rates of the memory go by its bandwidth, a core's multiply-adds by its peak, its feed and its
    steps by the clock, what stays in L2 by L2; launches stay.
    """

    def ratio(number: Callable[[Arch], Fraction]) -> float:
        return float(number(arch) / number(of))

    memory = ratio(lambda a: a.dram.bytes_per_cycle * a.clock_hz)
    clock, cache = ratio(lambda a: a.clock_hz), ratio(lambda a: Fraction(a.buffers.activations))
    by = {"bandwidth": memory, "store": memory, "feed": clock, "step": 1 / clock, "warm": cache}
    lines = [
        f"# {of.name}'s calibration, each rate by the two data sheets (memory {memory:.4f}): a prediction, no fit."
    ]
    for line in text.split("\n")[1:]:
        found = re.match(r"^( *)([\w.]+): ?({value: )?([\d.e+-]+)?(.*)$", line)
        if found:
            indent, key, value, number, rest = found.groups()
            if key == "machine":
                line = f"machine: {arch.name}"
            elif not number and len(indent) == 2:
                family = next((f for f in arch.cores.families if f.name == key), None)
                if family:
                    by["rate"] = ratio(
                        lambda a, f=family: a.dot.rate(f.activations, f.activations) * a.clock_hz / a.cores.count
                    )
            elif value and key.endswith(".copy") and "'B/s'" in rest:
                line = f"{indent}{key}: {value}{float(number) * memory:.6e}{rest}"
            elif not value and number and key in by and by[key] != 1:
                new = float(number) * by[key]
                line = f"{indent}{key}: {round(new) if key == 'warm' else format(new, '.4g')}{rest}"
        lines.append(line)
    return "\n".join(lines)


#: Machines without measurements of their own, and the one that each is scaled from.
SCALED = {
    "h200-sxm-trtllm": "h100-sxm",
    "mi210": "a100-sxm",
    "rtx4090": "a100-sxm",
    "rtx-pro-6000": "a100-sxm",
}


def main() -> None:
    """`python -m hwsim.measured.calibrate`: the committed calibrations of the measured chips and the H200."""
    from hwsim.arch import load_arch
    from hwsim.arch.builtin import arch_folder

    folder, texts = arch_folder() / "calibration", {}
    for name in ("a100-sxm", "h100-sxm", "b200"):
        bare = load_arch(name, [("cores.calibration", "null")])
        texts[name], found = calibrate(bare, FOLDER / f"{name.split('-')[0]}_gemm.csv", print)
        (folder / f"{name}.yaml").write_text(texts[name])
        print(f"{name}: mean error {100 * found.error:.1f} %")
    for name, of in SCALED.items():
        pair = (load_arch(machine, [("cores.calibration", "null")]) for machine in (name, of))
        (folder / f"{calibration_file(name)}").write_text(scaled(texts[of], *pair))


def calibration_file(machine: str) -> str:
    """Name of a machine's file among the calibrations."""
    return "h200-sxm.yaml" if machine == "h200-sxm-trtllm" else f"{machine}.yaml"


if __name__ == "__main__":
    main()
