"""The page of `hwsim validate`: what was measured, how far the predictions are off, and what is not modelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hwsim import __version__
from hwsim.files.figure import pyplot, save
from hwsim.files.tables import markdown as table
from hwsim.files.tables import percent
from hwsim.files.whole import write_whole
from hwsim.measured import serving
from hwsim.measured.score import (
    FOLDS,
    SEED,
    Score,
    score,
    score_left_out,
    untested,
)
from hwsim.measured.sets import Row, datasets

#: A held-out dataset of at most this many rows is also printed row by row.
FEW = 12
#: Rows of a dataset that misses its goal which are printed, those with the largest errors.
WORST = 3
RANGES = ("M <= 16", "17-512", "> 512")


def by_rows(m: np.ndarray | None, errors: np.ndarray) -> list[str]:
    """Mean errors for M <= 16, 17 to 512, above."""
    if m is None:
        return ["-"] * len(RANGES)
    parts = (m <= 16, (m > 16) & (m <= 512), m > 512)
    return [percent(errors[part].mean()) if part.any() else "-" for part in parts]


def columns(errors: np.ndarray) -> list[str]:
    """Mean in bold, median, worst."""
    return [f"**{percent(errors.mean())}**", percent(float(np.median(errors))), percent(errors.max())]


def dataset_table() -> str:
    """A row per entry of sets.yaml."""
    seen, rows = set(), []
    for d in datasets():
        if d.name not in seen:
            seen.add(d.name)
            count = sum(len(part.rows) for part in datasets() if part.name == d.name)
            use = "fitted" if d.fitted else "held out"
            rows.append([d.name, d.machine or "by row", str(count), use, d.what, d.source, d.licence])
    return table(["dataset", "machine", "rows", "use", "what", "source", "licence"], rows)


def goals(scores: Sequence[Score]) -> list[tuple[Score, np.ndarray]]:
    """What a goal is set for, with its errors: all families of a GEMM dataset together, each other kernel alone."""
    found: dict[str, list[Score]] = {}
    for s in scores:
        if s.dataset.goal is not None:
            found.setdefault(s.dataset.label, []).append(s)
    return [(group[0], np.concatenate([s.errors for s in group])) for group in found.values()]


def gemm_table(scores: Sequence[Score]) -> str:
    """A row per family, and all rows of a machine together."""
    rows = []
    for first, every in goals(scores):
        mine = [s for s in scores if s.dataset is first.dataset]
        for s in mine:
            parts = [percent(_mean(s.plain)), *columns(s.errors), *by_rows(s.m, s.errors)]
            rows.append([s.machine, s.name, str(len(s.errors)), *parts, percent(s.worst_fold), percent(s.in_fit)])
        m = np.concatenate([s.dataset.column("m") if s.m is None else s.m for s in mine])
        plain, in_fit = (
            percent(sum(mean * len(s.errors) for s, mean in zip(mine, means, strict=True)) / len(every))
            for means in ([_mean(s.plain) for s in mine], [s.in_fit or 0.0 for s in mine])
        )
        name = f"**all** (goal: {first.dataset.goal})"
        rows.append([first.machine, name, str(len(every)), plain, *columns(every), *by_rows(m, every), "-", in_fit])
    header = ["machine", "dtype", "rows", "plain", "mean", "median", "worst", *RANGES, "worst fold", "in the fit"]
    return table(header, rows)


def _mean(errors: np.ndarray | None) -> float:
    return float("nan") if errors is None else float(errors.mean())


def kernel_table(scores: Sequence[Score]) -> str:
    """A row per kernel."""
    rows = [
        [s.machine, f"{s.dataset.kind} {s.name}".rstrip(), str(len(s.errors)), str(s.dataset.goal), *columns(s.errors)]
        + [percent(s.in_fit)]
        for s in scores
    ]
    return table(["machine", "kernel", "rows", "goal", "mean", "median", "worst", "in the fit"], rows)


def held_out_table(scores: Sequence[Score]) -> str:
    """A row per dataset, or per part of one."""
    rows = [
        [s.machine, s.dataset.label, str(len(s.errors)), *columns(s.errors), f"{100 * s.signed.mean():+.1f}"]
        + by_rows(s.m, s.errors)
        for s in scores
    ]
    return table(["machine", "dataset", "rows", "mean", "median", "worst", "bias", *RANGES], rows)


def row_name(row: Row) -> str:
    """A row's columns but the measured ones and those that say nothing."""
    return ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("us", "cycles", "rtl_cycles"))


