"""The page of `hwsim validate`: what was measured, how far the predictions are off, and what is not modelled."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hwsim import __version__
from hwsim.arch import load_arch
from hwsim.files.figure import pyplot, save
from hwsim.files.tables import markdown as table
from hwsim.files.tables import percent
from hwsim.files.whole import write_whole
from hwsim.measured import serving, training_page
from hwsim.measured.predict import overhead_seconds
from hwsim.measured.score import Score, score, score_layers, score_transferred
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
            rows.append([s.machine, s.name, str(len(s.errors)), *parts, percent(s.in_fit or 0.0)])
        m = np.concatenate([s.m for s in mine if s.m is not None])
        plain = percent(sum(_mean(s.plain) * len(s.errors) for s in mine) / len(every))
        parts = [plain, *columns(every), *by_rows(m, every), "-"]
        rows.append([first.machine, f"**all** (goal: {first.dataset.goal})", str(len(every)), *parts])
    header = ["machine", "dtype", "held-out rows", "plain", "mean", "median", "worst", *RANGES, "fitted rows"]
    return table(header, rows)


def order_text(kernels: Sequence[Score]) -> str:
    """Rows of the tables in which fewer bits were measured to be slower than more: facts of the library."""
    times: dict[tuple[str, ...], dict[str, float]] = {}
    for d in datasets():
        if d.kind == "experts" and d.fitted:
            for row in d.rows:
                key = d.machine, row["model"], row["load"], row["tokens"]
                times.setdefault(key, {})[d.kernel] = float(row["us"])
    rows = []
    for slow, fast in (
        ("fp8", "bfloat16"),
        ("fp8_block", "fp8"),
        ("nvfp4", "fp8"),
        ("w4a16_mxfp4", "w4a8_mxfp4_mxfp8"),
    ):
        for machine in dict.fromkeys(key[0] for key in times):
            both = [t for key, t in times.items() if key[0] == machine and {slow, fast} <= set(t)]
            if both:
                worse = sum(t[slow] > t[fast] for t in both)
                rows.append([machine, f"experts {slow}", f"experts {fast}", f"{worse} of {len(both)}"])
    return (
        "Fewer bits are not always faster as measured: quantising on the fly, and kernels with a least time per tile.\n"
        "Formats are ranked only together with their weakest mark (`provenance`).\n\n"
        + table(["machine", "kernels", "slower than", "rows"], rows)
    )


def _mean(errors: np.ndarray | None) -> float:
    return float("nan") if errors is None else float(errors.mean())


def kernel_table(scores: Sequence[Score]) -> str:
    """A row per kernel."""
    rows = [
        [s.machine, f"{s.dataset.kind} {s.name}".rstrip(), str(len(s.errors)), str(s.dataset.goal), *columns(s.errors)]
        + [f"{100 * s.signed.mean():+.1f}", percent(s.in_fit or 0.0)]
        for s in scores
    ]
    header = ["machine", "kernel", "held-out rows", "goal", "mean", "median", "worst", "bias", "fitted rows"]
    return table(header, rows)


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
            for row, real, ours in zip(s.rows, s.measured, s.predicted, strict=True)
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


def transferred_table() -> str:
    """Fitted datasets by another machine's calibration."""
    rows = [
        [machine, source, dataset.label, str(len(errors)), *columns(errors)]
        for machine, source, dataset, errors in score_transferred()
    ]
    return table(["machine", "calibration of", "dataset", "rows", "mean", "median", "worst"], rows)


def layer_table() -> str:
    """Experts in bf16 by the other layer."""
    rows = [[machine, layer, str(len(errors)), *columns(errors)] for machine, layer, errors in score_layers()]
    return table(["machine", "layer left out", "rows", "mean", "median", "worst"], rows)


def csv_text(scores: Sequence[Score]) -> str:
    """A line per scored row: what was measured, what hwsim says to the last digit, and the command that says it.

    predicted_seconds: `seconds` of the command's JSON; overhead_seconds: what the dataset's framework adds to it.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["dataset", "row", "measured_seconds", "predicted_seconds", "overhead_seconds", "command"])
    for s in scores:
        overhead = overhead_seconds(load_arch(s.machine), s.dataset)
        for row, real, ours, command in zip(s.rows, s.measured, s.alone, s.commands, strict=True):
            words = " ".join(("hwsim", *command, "--json")) if command else ""
            writer.writerow([s.dataset.label, row_name(row), f"{real:.9g}", repr(float(ours)), repr(overhead), words])
    return file.getvalue()


def missed(scores: Sequence[Score]) -> str:
    """What exceeds its goal, with the cause as far as it is known, and the rows that are furthest off."""
    texts = []
    for first, errors in goals(scores):
        d, mean = first.dataset, float(errors.mean())
        if d.goal is None or 100 * mean <= d.goal:
            continue
        worst = sorted(
            ((e, row_name(row)) for s in scores if s.dataset is d for e, row in _rows(s)),
            reverse=True,
        )[:WORST]
        lines = [f"- **{d.label}: {percent(mean)} %, goal {d.goal:g}.** {d.cause or 'Cause not found.'}"]
        lines += [f"  - {percent(e)} %: {name}" for e, name in worst]
        texts.append("\n".join(lines))
    return "\n".join(texts) or "None."


def _rows(s: Score) -> list[tuple[float, Row]]:
    return list(zip(s.errors, s.rows, strict=True))


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
- **L2 as a cache.** Weights that stay between repeats of a benchmark (`warm`), and activations that the op before left
  there, are read at three times the memory's speed. Re-reads of a large operand in one kernel are not counted.
- **Power.** One loss of rate under lasting load; no clock of its own, no temperature.
- **Skewed experts.** The tables' loads were drawn at random and are not stored: the sampler's quantiles are used.
- **SSM scan and state update.** The tables hold the convolutions of Mamba-2 only: nothing here checks the scan.
- **A100's attention** is left out: its table names no KV format and exceeds the memory's bandwidth with two bytes."""


