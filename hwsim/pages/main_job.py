"""`make sim`: Nemotron 3 Nano on H200 in six weight formats; writes table, figure and timeline to build/sim/."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hwsim.files.figure import op_style, save
from hwsim.files.tables import seconds_text, table
from hwsim.files.whole import write_whole
from hwsim.jobs.run import checked_job
from hwsim.jobs.tile import TileJob
from hwsim.report.text import causes_text
from hwsim.result import Result, weakest
from hwsim.study.panels import canvas

MODEL = "nemotron3-nano-30b-a3b"
SYSTEMS = (
    ("bf16", "h200-sxm"),
    ("fp8", "h200-sxm"),
    ("nvfp4", "h200-sxm"),
    ("mxfp4", "h200-sxm"),
    ("seedlm4", "h200-sxm-regen"),
    ("seedlm3", "h200-sxm-regen"),
)
STEPS = (("decode", 1, 8192), ("decode", 8, 8192), ("decode", 64, 8192), ("prefill", 1, 2048))
GREYS = ("#333333", "#7A7A7A", "#B8B8B8")  # of the batches: the colours are those of the op kinds
TRACED = ("nvfp4", "decode", 1)


@dataclass(frozen=True, slots=True)
class Point:
    """One row: the weight format that names it, the job, and its result."""

    weights: str
    job: TileJob
    result: Result


def weights_of(name: str) -> str | dict[str, str]:
    """Formats of four bits and fewer are used for the experts, with FP8 for the rest."""
    return name if name in ("bf16", "fp8") else {"experts": name, "default": "fp8"}


def points(progress: Callable[[int, int], None] | None = None) -> list[Point]:
    """Every row, simulated in full."""
    found = []
    for phase, batch, context in STEPS:
        for name, machine in SYSTEMS:
            job = checked_job(machine, MODEL, phase=phase, batch=batch, context=context, weights=weights_of(name))
            assert isinstance(job, TileJob), "the machines of SYSTEMS run ops tile by tile"
            found.append(Point(name, job, job.result()))
            if progress:
                progress(len(found), len(STEPS) * len(SYSTEMS))
    return found


def summary(found: list[Point]) -> str:
    """The table: one row per run."""
    rows = []
    for p in found:
        r, config = p.result, p.result.config
        assert r.memory is not None, "a step of a model counts its memory"
        label = p.weights if p.weights in ("bf16", "fp8") else f"{p.weights} experts, fp8"
        rows.append(
            [
                f"{r.phase} {config['batch']} x {config['context']}",
                label,
                r.machine + (" (hypothetical)" if r.hypothetical else ""),
                weakest(r.provenance),
                f"{r.tokens_per_second:,.0f}",
                seconds_text(r.seconds),
                seconds_text(r.bound_cycles / r.cycles * r.seconds),
                r.limited_by,
                f"{100 * r.over_bound:.1f}",
                f"{sum(r.bytes.values()) / 1e9:.2f}",
                f"{r.memory.total / 1e9:.1f}" + ("" if r.memory.fits else " DOES NOT FIT"),
                causes_text(r),
            ]
        )
    header = ["step", "weights", "machine", "kernels", "tokens/s", "time", "bound", "limited by", "over %"]
    header += ["GB moved", "GB held", "over bound, by cause (% of bound)"]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    rows = [[*row[:-1], row[-1].ljust(widths[-1])] for row in rows]
    header[-1] = header[-1].ljust(widths[-1])
    return table(header, rows, left=4)


#: What the columns of the table mean, and why some rows are equal.
LEGEND = """step        one step of all 52 layers, batch x context: tokens in the cache, or in the prompt of a prefill
weights     formats of four bits and fewer hold the routed experts; FP8 the rest
kernels     how the times are known, at the weakest: ideal kernels run at the machine's peaks
tokens/s    tokens that the step makes in its time; of a prefill, those of the prompt
time        of the step; the bound is the work of the busiest server, which `limited by` names: no schedule is faster
over %      time above the bound
GB moved    bytes between the memory and the chip in the step, each read counted
GB held     bytes that must be in the memory at the same time: weights, caches, state, activations
over bound  causes of the time above the bound, as docs/glossary.md describes them, each a share of the bound"""


def remarks(found: list[Point]) -> str:
    """Which pair each format is multiplied in where the machine lacks its own, and which rows are equal for it."""
    pairs: dict[str, list[str]] = {}
    for p in found:
        for note in p.result.notes:
            if "dequantised to" in note or "regenerated to" in note:
                text = note.partition(" to ")[2].partition(" (")[0]
                names = pairs.setdefault(text, [])
                names += [] if p.weights in names else [p.weights]
    said = [f"Experts in {', '.join(names)} are multiplied as {text}." for text, names in pairs.items()]
    for phase in dict.fromkeys(p.result.phase for p in found):
        times: dict[tuple[float, str], list[str]] = {}
        for p in found:
            if p.result.phase == phase:
                times.setdefault((p.result.seconds, p.result.limited_by), []).append(p.weights)
        said += [
            f"The rows of {phase} with {', '.join(names)} are equal: one pair for all, and {server} limits, not bytes."
            for (_, server), names in times.items()
            if len(names) > 1 and server != "dram"
        ]
    return "\n".join(said)


def draw(found: list[Point], path: Path) -> None:
    """Decoding speed as a multiple of FP8's at the same batch, with the bound; and the time of a decode step by op."""
    plt = canvas()
    decode = [p for p in found if p.result.phase == "decode"]
    batches = sorted({p.result.config["batch"] for p in decode})
    results = {(p.weights, p.result.config["batch"]): p.result for p in decode}
    names = [name + ("*" if machine.endswith("regen") else "") for name, machine in SYSTEMS]
    size = {"figsize": (12.6, 4.4), "layout": "constrained", "width_ratios": [1.35, 1, 1]}
    figure, (left, *panels) = plt.subplots(1, 3, **size)
    for i, batch in enumerate(batches):
        base = _speed(results["fp8", batch])
        for j, (name, _) in enumerate(SYSTEMS):
            r, y = results[name, batch], j + 0.27 * (i - 1)
            ratio = _speed(r) / base
            left.barh(y, ratio, 0.25, color=GREYS[i], label=f"batch {batch}" if j == 0 else None)
            bound = ratio * r.cycles / r.bound_cycles
            left.plot(bound, y, "|", color="black", markersize=8, label="bound" if i == j == 0 else None)
            left.annotate(f"{_speed(r):,.0f}", (max(ratio, bound), y), xytext=(5, 0), textcoords="offset points",
                          va="center", fontsize=7.5)  # fmt: skip
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.grid(axis="y", visible=False)
    left.margins(x=0.12)
    left.set_xlabel("tokens/s as a multiple of FP8's; the numbers are tokens/s")
    left.set_title("speed of decoding; *: hypothetical regenerators", fontsize=9)
    kinds = [row.name for row in decode[0].result.by_op]
    for ax, batch in zip(panels, (batches[0], batches[-1]), strict=True):
        some = {name: {row.name: row.cycles for row in results[name, batch].by_op} for name, _ in SYSTEMS}
        slowest = max(sum(parts.values()) for parts in some.values())
        large = [k for k in kinds if any(parts[k] > 0.02 * sum(parts.values()) for parts in some.values())]
        starts = [0.0] * len(SYSTEMS)
        for kind in [*large, "other"]:
            shares = [
                100 * (sum(v for k, v in parts.items() if k not in large) if kind == "other" else parts[kind]) / slowest
                for parts in some.values()
            ]
            colour, hatch = op_style(kind)
            ax.barh(range(len(SYSTEMS)), shares, 0.74, left=starts, color=colour, hatch=hatch, edgecolor="white",
                    linewidth=0.3, label=kind.replace("_", " "))  # fmt: skip
            starts = [start + share for start, share in zip(starts, shares, strict=True)]
        ax.set_yticks(range(len(names)), names if ax is panels[0] else [""] * len(names))
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("time, % of the slowest")
        ax.set_title(f"time of a decode step, batch {batch}", fontsize=9)
    figure.suptitle(
        "Nemotron 3 Nano 30B-A3B on one H200, context 8,192; four bits and fewer: experts only, the rest FP8",
        fontsize=10, x=0.012, ha="left",
    )  # fmt: skip
    handles = {label: h for ax in (left, *panels) for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    order = [f"batch {b}" for b in batches] + ["bound", *(k.replace("_", " ") for k in [*kinds, "other"])]
    shown = [label for label in order if label in handles]
    figure.legend([handles[k] for k in shown], shown, loc="outside right upper", frameon=False, fontsize=8)
    save(figure, path)


def _speed(r: Result) -> float:
    assert r.tokens_per_second is not None, "a decode step makes tokens"
    return r.tokens_per_second


def main(out: Path = Path("build/sim")) -> None:
    """Simulate and print the table; write table, results, figure and timeline."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from hwsim.jobs.trace import write_trace

    out.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("simulating"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("runs", total=len(STEPS) * len(SYSTEMS))
        found = points(lambda done, _: bar.update(task, completed=done))
    text = summary(found)
    print(f"Nemotron 3 Nano 30B-A3B, all 52 layers simulated in every row\n\n{text}\n\n{LEGEND}\n\n{remarks(found)}\n")
    write_whole(out / "table.txt", f"{text}\n\n{LEGEND}\n\n{remarks(found)}\n")
    write_whole(out / "results.jsonl", "".join(json.dumps(p.result.to_dict()) + "\n" for p in found))
    draw(found, out / "sim.svg")
    name, phase, batch = TRACED
    traced = next(p for p in found if (p.weights, p.result.phase, p.result.config["batch"]) == (name, phase, batch))
    write_trace(out / "trace.json", traced.job, traced.result)
    print(f"figure    {out / 'sim.svg'}")
    print(f"timeline  {out / 'trace.json'}  (open it at ui.perfetto.dev)")
    print(f"results   {out / 'results.jsonl'}  (one line per run, as printed by `hwsim run ... --json`)")


def page(folder: Path = Path("reports")) -> None:
    """Write the committed page: the table and the figure, with the command that writes them."""
    from hwsim import __version__

    found = points()
    draw(found, folder / "nano_h200.svg")
    write_whole(
        folder / "nano_h200.md",
        f"""# Nemotron 3 Nano on one H200, six weight formats

    make report        # hwsim {__version__}; no random numbers

Every row simulates all 52 layers tile by tile. Formats of four bits and fewer are used for the routed experts, with
FP8 for the rest. `kernels` says how the times are known, at the weakest: ideal ones run at the machine's peaks.
`h200-sxm-regen` is the same chip with 660 hypothetical LFSR regenerators. These figures include no
launch or framework time, and some latencies of the machine are assumed, as its file says: they show what the chip could
do, not what a serving stack reaches.

![tokens per second, and time by op kind](nano_h200.svg)

```
{summary(found)}
```

```
{LEGEND}
```

{remarks(found)} The H200 lists no pair with 4-bit weights. Its dot array multiplies BF16 at half the rate of FP8,
which is why the bound of those rows is above that of the FP8 row.
""",
    )
    print(f"written: {folder / 'nano_h200.md'}, {folder / 'nano_h200.svg'}")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("out", nargs="?", type=Path, default=Path("build/sim"), help="the folder of the results")
    options.add_argument("--page", action="store_true", help="write reports/nano_h200.md and its figure instead")
    asked = options.parse_args()
    page() if asked.page else main(asked.out)