def few_rows(scores: Sequence[Score]) -> str:
    """Tables of the small held-out datasets, row by row."""
    texts = []
    for s in scores:
        if len(s.errors) > FEW or s.dataset.kind == "cycles":
            continue
        d = s.dataset
        rows = [
            [row_name(row), f"{1e6 * real:,.0f}", f"{1e6 * ours:,.0f}", f"{100 * (ours / real - 1):+.1f}"]
            for row, real, ours in zip(d.rows, s.measured, s.predicted, strict=True)
        ]
        texts.append(f"{d.label}: {d.what}.\n\n" + table(["row", "measured us", "hwsim us", "error %"], rows))
    return "\n\n".join(texts)


def cycle_tables(scores: Sequence[Score]) -> str:
    """Datasets that count cycles, row by row: without and with the dataset's overhead."""
    texts = []
    for s in scores:
        d = s.dataset
        if d.kind != "cycles":
            continue
        measured = d.column("cycles")
        ours = s.predicted / s.measured * measured
        host = int(d.overhead.value) if d.overhead else 0
        header = ["M x N x K, weights", "measured", "hwsim", "error %"]
        header += [f"with {host:,} cycles of host, error %"] if host else []
        rows = []
        for row, real, cycles in zip(d.rows, measured, np.round(ours).astype(int), strict=True):
            name = f"{row['m']} x {row['n']} x {row['k']}, {row['weights']}"
            errors = [cycles - host, cycles] if host else [cycles]
            rows.append([name, f"{real:,.0f}", f"{cycles - host:,}", *(f"{100 * (e / real - 1):+.1f}" for e in errors)])
        texts.append(f"{d.label}: {d.what}.\n\n{table(header, rows)}")
    return "\n\n".join(texts)


def left_out_table() -> str:
    """bf16 GEMMs of each machine by the shares of the others."""
    rows = [[s.machine, *columns(s.errors), *by_rows(s.m, s.errors)] for s in score_left_out()]
    return table(["machine left out", "mean", "median", "worst", *RANGES], rows)


def untested_tables() -> str:
    """Predictions of machines without data, next to the machine that each is scaled from; microseconds."""
    texts = []
    for (machine, of), rows in untested().items():
        families = list(dict.fromkeys(name for _, name, *_ in rows))
        shapes = list(dict.fromkeys(shape for shape, *_ in rows))
        times = {(shape, name): pair for shape, name, *pair in rows}
        cells = [[shape, *(f"{1e6 * t:.1f}" for name in families for t in times[shape, name])] for shape in shapes]
        header = ["M x N x K", *(f"{name}, {where}" for name in families for where in (machine, of))]
        texts.append(
            f"{machine} has no data: {of}'s calibration, scaled by the two data sheets. A prediction, us:\n\n"
            + table(header, cells)
        )
    return "\n\n".join(texts)


def missed(scores: Sequence[Score]) -> str:
    """What exceeds its goal, with the cause as far as it is known, and the rows that are furthest off."""
    texts = []
    for first, errors in goals(scores):
        d, mean = first.dataset, float(errors.mean())
        if d.goal is None or 100 * mean <= d.goal:
            continue
        worst = sorted(
            ((e, row_name(row)) for s in scores if s.dataset is d and d.kind != "gemm" for e, row in _rows(s)),
            reverse=True,
        )[:WORST]
        lines = [f"- **{d.label}: {percent(mean)} %, goal {d.goal:g}.** {d.cause or 'Cause not found.'}"]
        lines += [f"  - {percent(e)} %: {name}" for e, name in worst]
        texts.append("\n".join(lines))
    return "\n".join(texts) or "None."


def _rows(s: Score) -> list[tuple[float, Row]]:
    return list(zip(s.errors, s.dataset.rows, strict=True))