def text(scores: Sequence[Score], figure: str, training: str) -> str:
    """The page. training: the section of training steps."""
    gemms = [s for s in scores if s.dataset.fitted and s.dataset.kind == "gemm"]
    kernels = [s for s in scores if s.dataset.fitted and s.dataset.kind != "gemm"]
    held_out = [s for s in scores if not s.dataset.fitted]
    return f"""\
# Validation

Written by `make validate` (hwsim {__version__}). Error is the mean of |predicted - measured| / measured, in percent, on
rows that no fit has seen: `hwsim/measured/sets.yaml` lists them (`held_out`), chosen by lot before the forms were
fitted to the others. Each prediction is what the public function gives for the row's options; `validation.csv` beside
this page holds the command for each row. A benchmark repeats its kernel, so that weights and state partly stay in L2:
`--warm` says so; a model's kernels run cold, which costs 0.1 to 2.4 points of the GEMMs' error.

Fitted numbers: `arch_configs/calibration/`, written by `make calibration` (at most eight per chip and three per
family), as shares of the machine's peaks; menus of kernels: `arch_configs/kernels/`. Waves, padding, fill and drain,
and causal tiles follow from scheduling tiles onto cores, not from a fit.

![predicted over measured]({figure})

## GEMMs

A quarter of the (n, k) shapes is held out. `plain` is t0 + max(mnk/R, bytes/BW), three numbers per family, fitted and
scored on the same rows. The menus of tiles were chosen on all shapes. The least error that another simulator has
published for operators is 10.9 % (LLMCompass, ISCA 2024: A100, MI210, TPUv3).

{gemm_table(gemms)}

## Other kernels

Held out: a third of the (batch, tokens) cells of attention, of the channels of convolutions, of the sizes of
all-reduces; of experts in bf16 one of the two layers, of the other formats all rows above 512 tokens. Kernels for
experts have a launch each and share the chip's rates of weights and rows; `floor` (nvfp4 and fp8 on B200) or `rows`
(fp8_block on H100, min-latency nvfp4) is one number more. Three choices of form were made with held-out rows in view:
which sets of experts have a floor, which a rate of rows of their own, and that the sum in the switch has a start of its
own. No number was fitted to them.

{kernel_table(kernels)}

Experts in bf16, each layer predicted from the other:

{layer_table()}

## From another machine

The rates are another machine's shares of its peaks, the menus the machine's own; no number is fitted.

{transferred_table()}

h200-sxm-trtllm has no data here: H100's shares of H200's peaks, where memory moves by 1.43 and nothing else. Its
results say `transferred`. mi210, rtx4090 and rtx-pro-6000 take A100's shares, and H100's for what A100's table lacks.

## Order of formats

{order_text(kernels)}

## Held-out datasets

Never used for fitting. A framework's launch overhead is added where the dataset states one.

{held_out_table(held_out)}

{few_rows(held_out)}

{cycle_tables(held_out)}

## Training steps

{training}

## Goals missed, and why

{missed(scores)}

## Not modelled

{NOT_MODELLED}

## Datasets

{dataset_table()}
"""


def run(folder: Path, progress: Callable[[str], object] = lambda name: None) -> Path:
    """Score every dataset of kernels and write validation.md, .csv and .svg into `folder`."""
    scores = [s for d in datasets() if d.kind not in ("serving", "tpot") for s in score(d, progress)]
    parity_figure([s for s in scores if s.dataset.fitted], folder / "validation.svg")
    write_whole(folder / "validation.csv", csv_text(scores))
    path = folder / "validation.md"
    write_whole(path, text(scores, "validation.svg", training_page.summary(*training_page.every())))
    return path


def main() -> None:
    """`make validate`: the committed pages, their figures, and a line per dataset while it works."""
    folder = Path("reports")
    folder.mkdir(exist_ok=True)
    for part in (run, serving.run):
        print(part(folder, lambda name: print(f"  {name}", flush=True)))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
