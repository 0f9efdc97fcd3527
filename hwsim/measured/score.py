"""hwsim validate: what the simulator predicts, beside what was measured; `hwsim.measured.page` writes it up.

Error is the mean of |predicted - measured| / measured. Products are fitted on five sixths of the (n, k) shapes and
scored on the sixth, rotated; the other kernels, with three numbers each and a copy rate a chip, on one half and scored
on the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hwsim.arch import Arch, load_arch
from hwsim.arch.cores import Cores
from hwsim.formats.names import layout
from hwsim.jobs.run import gemm
from hwsim.mapping.gpu.kernels import gemm as kernel
from hwsim.measured import calibrate
from hwsim.measured.sets import FOLDER, fit_set, kernel_sets, read_rows, values_of
from hwsim.measured.unfitted import Unfitted, gpt3, llama, llmcompass

FOLDS = 6
SEED = 0
CHIPS = {"a100": "a100-sxm", "h100": "h100-sxm", "b200": "b200"}
GOALS = {"a100": 8, "h100": 5, "b200": 5, "prefill": 5, "decode": 10, "experts": 15, "conv": 10, "all_reduce": 10}


@dataclass(frozen=True)
class Score:
    """Errors of one set, in the order of its rows. m: rows of the products, for their ranges (or None)."""

    chip: str
    name: str
    errors: np.ndarray
    m: np.ndarray | None = None
    plain: np.ndarray | None = None
    fitted: float | None = None
    worst_fold: float | None = None
    predicted: np.ndarray | None = None
    measured: np.ndarray | None = None


def shape_folds(rows: np.ndarray, folds: int = FOLDS, seed: int = SEED) -> np.ndarray:
    """[rows]: the fold of each row; all M of an (n, k) shape are in one."""
    shapes = sorted({(n, k) for n, k in rows[:, 1:3]})
    random.Random(seed).shuffle(shapes)
    place = {shape: i % folds for i, shape in enumerate(shapes)}
    return np.array([place[n, k] for n, k in rows[:, 1:3]])


def plain_fit(arch: Arch, family, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Errors on `test` of t0 + max(m n k / R, bytes / BW), its three numbers fitted on `train`: the yardstick."""
    from scipy.optimize import least_squares

    widths = [float(layout(name).bits_per_value) / 8 for name in (family.weights, family.activations)]

    def times(x, rows):
        m, n, k = rows[:, 0], rows[:, 1], rows[:, 2]
        moved = n * k * widths[0] + m * k * widths[1] + 2 * m * n
        return np.exp(x[0]) + np.maximum(m * n * k / np.exp(x[1]), moved / np.exp(x[2]))

    clock = float(arch.clock_hz)
    rate = arch.dot.rate(family.weights, family.activations) or arch.dot.rate(family.activations, family.activations)
    start = np.log([5e-6, 0.7 * float(rate) * clock, 0.8 * float(arch.dram.bytes_per_cycle) * clock])
    target = np.log(train[:, 3])
    got = least_squares(lambda x: np.log(times(x, train)) - target, start, loss="soft_l1", f_scale=calibrate.SOFT)
    return np.abs(times(got.x, test) / test[:, 3] - 1)


def score_gemms(chip: str, progress: Callable[[str], None]) -> list[Score]:
    """Every family of a chip, each row predicted by a fit that has not seen its (n, k)."""
    arch = load_arch(CHIPS[chip])
    data = calibrate.read_gemms(FOLDER / f"{chip}_gemm.csv")
    whole = calibrate.fit(arch, data)
    folds = {name: shape_folds(rows) for name, rows in data.items()}
    predicted = {name: np.zeros(len(rows)) for name, rows in data.items()}
    plain = {name: np.zeros(len(rows)) for name, rows in data.items()}
    means: dict[str, list[float]] = {name: [] for name in data}
    for fold in range(FOLDS):
        train = {name: rows[folds[name] != fold] for name, rows in data.items()}
        found = calibrate.fit(arch, train, whole.values)
        for family in found.cores.families:
            if family.name in data:
                here = folds[family.name] == fold
                rows = data[family.name][here]
                times = calibrate.Products(rows, family).seconds(family, found.cores)
                predicted[family.name][here] = times
                means[family.name].append(float(np.abs(times / rows[:, 3] - 1).mean()))
                plain[family.name][here] = plain_fit(arch, family, train[family.name], rows)
        progress(f"{chip}: products, fold {fold + 1} of {FOLDS}")
    return [
        Score(
            chip,
            name,
            np.abs(predicted[name] / rows[:, 3] - 1),
            rows[:, 0],
            plain[name],
            float(whole.errors[name].mean()),
            max(means[name]),
            predicted[name],
            rows[:, 3],
        )
        for name, rows in data.items()
    ]


