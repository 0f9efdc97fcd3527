"""The page of `hwsim validate`: its tables, its figure, and what is not modelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hwsim import __version__
from hwsim.files.tables import markdown as table
from hwsim.files.tables import percent
from hwsim.files.whole import write_whole
from hwsim.jobs.run import gemm
from hwsim.measured import serving
from hwsim.measured.score import (
    CHIPS,
    GOALS,
    SEED,
    Score,
    gemmini_rows,
    h200_rows,
    score_gemms,
    score_kernels,
    score_left_out,
    unfitted_sets,
)


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


def goal_of(score: Score) -> int:
    """Percent asked of a set that is no product."""
    return next(g for key, g in GOALS.items() if score.name.startswith(key))


def kernel_table(scores: list[Score]) -> str:
    """A row a set."""
    rows = []
    for s in scores:
        goal = goal_of(s)
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
- **Skewed experts.** The tables' loads were drawn at random and are not stored: their sampler's quantiles stand in.
- **SSM scan and state update.** The tables hold the convolutions of Mamba-2 only: nothing here checks the scan.
- **A100's attention** is left out: its table names no KV format and beats the memory's bandwidth with two bytes.
- **NVDLA's traces and Eyeriss's layers.** Their rows name no stride and no padding (NVDLA), or are a row-stationary
  convolution engine (Eyeriss). Not scored; needed: those numbers, and a machine file for a convolution engine."""


def missed(gemms: list[Score], kernels: list[Score]) -> str:
    """What is above its goal, with the cause as far as it is known."""
    lines = []
    for chip in CHIPS:
        mean = float(np.concatenate([s.errors for s in gemms if s.chip == chip]).mean())
        if mean > GOALS[chip] / 100:
            lines.append(f"- **Products, {chip}: {percent(mean)} %, asked {GOALS[chip]}.** {CAUSES[chip]}")
    for s in kernels:
        goal, mean = goal_of(s), float(s.errors.mean())
        if mean > goal / 100:
            lines.append(
                f"- **{s.chip} {s.name}: {percent(mean)} %, asked {goal}.** {CAUSES.get(s.name, 'Not found.')}"
            )
    return "\n".join(lines) or "None."


#: What the residuals of a missed goal show.
CAUSES = {
    "a100": """The weight-only rows jump between neighbouring M
  by up to twofold (int4, 8192x4096: 46 us at M = 8, 31 at 16), as the library switches kernels; no rule of size
  explains which. Beside the timer's step this leaves about 8 % in any smooth model.""",
    "b200": """bf16 carries it: up to 32 rows the library splits K less than it
  should (512x65536: 29 us, at 64 rows 18), between 129 and 225 rows it is 10 to 18 % slower than its own neighbours,
  and one product at M = 3840 takes 30 % more than at 3584. The other three formats are at 5 % or near.""",
    "experts_nvfp4_min_latency": """Evenly loaded experts run above the memory's
  bandwidth (16 tokens read 340 MB in 34 us): a part of the weights lies in the L2 cache of 126 MB from the repeat
  before, which skewed loads do not show. The model has no such cache for experts.""",
}


def unfitted_table(sets) -> str:
    """A row a set."""
    rows = []
    for s in sets:
        e = np.abs(s.errors)
        score = Score(s.machine, s.name, e, s.m)
        row = [
            s.machine,
            s.name,
            str(len(e)),
            f"**{percent(e.mean())}**",
            percent(float(np.median(e))),
            percent(e.max()),
        ]
        rows.append([*row, f"{100 * s.errors.mean():+.1f}", *ranges(score, e)])
    header = ["machine", "set", "rows", "mean", "median", "worst", "bias", "M <= 16", "17-512", "> 512"]
    return table(header, rows)


def text(gemms, left_out, h200, kernels, unfitted, gemmini, seedlm, figure: str) -> str:
    """The page."""
    sets, start, layer = unfitted
    layer_rows = [
        [phase, name, f"{real:,.0f}", f"{ours:,.0f}", f"{100 * (ours / real - 1):+.1f}"]
        for phase, name, ours, real in layer
    ]
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
hold are the independent check. The least error that a peer has published for operators is 10.9 % (LLMCompass, ISCA
2024: A100, MI210, TPUv3).

{gemm_table(gemms)}

A whole chip left out: bf16 by the mean of the two other chips' shares of their data sheets, with its own menu.

{left}

H200, for which there is no data: H100's fit with the memory's rates times 4.8/3.35. A prediction, us:

{table(["M x N x K", "H200 bf16", "H100 bf16", "H200 fp8_block", "H100 fp8_block"], h200)}

## Other kernels

Fitted on half of the rows, scored on the other half, both ways round. The table of Mamba-2 holds no scan.

{kernel_table(kernels)}

## Other sources

No fit has seen these rows. MI210 and the two workstation GPUs run A100's kernels at rates scaled by the data sheets
(`python -m hwsim.measured.calibrate`): what to expect of a new chip. LLMCompass's rows carry the start of an eager
framework, {start * 1e6:.1f} us, found on its A100 products alone; those of Llama-3.1-8B (vLLM) none.

{unfitted_table(sets)}

MI210's rows are slower than its data sheet in every way (0.67 of the peak at M = 32768, 0.38 of the bandwidth at 32):
a library that reaches less of the chip, which no data sheet says. RTX PRO 6000 is faster than A100's share of its peak.

One layer of GPT-3 175B on four A100, batch 8, 2,048 tokens, the same start (operators recognised by their times;
softmax, norms and GELU are the framework's and left out, as is decode attention, whose context is not given):

{table(["phase", "operator", "measured us", "hwsim us", "error %"], layer_rows)}

The all-reduce is the data sheet's link, unfitted: A100's reaches 0.7 of it.

Gemmini, RTL (`hwsim gemm gemmini --weights int8`):

{gemmini_table}

Asked: 2 % on the three largest, 20 % on the small with one constant fitted on one of them (64x64x64). What is left on
512x64x512 (M x N x K) may be the first tile's load, which hwsim passes on beat by beat; no test has shown it.

SeedLM's FPGA, 2048 x 2048 (`hwsim gemm seedlm-virtex7`): {seedlm[0]:,} and {seedlm[1]:,} cycles for fp16 and seedlm4,
published 136,559 and 34,331.

## Goals missed, and why

{missed(gemms, kernels)}
- Gemmini 512x64x512 and 512x512x512: see above.

## Not modelled

{NOT_MODELLED}
"""


def run(folder: Path, progress: Callable[[str], None] = lambda name: None) -> Path:
    """Score every set and write validation.md and validation.svg into `folder`."""
    gemms = [s for chip in CHIPS for s in score_gemms(chip, progress)]
    kernels = [s for chip in ("h100", "b200") for s in score_kernels(chip, progress)]
    parity_figure(gemms, kernels, folder / "validation.svg")
    seedlm = [gemm("seedlm-virtex7", 1, 2048, 2048, name, engine="walk").cycles for name in ("fp16", "seedlm4")]
    page = text(
        gemms,
        score_left_out(),
        list(h200_rows()),
        kernels,
        unfitted_sets(),
        list(gemmini_rows()),
        seedlm,
        "validation.svg",
    )
    path = folder / "validation.md"
    write_whole(path, page)
    return path


def main() -> None:
    """`make validate`: the committed page, its figure, and a line a set while it works."""
    folder = Path("reports")
    folder.mkdir(exist_ok=True)
    for score in (run, serving.run):
        print(score(folder, lambda name: print(f"  {name}", flush=True)))


if __name__ == "__main__":
    main()
