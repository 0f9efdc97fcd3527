"""Whole models against published rates: reports/serving.md and its figure, a part of `make validate`.

Rows: the datasets of kind `serving`. The software around the kernels is one pair of numbers per stack (time per step,
and per sequence in it), fitted to that stack's rows; the rows are printed without it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim import __version__
from hwsim.files.figure import pyplot, save
from hwsim.files.tables import markdown as table
from hwsim.files.tables import percent
from hwsim.files.whole import write_whole
from hwsim.jobs.serve import Deployment, Request
from hwsim.measured.sets import Dataset, Row, datasets

Progress = Callable[[str], object]
#: Stack -> (seconds per step, per sequence in it); label -> [(cap, tokens per second)].
Stacks = dict[str, tuple[float, float]]
Curves = dict[str, list[tuple[int, float]]]
BATCHES = (32, 64, 128, 256, 512, 1024, 2048)
STEP_GRID = np.linspace(0, 4e-3, 41)
SEQUENCE_GRID = np.linspace(0, 3e-5, 31)

#: The published comparison: one H200, 8K in, 16K out (arXiv 2512.20848, figure 1), and the ratios it gives.
HEADLINE = (
    ("Nemotron 3 Nano", "nemotron3-nano-30b-a3b", "published-fp8", None),
    ("gpt-oss-20b", "gpt-oss-20b", "published-mxfp4", None),
    ("Qwen3-30B-A3B, KV bf16", "qwen3-30b-a3b-thinking-2507", "published-fp8", None),
    ("Qwen3-30B-A3B, KV fp8", "qwen3-30b-a3b-thinking-2507", "published-fp8", "fp8"),
)
BASE = HEADLINE[-1][0]
PUBLISHED = (3.3, 1.5, 1.0)
HEADLINE_STACK = "vLLM 0.16"
#: The most sequences at once, chosen before the ratios were seen.
CAP = 256


@dataclass(frozen=True)
class Point:
    """A published row, and the batches tried for it with the device's step and prefill in seconds."""

    row: Row
    tried: tuple[tuple[int, float, float], ...]

    @property
    def measured(self) -> float:
        """Tokens per second."""
        return float(self.row["tokens_per_second"])

    def rate(self, step: float, sequence: float) -> float:
        """Tokens per second with this much software, at the best batch."""
        osl = int(self.row["osl"])
        return max(b * osl / (osl * (s + step + sequence * b) + b * p) for b, s, p in self.tried)

    def error(self, step: float = 0.0, sequence: float = 0.0) -> float:
        """Predicted over measured, less one."""
        return self.rate(step, sequence) / self.measured - 1


def operating_points(server: Deployment, batches: Sequence[int], most: int) -> tuple[tuple[int, float, float], ...]:
    """(batch, step, prefill of a prompt), seconds, of the batches that fit."""
    found = [server.serve(b) for b in batches if b <= most]
    return tuple((s.batch, s.step_seconds, s.prefill_seconds) for s in found)


def measured_points(dataset: Dataset, progress: Progress) -> list[Point]:
    """Every row of a dataset on its machine."""
    points = []
    for row in dataset.rows:
        formats = (row["weights"], row["activations"] or None, row["kv"] or None, None)
        sizes, kept = (int(row["isl"]), int(row["osl"])), row["source"] == "TensorRT-LLM"
        request = Request(row["model"], *sizes, *formats, chips=int(row["chips"]), keep_windows=kept)
        server = Deployment(row["machine"], request)
        most = server.batch_by_memory
        batches = sorted({most, *BATCHES}) if row["batch"] == "max" else [int(row["batch"])]
        points.append(Point(row, operating_points(server, batches, most)))
        progress(f"{row['machine']}: {row['model']} {row['isl']}/{row['osl']}")
    return points


def fit_stack(points: list[Point]) -> tuple[float, float]:
    """(seconds per step, per sequence in it) with the least mean error, on a grid."""
    pairs = [(step, sequence) for step in STEP_GRID for sequence in SEQUENCE_GRID]
    return min(pairs, key=lambda pair: np.mean([abs(p.error(*pair)) for p in points]))


