"""Rows of tables: DLRM's rows by format on an H100, and random reads of DRAM beside Ramulator."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.arch import load_arch
from hwsim.arch.machine import TileMachine
from hwsim.files.tables import markdown
from hwsim.formats.names import layout
from hwsim.jobs.run import run
from hwsim.mapping.popular import found_share
from hwsim.workload import StepOptions, load_model, load_model_text
from hwsim.workload.graph.graph import Graph
from hwsim.workload.graph.irregular import Table

CHIP, MODEL, BATCH, PAIRS = "h100-sxm", "dlrm-v2", 600_000, 270
WIDTH = 128
FORMATS = ("fp32", "bf16", "fp8_row", "int8", "mx9", "mxfp6_e2m3", "nvfp4", "mxfp4_e2m1")
POPULARITY = ("uniform", "zipf(0.9)", "zipf(1.1)", "zipf(1.3)")
#: MLPerf Inference, datacenter, offline, one H100 SXM: by weights, samples/s (results v3.1 and v4.0; a sample is 270
#: pairs in the mean). bf16: an eighth of eight chips at 99.9 % of the accuracy, which ran FP16.
MLPERF = {"bf16": 44_269, "fp8": 70_346}
KERNELS = {"calibrated kernels": (), "ideal kernels": (("cores", "null"),)}

#: Share of a channel's peak that random reads of so many bytes reach in Ramulator 2.1 (CMU-SAFARI/ramulator2, c5b1c3a:
#: one channel, FR-FCFS, open rows, a queue of 64, up to 256 reads under way). The stall is that of Ramulator's device.
RAMULATOR = {
    "HBM3 6.4 Gb/s": (
        "h100-sxm",
        "51.2 GB/s",
        "450 ns",
        {64: 0.295, 256: 0.295, 1024: 0.709, 4096: 0.839, 16384: 0.892},
    ),
    "LPDDR5 6.4 Gb/s": ("edge-mx", "12.8 GB/s", "280 ns", {64: 0.460, 256: 0.719, 1024: 0.875, 4096: 0.902}),
}


def tables_with(distribution: str) -> Graph:
    """The model with rows of another popularity."""
    graph = load_model(MODEL)
    assert isinstance(graph, Graph), "the shipped DLRM is a graph"
    nodes = tuple(replace(n, distribution=distribution) if isinstance(n, Table) else n for n in graph.nodes)
    return replace(graph, nodes=nodes)


def chip(kernels: str) -> TileMachine:
    """The H100."""
    arch = load_arch(CHIP, KERNELS[kernels])
    assert isinstance(arch, TileMachine), "a GPU is a tile machine"
    return arch


@dataclass(frozen=True, slots=True)
class Step:
    """One batch: samples/s; seconds of the gathers, of the cross network, of all; the server with the most work."""

    samples: float
    gathers: float
    crossed: float
    seconds: float
    limited_by: str


def step(arch: TileMachine, graph: Graph, weights: str | dict[str, str]) -> Step:
    """Simulate one batch."""
    layers = {str(op.layer) for op in graph.ops(StepOptions(batch=BATCH)) if op.name.startswith("crossed")}
    result = run(arch, graph, batch=BATCH, weights=weights, engine="walk")
    gathers = sum(row.cycles for row in result.by_op if row.name == "embedding")
    crossed = sum(row.cycles for row in result.by_layer if row.name.split()[0] in layers)
    samples = BATCH / PAIRS / result.seconds
    return Step(samples, arch.seconds(gathers), arch.seconds(crossed), result.seconds, result.limited_by)


def found_in_cache(arch: TileMachine, graph: Graph, form: str) -> float:
    """Share of the rows in the cache."""
    op = next(op for op in graph.ops(StepOptions(batch=BATCH)) if op.irregular)
    assert op.irregular and arch.cache, "DLRM has tables, and this chip a cache"
    beat = arch.dram.beat_bytes
    whole = -(-layout(form).row_nbytes(WIDTH) // beat) * beat
    return found_share(op.irregular.tables, op.irregular.distribution, arch.cache.nbytes // whole)


def rows_table(kernels: str) -> str:
    """Tables in each format, all other weights in bf16."""
    arch, graph, rows = chip(kernels), tables_with("zipf(1.1)"), []
    uncached = replace(arch, cache=None)
    for form in FORMATS:
        nbytes, beat = layout(form).row_nbytes(WIDTH), arch.dram.beat_bytes
        beats = -(-nbytes // beat)
        weights = {"embedding": form, "default": "bf16"}
        popular, even = step(arch, graph, weights), step(uncached, graph, weights)
        rows.append(
            [
                form,
                str(nbytes),
                f"{100 * nbytes / (beats * beat):.0f}",
                f"{100 * float(arch.dram.scattered_rate(nbytes) / arch.dram.bytes_per_cycle):.0f}",
                f"{1e3 * even.gathers:.1f}",
                f"{100 * found_in_cache(arch, graph, form):.0f}",
                f"{1e3 * popular.gathers:.1f}",
                f"{1e3 * popular.crossed:.1f}",
                f"{popular.samples:,.0f}",
                popular.limited_by,
            ]
        )
    head = ["tables", "B per row", "burst use, %", "of the peak, %", "gathers, no cache, ms", "found in cache, %"]
    return markdown([*head, "gathers, ms", "cross network, ms", "samples/s", "most work"], rows)


def popularity_table() -> str:
    """Every weight in one format, by kernels and popularity, beside MLPerf."""
    rows = []
    for kernels in KERNELS:
        for form, measured in MLPERF.items():
            for popularity in POPULARITY:
                arch = chip(kernels)
                one = step(arch, tables_with(popularity), form)
                times = (f"{1e3 * seconds:.1f}" for seconds in (one.gathers, one.crossed, one.seconds))
                ratio = f"{one.samples / measured:.2f}"
                rows.append([kernels, form, popularity, *times, f"{one.samples:,.0f}", f"{measured:,}", ratio])
    head = ["H100 with", "weights", "rows", "gathers, ms", "cross network, ms", "batch, ms", "samples/s"]
    return markdown([*head, "MLPerf", "ratio"], rows)


def random_reads(name: str, bandwidth: str, stall: str, nbytes: int, rows: int = 20_000) -> float:
    """Share of the peak that a simulated gather of FP32 rows, which are summed up, reaches on one channel."""
    settings = {
        "dram.bandwidth": bandwidth,
        "dram.scattered.channels": "1",
        "dram.refresh.stall": stall,
        "cores": "null",
        "cache": "null",
    }
    arch = load_arch(name, [(path, text) for path, text in settings.items()])
    assert isinstance(arch, TileMachine), "named above"
    graph = load_model_text(
        f"name: reads\ninputs: {{i: {{shape: [{rows}], rows: 1000000}}}}\nops:\n"
        f"  - {{name: y, op: embedding_bag, in: [i], rows: [1000000], hot: [{rows}], out: {nbytes // 4}}}\n"
    )
    weights = {"embedding": "fp32", "default": arch.dot.rates[0].weights}
    found = run(arch, graph, weights=weights, engine="walk")
    return float(rows * nbytes / found.cycles / arch.dram.bytes_per_cycle)


def reads_table() -> str:
    """Simulated random reads beside Ramulator's."""
    rows = []
    for memory, (name, bandwidth, stall, shares) in RAMULATOR.items():
        for nbytes, theirs in shares.items():
            ours = random_reads(name, bandwidth, stall, nbytes)
            rows.append([memory, f"{nbytes:,}", f"{100 * theirs:.1f}", f"{100 * ours:.1f}", f"{ours / theirs:.2f}"])
    return markdown(["memory", "bytes per read", "Ramulator, % of the peak", "hwsim, %", "ratio"], rows)