def parity_figure(scores: Sequence[Score], path: Path) -> None:
    """Predicted over measured against measured time: a panel per machine with fitted GEMMs, and one of the others."""
    gemms = [s for s in scores if s.dataset.kind == "gemm"]
    panels: dict[str, dict[str, list[Score]]] = {}
    for s in gemms:
        panels.setdefault(s.machine, {}).setdefault(s.name, []).append(s)
    for s in scores:
        if s.dataset.kind != "gemm":
            panels.setdefault("other kernels", {}).setdefault(s.dataset.kind, []).append(s)
    plt = pyplot(8)
    shape = -(-len(panels) // 2), 2
    figure, axes = plt.subplots(*shape, figsize=(9, 6), sharey=True, layout="constrained", squeeze=False)
    for axis, (title, groups) in zip(axes.flat, panels.items(), strict=False):
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
    save(figure, path, dpi=150)


NOT_MODELLED = """\
- **Which kernel a library chooses.** The fastest of the menu is assumed; heuristics that choose a slower one make most
  of the worst rows.
- **The resolution of the timer.** A100's quantised rows are whole multiples of 1.024 us, B200's bf16 rows of about
  0.4 us: several percent of the shortest rows.
- **L2 as a cache.** Only what stays between repeats of a benchmark (`warm`) is modelled, at three times the memory's
  speed; whole models get none. Re-reads of a large operand in one kernel are not counted.
- **Power.** One loss of rate under lasting load; no clock of its own, no temperature.
- **Skewed experts.** The tables' loads were drawn at random and are not stored: the sampler's quantiles are used.
- **SSM scan and state update.** The tables hold the convolutions of Mamba-2 only: nothing here checks the scan.
- **A100's attention** is left out: its table names no KV format and exceeds the memory's bandwidth with two bytes."""


def text(scores: Sequence[Score], figure: str) -> str:
    """The page."""
    gemms = [s for s in scores if s.dataset.fitted and s.dataset.kind == "gemm"]
    kernels = [s for s in scores if s.dataset.fitted and s.dataset.kind != "gemm"]
    held_out = [s for s in scores if not s.dataset.fitted]
    return f"""\
# Validation

Written by `make validate` (hwsim {__version__}, seed {SEED}). Error is the mean of |predicted - measured| / measured,
in percent. Fitted numbers: `arch_configs/calibration/` (at most eight per chip and three per family,
`hwsim calibrate`); menus of kernels: `arch_configs/kernels/`. Waves, padding, fill and drain, and causal tiles follow
from scheduling tiles onto cores, not from a fit.

![predicted over measured]({figure})

## GEMMs

Fitted on five sixths of the (n, k) shapes, scored on the sixth, rotated over {FOLDS} folds. `plain` is
t0 + max(mnk/R, bytes/BW), three numbers per family, fitted and scored the same way. The menus were chosen on all
shapes; shapes that this project does not hold are the independent check. The least error that another simulator has
published for operators is 10.9 % (LLMCompass, ISCA 2024: A100, MI210, TPUv3).

{gemm_table(gemms)}

A whole machine left out: bf16 by the mean of the other machines' shares of their data sheets, with its own menu.

{left_out_table()}

{untested_tables()}

## Other kernels

Fitted on half of the rows, scored on the other half, both ways round.

{kernel_table(kernels)}

## Held-out datasets

Never used for fitting. Machines without measurements of their own use another machine's calibration, scaled by the two
data sheets (`transfers` in `hwsim/measured/sets.yaml`): what to expect of a new chip. A framework's launch overhead is
added where the dataset states one.

{held_out_table(held_out)}

{few_rows(held_out)}

{cycle_tables(held_out)}

## Goals missed, and why

{missed(scores)}

## Not modelled

{NOT_MODELLED}

## Datasets

{dataset_table()}
"""


def run(folder: Path, progress: Callable[[str], object] = lambda name: None) -> Path:
    """Score every dataset of kernels and write validation.md and validation.svg into `folder`."""
    scores = [s for d in datasets() if d.kind not in ("serving", "tpot") for s in score(d, progress)]
    parity_figure([s for s in scores if s.dataset.fitted], folder / "validation.svg")
    path = folder / "validation.md"
    write_whole(path, text(scores, "validation.svg"))
    return path


def main() -> None:
    """`make validate`: the committed pages, their figures, and a line per dataset while it works."""
    folder = Path("reports")
    folder.mkdir(exist_ok=True)
    for part in (run, serving.run):
        print(part(folder, lambda name: print(f"  {name}", flush=True)))


if __name__ == "__main__":
    main()