def headline(stack: tuple[float, float]) -> dict[str, list[tuple[int, float]]]:
    """(cap, tokens per second) of each model under one stack."""
    found: dict[str, list[tuple[int, float]]] = {}
    for label, model, weights, kv in HEADLINE:
        server = Deployment("h200-sxm-trtllm", Request(model, 8192, 16384, weights, kv=kv))
        most = server.batch_by_memory
        found[label] = []
        for cap in BATCHES[:-1]:
            s = server.serve(min(cap, most))
            seconds = s.step_seconds + stack[0] + stack[1] * s.batch + s.batch * s.prefill_seconds / 16384
            found[label].append((cap, s.batch / seconds))
    return found


def figure(curves: Curves, path: Path) -> None:
    """Rates and ratios against the cap."""
    plt = pyplot(8)
    drawing, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    base = dict(curves[BASE])
    for label, curve in curves.items():
        caps, rates = zip(*curve, strict=True)
        left.plot(caps, rates, "o-", ms=3, label=label)
        right.plot(caps, [r / base[c] for c, r in curve], "o-", ms=3, label=label)
    for value in PUBLISHED[:-1]:
        right.axhline(value, color="black", lw=0.6, ls=":")
        right.text(BATCHES[0], value, f" published {value}", va="bottom")
    left.set(xscale="log", yscale="log", ylabel="tokens/s", xlabel="cap on sequences", title="one H200, 8K in, 16K out")
    right.set(xscale="log", ylabel="relative to Qwen3, KV fp8", xlabel="cap on sequences", title="ratio")
    for axis in (left, right):
        axis.set_xticks(BATCHES[:-1], [str(b) for b in BATCHES[:-1]])
        axis.minorticks_off()
    left.set_yticks([1000, 2000, 5000, 10000], ["1,000", "2,000", "5,000", "10,000"])
    left.legend(frameon=False)
    save(drawing, path)


def mean_error(points: Sequence[Point], stacks: Stacks) -> float:
    """Mean over the rows, each with its stack's pair."""
    return float(np.mean([abs(p.error(*stacks[p.row["source"]])) for p in points]))


def stack_table(points: Sequence[Point], stacks: Stacks) -> str:
    """A row per stack: its pair, and the error with and without it."""
    rows = []
    for source, (step, sequence) in stacks.items():
        mine = [p for p in points if p.row["source"] == source]
        errors = [abs(p.error(step, sequence)) for p in mine]
        bare = percent(float(np.mean([abs(p.error()) for p in mine])))
        cells = [f"**{percent(float(np.mean(errors)))}**", percent(max(errors)), bare]
        rows.append([source, str(len(mine)), f"{1e3 * step:.1f} ms", f"{1e6 * sequence:.0f} us", *cells])
    return table(["stack", "rows", "step", "sequence", "mean error %", "worst", "without the pair"], rows)


def row_table(points: Sequence[Point], stacks: Stacks) -> str:
    """Every published row."""
    rows = []
    for p in points:
        r, pair = p.row, stacks[p.row["source"]]
        formats = [r[name] or "default" for name in ("weights", "activations", "kv")]
        what = [r["source"], r["machine"], r["model"], *formats, f"{r['isl']}/{r['osl']}", r["batch"], r["chips"]]
        rates = [f"{p.measured:,.0f}", f"{p.rate(*pair):,.0f}"]
        rows.append([*what, *rates, f"{100 * p.error(*pair):+.0f}", f"{100 * p.error():+.0f}"])
    header = ["stack", "machine", "model", "weights", "activations", "kv", "in/out", "batch", "chips"]
    return table([*header, "measured", "predicted", "error %", "without"], rows)


