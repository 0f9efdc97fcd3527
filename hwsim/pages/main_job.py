"""`make sim`: Nemotron 3 Nano on H200 in six weight formats; writes table, figure and timeline to build/sim/."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hwsim.files.figure import pyplot, save
from hwsim.files.tables import seconds_text, table
from hwsim.files.whole import write_whole
from hwsim.jobs.run import checked_job
from hwsim.jobs.tile import TileJob
from hwsim.report.text import causes_text
from hwsim.result import Result, weakest

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


def draw(found: list[Point], path: Path) -> None:
    """Tokens per second by format, with the bound above each bar; and the time of a decode step by op kind."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    names = [name for name, _ in SYSTEMS]
    decode = [p for p in found if p.result.phase == "decode"]
    batches = sorted({p.result.config["batch"] for p in decode})
    for i, batch in enumerate(batches):
        some = {p.weights: p.result for p in decode if p.result.config["batch"] == batch}
        xs = [x + 0.27 * (i - 1) for x in range(len(names))]
        speeds = {name: r.tokens_per_second for name, r in some.items() if r.tokens_per_second is not None}
        left.bar(xs, [speeds[n] for n in names], 0.25, label=f"batch {batch}", color=f"C{i}")
        peak = [speeds[n] * some[n].cycles / some[n].bound_cycles for n in names]
        left.plot(xs, peak, "_", color="black", markersize=9, label="bound" if i == 0 else None)
    left.set_yscale("log")
    left.set_ylabel("tokens/s, decode, context 8192")
    left.set_xticks(range(len(names)), [n + ("*" if m.endswith("regen") else "") for n, m in SYSTEMS])
    left.set_title("bars: simulated; dashes: bound; *: hypothetical regenerators", fontsize=9)
    left.legend(fontsize=8, ncols=2)
    colours = plt.get_cmap("tab20").colors
    kinds = [row.name for row in decode[0].result.by_op]
    for position, batch in enumerate((1, 64)):
        some = {p.weights: p.result for p in decode if p.result.config["batch"] == batch}
        for x, name in enumerate(names):
            r, base = some[name], 0.0
            for j, kind in enumerate(kinds):
                share = 100 * next(row.cycles for row in r.by_op if row.name == kind) / r.cycles
                label = kind if (x, position) == (0, 0) else None
                right.bar(x + 0.4 * position - 0.2, share, 0.36, bottom=base, color=colours[j], label=label)
                base += share
    right.set_xticks(range(len(names)), names)
    right.set_ylabel("% of the decode step")
    right.set_title("time by op kind: left bar batch 1, right bar batch 64", fontsize=9)
    right.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    title = "Nemotron 3 Nano 30B-A3B on one H200; formats of four bits and fewer: experts only, the rest FP8"
    figure.suptitle(title, fontsize=10)
    save(figure, path)


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
    print(f"Nemotron 3 Nano 30B-A3B, all 52 layers simulated in every row\n\n{text}\n")
    write_whole(out / "table.txt", text + "\n")
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
""",
    )
    print(f"written: {folder / 'nano_h200.md'}, {folder / 'nano_h200.svg'}")


if __name__ == "__main__":
    page() if sys.argv[1:] == ["--page"] else main(*(Path(a) for a in sys.argv[1:]))