def shares(arch: Arch) -> dict[str, float]:
    """A chip's bf16 calibration as shares of its data sheet, or as it is where there is none."""
    cores, clock = arch.cores, float(arch.clock_hz)
    peak, family = float(arch.dram.bytes_per_cycle) * clock, arch.cores.named("bfloat16")
    one = float(arch.dot.rate("bf16", "bf16")) * clock / cores.count
    return {
        "bandwidth": cores.bandwidth / peak,
        "store": cores.store / peak,
        "reduce": cores.reduce_seconds,
        "step": cores.step_seconds * clock,
        "warm": cores.warm_bytes / arch.buffers.activations,
        "sustained": cores.sustained,
        "launch": family.launch_seconds,
        "rate": family.macs_per_second / one,
        "feed": family.feed_per_second / clock,
    }


def transferred(arch: Arch, found: Mapping[str, float]) -> Cores:
    """Cores of a chip by the shares of others."""
    cores, clock = arch.cores, float(arch.clock_hz)
    peak, family = float(arch.dram.bytes_per_cycle) * clock, cores.named("bfloat16")
    one = float(arch.dot.rate("bf16", "bf16")) * clock / cores.count
    family = replace(
        family,
        launch_seconds=found["launch"],
        macs_per_second=found["rate"] * one,
        feed_per_second=found["feed"] * clock,
    )
    return replace(
        cores,
        families=(family,),
        bandwidth=found["bandwidth"] * peak,
        store=found["store"] * peak,
        reduce_seconds=found["reduce"],
        step_seconds=found["step"] / clock,
        sustained=found["sustained"],
        warm_bytes=found["warm"] * arch.buffers.activations,
    )


def score_left_out() -> list[Score]:
    """bf16 products of each chip by the mean shares of the two others; the menu of kernels is its own."""
    arches = {chip: load_arch(name) for chip, name in CHIPS.items()}
    known = {chip: shares(arch) for chip, arch in arches.items()}
    scores = []
    for chip, arch in arches.items():
        others = [known[other] for other in CHIPS if other != chip]
        mean = {key: sum(o[key] for o in others) / len(others) for key in others[0]}
        cores = transferred(arch, mean)
        rows = calibrate.read_gemms(FOLDER / f"{chip}_gemm.csv")["bfloat16"]
        times = calibrate.Products(rows, cores.families[0]).seconds(cores.families[0], cores)
        scores.append(Score(chip, "bfloat16", np.abs(times / rows[:, 3] - 1), rows[:, 0]))
    return scores


def score_kernels(chip: str, progress: Callable[[str], None]) -> list[Score]:
    """The other kernels: fitted on every second row and scored on those between, both ways round."""
    arch = load_arch(CHIPS[chip])
    clock = float(arch.clock_hz)
    peak, dot = float(arch.dram.bytes_per_cycle) * clock, float(arch.dot.rate("bf16", "bf16")) * clock
    scores = []
    for one in kernel_sets(chip, arch.cores, peak, dot):
        order = list(range(len(one.rows)))
        random.Random(SEED).shuffle(order)
        predicted = np.zeros(len(order))
        shared = {"copy": arch.cores.others["prefill_bf16.copy"]} if one.name.startswith("prefill_") else {}
        for half in (order[::2], order[1::2]):
            values, _ = fit_set(one, arch.cores, shared, [one.rows[i] for i in order if i not in set(half)], steps=12)
            predicted[half] = one.predicted(arch.cores, values, [one.rows[i] for i in half])
        fitted = np.abs(one.predicted(arch.cores, values_of(arch.cores, one.name)) / one.seconds - 1).mean()
        errors = np.abs(predicted / one.seconds - 1)
        scores.append(Score(chip, one.name, errors, None, None, float(fitted), None, predicted, one.seconds))
        progress(f"{chip}: {one.name}")
    return scores


def gemmini_rows() -> Iterable[tuple[str, int, int]]:
    """(shape, measured cycles, simulated cycles)"""
    for row in read_rows("gemmini_gemm.csv"):
        m, n, k = (int(row[name]) for name in ("m", "n", "k"))
        yield f"{m}x{n}x{k}", int(row["rtl_cycles"]), gemm("gemmini", m, n, k, "int8", engine="walk").cycles


def h200_rows() -> Iterable[list[str]]:
    """Products on the H200, which no fit has seen: m, n, k and microseconds by family, beside H100's prediction."""
    arches = load_arch("h200-sxm-trtllm"), load_arch("h100-sxm")
    for m, n, k in ((1, 4096, 4096), (1, 16384, 16384), (64, 8192, 8192), (512, 8192, 8192), (4096, 8192, 8192)):
        row = [f"{m} x {n} x {k}"]
        for name in ("bfloat16", "fp8_block"):
            for arch in arches:
                family = arch.cores.named(name)
                formats = layout(family.weights), layout(family.activations)
                row.append(f"{1e6 * kernel(m, n, k, family, arch.cores, *formats, warm=True).seconds:.1f}")
        yield row


def unfitted_sets() -> tuple[list[Unfitted], float, list[tuple[str, str, float, float]]]:
    """Sets no fit has seen, the start of LLMCompass's framework (s), and the operators of its GPT-3 layer."""
    a100, start = llmcompass("a100-sxm")
    mi210, _ = llmcompass("mi210", start)
    return [a100, mi210, *llama("rtx4090"), *llama("rtx-pro-6000")], start, list(gpt3(start))