def model_table(points: Sequence[Point], stacks: Stacks) -> str:
    """A row per stack and model: where the errors are."""
    rows = []
    for source, model in dict.fromkeys((p.row["source"], p.row["model"]) for p in points):
        mine = [p for p in points if (p.row["source"], p.row["model"]) == (source, model)]
        errors, bare = [p.error(*stacks[source]) for p in mine], [p.error() for p in mine]
        spread = f"{100 * min(errors):+.0f} to {100 * max(errors):+.0f}"
        means = [percent(float(np.mean(np.abs(e)))) for e in (errors, bare)]
        rows.append([source, model, str(len(mine)), means[0], spread, means[1]])
    return table(["stack", "model", "rows", "mean error %", "from, to", "without the pair"], rows)


def headline_table(curves: Curves) -> str:
    """Tokens per second, and the ratio to the last model, by cap."""
    base = dict(curves[BASE])
    rows = [
        [label, *(f"{dict(c)[cap]:,.0f} ({dict(c)[cap] / base[cap]:.2f})" for cap in BATCHES[:-1])]
        for label, c in curves.items()
    ]
    return table(["model", *(f"cap {c}" for c in BATCHES[:-1])], rows)


def report(points: Sequence[Point], stacks: Stacks, curves: Curves, goal: float | None) -> str:
    """The page."""
    every, bare = mean_error(points, stacks), float(np.mean([abs(p.error()) for p in points]))
    ratios = [dict(curves[label])[CAP] / dict(curves[BASE])[CAP] for label in (HEADLINE[0][0], HEADLINE[1][0], BASE)]
    published, ours = (" : ".join(f"{x:.1f}" for x in values) for values in (PUBLISHED, ratios))
    asked = f" (goal: {goal:g})" if goal else ""
    return f"""\
# Serving

Written by `make validate` (hwsim {__version__}). Machines are those of `reports/validation.md`; the H200 has no
measured kernels and is predicted from H100's and the two data sheets. Rows: datasets of kind `serving` in
`hwsim/measured/sets.yaml`.

## Absolute rates

Mean error **{percent(every)} %**{asked} with one pair of numbers per stack, {percent(bare)} % with none. The pair
(time per step, per sequence in it) is fitted to the stack's own rows, so it says what the software costs, not how well
that is predicted. `max`: the best batch that fits.

{stack_table(points, stacks)}

{model_table(points, stacks)}

{row_table(points, stacks)}

The KV cache of TensorRT-LLM keeps every position of gpt-oss's window layers here, as it does unless
`KvCacheConfig.max_attention_window` is set (its default is none). What the published runs set is not said; we chose
this default after seeing these rows, so it is not an independent check. The experts of gpt-oss are calibrated on tables
of a later release than its published rows, and its attention (heads of 64, with sinks) on heads of 128 without sinks.
TensorRT-LLM overlaps host work with the device at large batch and not at batch 1, so one pair of constants cannot fit
both.

## Nemotron 3 Nano : gpt-oss-20b : Qwen3-30B-A3B on one H200

8K in, 16K out, formats as published, one stack for all ({HEADLINE_STACK}'s pair), one cap on sequences. Published:
{published}, without batch, KV format or rate. At the cap chosen beforehand, {CAP}: **{ours}** with Qwen3's KV in fp8.
Tokens/s (ratio) by cap:

{headline_table(curves)}

![tokens per second and ratios against the cap](serving.svg)

The ratio depends on the cap and on Qwen3's KV format more than on the chip: it checks the shape only.
"""


def run(folder: Path, progress: Progress = lambda name: None) -> Path:
    """Simulate every row and write serving.md and serving.svg into `folder`."""
    served = [d for d in datasets() if d.kind == "serving"]
    points = [p for d in served for p in measured_points(d, progress)]
    sources = dict.fromkeys(p.row["source"] for p in points)
    stacks = {source: fit_stack([p for p in points if p.row["source"] == source]) for source in sources}
    curves = headline(stacks[HEADLINE_STACK])
    figure(curves, folder / "serving.svg")
    path = folder / "serving.md"
    write_whole(path, report(points, stacks, curves, served[0].goal))
    return path
