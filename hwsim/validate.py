"""hwsim validate: what the simulator predicts, beside what was measured; writes reports/validation.md and its figure.

Error is the mean of |predicted - measured| / measured. Products are fitted on five sixths of the (n, k) shapes and
scored on the sixth, rotated; the other kernels, with at most three numbers each, on one half and scored on the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwsim import __version__, calibrate
from hwsim.arch import Arch, load_arch
from hwsim.arch.cores import Cores
from hwsim.formats.layout import layout
from hwsim.job import gemm
from hwsim.kernels import gemm as kernel
from hwsim.kernelsets import FOLDER, fit_set, kernel_sets, read_rows, values_of

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


def score_llmcompass(chip: str) -> Score:
    """LLMCompass's FP16 products on A100: the same chip, its eager framework's start fitted as one constant."""
    arch = load_arch("a100-sxm")
    rows = np.array([[float(r[c]) for c in ("m", "n", "k", "us")] for r in read_rows(f"llmcompass_{chip}_gemm.csv")])
    rows[:, 3] *= 1e-6
    family = arch.cores.named("bfloat16")
    times = calibrate.Products(rows, family).seconds(family, replace(arch.cores, warm_bytes=0.0))
    starts = np.linspace(0, 60e-6, 601)
    start = float(min(starts, key=lambda x: np.abs((times + x) / rows[:, 3] - 1).mean()))
    times = times + start
    return Score(
        chip,
        f"LLMCompass fp16, start {start * 1e6:.1f} us",
        np.abs(times / rows[:, 3] - 1),
        rows[:, 0],
        predicted=times,
        measured=rows[:, 3],
    )


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


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def percent(x: float | None) -> str:
    """One digit behind the point, or a dash."""
    return "-" if x is None or not np.isfinite(x) else f"{100 * x:.1f}"


def ranges(score: Score, errors: np.ndarray) -> list[str]:
    """Means for M <= 16, 17 to 512, above."""
    m = score.m
    parts = (m <= 16, (m > 16) & (m <= 512), m > 512)
    return [percent(errors[part].mean()) if part.any() else "-" for part in parts]


def gemm_table(scores: list[Score]) -> str:
    """A row a family, and all rows of a chip together."""
    header = [
        "chip",
        "dtype",
        "rows",
        "plain",
        "mean",
        "median",
        "worst",
        "M <= 16",
        "17-512",
        "> 512",
        "worst fold",
        "in the fit",
    ]
    rows = []
    for chip in CHIPS:
        mine = [s for s in scores if s.chip == chip]
        for s in mine:
            e = s.errors
            rows.append(
                [
                    chip,
                    s.name,
                    str(len(e)),
                    percent(s.plain.mean()),
                    f"**{percent(e.mean())}**",
                    percent(float(np.median(e))),
                    percent(e.max()),
                    *ranges(s, e),
                    percent(s.worst_fold),
                    percent(s.fitted),
                ]
            )
        every = Score(chip, "all", np.concatenate([s.errors for s in mine]), np.concatenate([s.m for s in mine]))
        fitted = sum(s.fitted * len(s.errors) for s in mine) / len(every.errors)
        rows.append(
            [
                chip,
                f"**all** (asked: {GOALS[chip]})",
                str(len(every.errors)),
                percent(np.concatenate([s.plain for s in mine]).mean()),
                f"**{percent(every.errors.mean())}**",
                percent(float(np.median(every.errors))),
                percent(every.errors.max()),
                *ranges(every, every.errors),
                "-",
                percent(fitted),
            ]
        )
    return table(header, rows)


def kernel_table(scores: list[Score]) -> str:
    """A row a set."""
    rows = []
    for s in scores:
        goal = next(g for key, g in GOALS.items() if s.name.startswith(key))
        e = s.errors
        rows.append(
            [
                s.chip,
                s.name,
                str(len(e)),
                str(goal),
                f"**{percent(e.mean())}**",
                percent(float(np.median(e))),
                percent(e.max()),
                percent(s.fitted),
            ]
        )
    return table(["chip", "kernel", "rows", "asked", "mean", "median", "worst", "in the fit"], rows)


def parity_figure(gemms: list[Score], kernels: list[Score], path: Path) -> None:
    """Predicted over measured against measured time, a panel a chip, and one of the other kernels."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"svg.hashsalt": "hwsim", "font.size": 8}):
        figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharey=True, layout="constrained")
        panels = [*((chip.upper(), [s for s in gemms if s.chip == chip]) for chip in CHIPS), ("other kernels", kernels)]
        for axis, (title, scores) in zip(axes.flat, panels, strict=True):
            groups: dict[str, list[Score]] = {}
            for s in scores:
                groups.setdefault(
                    s.name if s.m is not None else s.name.replace("all_", "all-").split("_")[0], []
                ).append(s)
            for name, members in groups.items():
                x = np.concatenate([s.measured for s in members]) * 1e6
                y = np.concatenate([s.predicted for s in members]) * 1e6 / x
                axis.plot(x, y, ".", ms=1.6, label=name, rasterized=True)
            for line in (0.9, 1.0, 1.1):
                axis.axhline(line, color="black", lw=0.8 if line == 1 else 0.4, ls="-" if line == 1 else ":")
            axis.set(title=title, xscale="log", yscale="log", ylim=(0.4, 2.5), xlabel="measured, us")
            axis.set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"], minor=False)
            axis.minorticks_off()
            axis.legend(markerscale=5, loc="upper right", ncols=2, frameon=False)
        for axis in axes[:, 0]:
            axis.set_ylabel("predicted / measured")
        figure.savefig(path, metadata={"Date": None}, dpi=150)
        plt.close(figure)


NOT_MODELLED = """\
- **Which kernel a library picks.** The fastest of the menu is taken; heuristics that pick a slower one are the largest
  part of the worst rows (A100 5120x5120 at M = 1024 int8 takes 293 us, its neighbours 89 and 209; H100 32x4096 at
  M = 4096 takes 8.0 us and 26.5 at twice the rows).
- **The clock of the timer.** A100's quantised rows are whole multiples of 1.024 us, B200's bf16 rows of about 0.4 us:
  at 10 us and 2 us that alone is 5 to 9 %.
- **L2 as a cache.** Only what stays between repeats of a benchmark (`warm`), at three times the memory's speed; whole
  models get none. Re-reads of a large operand in one kernel are not counted.
- **Power.** One loss of rate under lasting load; no clock of its own, no temperature.
- **Skewed experts.** `power_law` loads are taken as zipf of the same exponent; they spread wider at 16 to 64 tokens.
- **SSM scan and state update.** The tables hold the convolutions of Mamba-2 only: nothing here checks the scan.
- **A100's attention** is left out: its table names no KV format and beats the memory's bandwidth with two bytes.
- **MI210, NVDLA, the workstation GPUs of the Llama-3.1-8B profiles and the GPT-3 layer** have data here
  (hwsim/data/groundtruth) and no machine file yet: not scored."""


def report(gemms, left_out, kernels, compass, gemmini, seedlm, figure: str) -> str:
    """The page."""
    largest = sorted(gemmini, key=lambda r: -r[1])[:3]
    small = [r for r in gemmini if r not in largest]
    host = next(real - ours for shape, real, ours in small if shape == "64x64x64")
    gemmini_table = table(
        ["M x N x K", "RTL", "hwsim", "error %", f"with {host:,} cycles of host, error %"],
        [
            [
                shape,
                f"{real:,}",
                f"{ours:,}",
                f"{100 * (ours / real - 1):+.1f}",
                f"{100 * ((ours + host) / real - 1):+.1f}",
            ]
            for shape, real, ours in gemmini
        ],
    )
    left = table(
        ["chip left out", "mean", "median", "worst", "M <= 16", "17-512", "> 512"],
        [
            [
                s.chip,
                percent(s.errors.mean()),
                percent(float(np.median(s.errors))),
                percent(s.errors.max()),
                *ranges(s, s.errors),
            ]
            for s in left_out
        ],
    )
    return f"""\
# Validation

`make validate` (hwsim {__version__}, seed {SEED}) wrote this page. Error is the mean of
|predicted - measured| / measured, in percent. Data, sources, licences: `hwsim/data/groundtruth/README.md`. Fitted
numbers: `arch_configs/calibration/` (at most eight a chip and three a family, `hwsim calibrate`); menus of kernels:
`arch_configs/kernels/`. Waves, padding, fill and drain, causal tiles come from dealing tiles to cores, not from a fit.

![predicted over measured]({figure})

## Products

Fitted on five sixths of the (n, k) shapes, scored on the sixth, rotated. `plain` is t0 + max(mnk/R, bytes/BW), three
numbers a family, fitted and scored the same way. The menus were chosen on all shapes; shapes that this project does not
hold are the independent check.

{gemm_table(gemms)}

A whole chip left out: bf16 by the mean of the two other chips' shares of their data sheets, with its own menu.

{left}

H200, for which there is no data: H100's fit with the memory's rates times 4.8/3.35. A prediction, us:

{table(["M x N x K", "H200 bf16", "H100 bf16", "H200 fp8_block", "H100 fp8_block"], h200_rows())}

## Other kernels

Fitted on half of the rows, scored on the other half, both ways round. The table of Mamba-2 holds no scan.

{kernel_table(kernels)}

## Other sources

LLMCompass, A100, FP16, eager framework: {percent(compass.errors.mean())} % (worst {percent(compass.errors.max())})
over {len(compass.errors)} rows by the calibration above and one constant
({compass.name.split(", ")[1]}, the framework's).

Gemmini, RTL (`hwsim gemm gemmini --weights int8`):

{gemmini_table}

Asked: 2 % on the three largest, 20 % on the small with one constant fitted on one of them (64x64x64). What is left on
512x64x512 (M x N x K) is the first tile's load, which RTL waits for whole and hwsim passes on beat by beat.

SeedLM's FPGA, 2048 x 2048 (`hwsim gemm seedlm-virtex7`): {seedlm[0]:,} and {seedlm[1]:,} cycles for fp16 and seedlm4,
published 136,559 and 34,331.

## Not modelled

{NOT_MODELLED}
"""


def run(folder: Path, progress: Callable[[str], None] = lambda name: None) -> Path:
    """Score every set and write validation.md and validation.svg into `folder`."""
    gemms = [s for chip in CHIPS for s in score_gemms(chip, progress)]
    kernels = [s for chip in ("h100", "b200") for s in score_kernels(chip, progress)]
    parity_figure(gemms, kernels, folder / "validation.svg")
    seedlm = [gemm("seedlm-virtex7", 1, 2048, 2048, name, engine="walk").cycles for name in ("fp16", "seedlm4")]
    text = report(
        gemms, score_left_out(), kernels, score_llmcompass("a100"), list(gemmini_rows()), seedlm, "validation.svg"
    )
    path = folder / "validation.md"
    path.write_text(text)
    return path


def main() -> None:
    """`make validate`: the committed page, its figure, and a line a set while it works."""
    folder = Path("reports")
    from hwsim import validate_serving

    folder.mkdir(exist_ok=True)
    for score in (run, validate_serving.run):
        print(score(folder, lambda name: print(f"  {name}", flush=True)))


if __name__ == "__main__":
    main()
