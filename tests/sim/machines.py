"""Random machines, ops and pipelines for the properties of the simulator."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import strategies as st

from hwsim.arch.compute import DATAFLOWS, DotArray, DotRate, SystolicArray, TensorCores
from hwsim.arch.link import COLLECTIVES, TOPOLOGIES, Link
from hwsim.arch.machine import TileMachine
from hwsim.arch.memory import Buffers, Dram, Refresh
from hwsim.arch.servers import Dequantise, Launch, Regenerate, Round, Vector
from hwsim.jobs.tile import TileJob
from hwsim.mapping.operands import Formats
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import (
    DOT,
    DOT_QUEUE,
    DRAM,
    LAUNCH,
    OUTPUTS,
    REGENERATE,
    SERVERS,
    VECTOR,
    WEIGHTS,
    Numbering,
    Program,
    Step,
    Tile,
    Tree,
    repeat,
)
from hwsim.workload.op import Cache, Gemm, Op

WEIGHTS_OF = ("bf16", "fp8_e4m3", "mxfp4_e2m1", "nvfp4", "seedlm4", "seedlm3", "int4_g128")

rate = st.fractions(Fraction(1, 3), 400, max_denominator=12)


@st.composite
def archs(draw, refreshes=("none", "spread", "all_bank"), launches=True):
    """A machine with every server, random rates: the DRAM's and the dot array's lie 1.001 to 100 apart."""
    dram_rate = draw(rate)
    ratio = draw(st.fractions(Fraction(1001, 1000), 100, max_denominator=1000))
    dot_rate = dram_rate * draw(st.sampled_from([ratio, 1 / ratio])) * 64
    kind = draw(st.sampled_from(refreshes))
    period = Fraction(draw(st.integers(200, 4000)))
    refresh = Refresh(kind, period, period * Fraction(draw(st.integers(1, 9)), 64)) if kind != "none" else Refresh()
    size = st.sampled_from([1 << 17, 1 << 18, 3 << 17, 1 << 20])
    return TileMachine(
        name="random",
        description="",
        clock_hz=Fraction(10**9),
        dram=Dram(
            bytes_per_cycle=dram_rate,
            latency_cycles=draw(st.integers(0, 900)),
            beat_bytes=draw(st.sampled_from([16, 32, 64])),
            capacity_bytes=1 << 40,
            refresh=refresh,
            row_bytes=draw(st.sampled_from([0, 1024])),
            row_miss_cycles=draw(st.integers(0, 3)),
            turnaround_cycles=draw(st.integers(0, 20)),
        ),
        buffers=Buffers(draw(size), draw(size), draw(size)),
        dot=draw(units(dot_rate)),
        activations=draw(st.sampled_from(["dram", "on_chip"])),
        tiles=((64, 64, 128), (128, 32, 256), (8, 128, 512)),
        vector=Vector(draw(rate), draw(st.integers(0, 50))),
        dequantise=Dequantise(draw(rate) * 8, draw(st.integers(0, 20))),
        regenerate=Regenerate(draw(rate), draw(st.integers(0, 20)), "bf16"),
        round=Round(draw(rate), draw(st.integers(0, 20))),
        link=Link(draw(rate), Fraction(draw(st.integers(0, 3000)), 4), draw(st.sampled_from(TOPOLOGIES))),
        launch=Launch(Fraction(draw(st.integers(0, 3000)), 2)) if launches and draw(st.booleans()) else None,
    )


@st.composite
def units(draw, rate):
    """A compute unit of any kind; a systolic array's rate follows from its grid."""
    kind, latency = draw(st.sampled_from([DotArray, TensorCores, SystolicArray])), draw(st.integers(0, 200))
    if kind is DotArray:
        return DotArray(latency, (DotRate("bf16", "bf16", rate),))
    if kind is TensorCores:
        shape = draw(st.sampled_from([(16, 8, 16), (64, 1, 3)]))
        return TensorCores(latency, (DotRate("bf16", "bf16", rate),), shape=shape)
    rows, columns, arrays = draw(st.sampled_from([(4, 4, 1), (16, 8, 1), (8, 32, 3)]))
    rates = (DotRate("bf16", "bf16", Fraction(rows * columns * arrays * draw(st.integers(1, 2)))),)
    dataflow, buffered = draw(st.sampled_from(DATAFLOWS)), draw(st.booleans())
    grid = {"rows": rows, "columns": columns, "arrays": arrays}
    return SystolicArray(latency, rates, **grid, dataflow=dataflow, double_buffered=buffered)


dim = st.one_of(st.integers(1, 300), st.integers(1, 8192).filter(lambda n: n % 32))


@st.composite
def op_lists(draw, most=5):
    """Ops of at least four kinds in random order and shape, a few of them twice."""
    kinds = draw(st.permutations(["gemm", "attention", "ssm", "norm", "experts", "embedding", "link"]))
    kinds = kinds[: max(4, most)]
    ops = []
    for kind in kinds:
        m, n, k = draw(st.integers(1, 150)), draw(dim), draw(dim)
        rows = draw(st.integers(1, 400))
        ops.append(
            {
                "gemm": Op("gemm", "gemm", weights="mlp", gemms=(Gemm(m, n, k),), inputs=m * k, outputs=m * n),
                "experts": Op(
                    "experts",
                    "experts",
                    weights="experts",
                    gemms=(Gemm(2, 96, k, 3), Gemm(1, 96, k, 2)),
                    vector=700,
                    inputs=2 * k,
                    outputs=96 * 8,
                ),
                "attention": Op(
                    "attention",
                    "attention",
                    macs=rows * 512,
                    vector=5 * rows,
                    cache=Cache("kv", 64, rows * 128, 128 * draw(st.integers(1, 40))),
                    inputs=256,
                    outputs=128,
                ),
                "ssm": Op(
                    "ssm",
                    "ssm",
                    weights="ssm",
                    params=64,
                    vector=rows * 500,
                    cache=Cache("ssm", 128, rows * 256, rows * 256),
                    inputs=64,
                    outputs=64,
                ),
                "norm": Op("norm", "norm", weights="norm", params=k, vector=4 * m * 64, inputs=m * 64, outputs=m * 64),
                "embedding": Op("embedding", "embedding", weights="embedding", params=k, outputs=k),
                "link": Op(
                    "sum",
                    "link",
                    inputs=m * 64,
                    outputs=m * 64,
                    link=draw(st.sampled_from(COLLECTIVES)),
                    link_elements=m * 64,
                    peers=draw(st.integers(2, 8)),
                ),
            }[kind]
        )
    ops += draw(st.lists(st.sampled_from(ops), max_size=3))
    return tuple(ops)


def job(arch, ops, weights="bf16", engine="walk", state="fp16_sr"):
    """A run of `ops` on `arch`."""
    return TileJob(arch, ops, Formats.of(weights, kv="bf16", state=state), engine, name="", phase="gemm", config={})


def faster(arch, what, factor):
    """`arch` with one thing improved by `factor` > 1 (buffers: doubled; latencies: divided)."""
    dram, dot = arch.dram, arch.dot
    if what == "bandwidth":
        return replace(arch, dram=replace(dram, bytes_per_cycle=dram.bytes_per_cycle * factor))
    if what == "dram latency":
        return replace(arch, dram=replace(dram, latency_cycles=int(dram.latency_cycles / factor)))
    if what == "dot interval":
        factor = 2 if isinstance(dot, SystolicArray) else factor
        rates = tuple(replace(r, macs_per_cycle=r.macs_per_cycle * factor) for r in dot.rates)
        return replace(arch, dot=replace(dot, rates=rates))
    if what == "dot latency":
        return replace(arch, dot=replace(dot, latency_cycles=int(dot.latency_cycles / factor)))
    if what == "vector interval":
        return replace(arch, vector=replace(arch.vector, elements_per_cycle=arch.vector.elements_per_cycle * factor))
    if what == "round interval":
        return replace(arch, round=replace(arch.round, elements_per_cycle=arch.round.elements_per_cycle * factor))
    if what == "link bandwidth":
        return replace(arch, link=replace(arch.link, bytes_per_cycle=arch.link.bytes_per_cycle * factor))
    if what == "link latency":
        return replace(arch, link=replace(arch.link, latency_cycles=arch.link.latency_cycles / factor))
    if what == "regenerate interval":
        unit = arch.regenerate
        return replace(arch, regenerate=replace(unit, blocks_per_cycle=unit.blocks_per_cycle * factor))
    sizes = arch.buffers
    return replace(arch, buffers=replace(sizes, **{what: getattr(sizes, what) * 2}))


IMPROVEMENTS = (
    "bandwidth",
    "dram latency",
    "dot interval",
    "dot latency",
    "vector interval",
    "regenerate interval",
    "round interval",
    "link bandwidth",
    "link latency",
    "weights",
    "activations",
    "outputs",
)


@st.composite
def pipelines(draw, longest=5):
    """A pipeline and programs with no machine behind them: any interval, beat, credit and order."""
    refresh = draw(st.booleans()) and draw(st.booleans())
    small = st.integers(4, 20) | st.just(500)
    pipeline = Pipeline(
        q=draw(st.sampled_from([1, 3, 7])),
        latency=tuple(draw(st.sampled_from([0, 1, 5, 30])) for _ in SERVERS),
        capacity=(draw(small), draw(small), draw(small), draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        period=50 if refresh else 0,
        stall=7 if refresh else 0,
    )
    programs = [draw(_programs(longest)) for _ in range(draw(st.integers(1, 5)))]
    order = draw(st.lists(st.sampled_from(programs), min_size=1, max_size=10))
    return pipeline, order


@st.composite
def _programs(draw, longest):
    used = [s for s in (DRAM, REGENERATE, DOT, VECTOR) if draw(st.booleans())] or [DOT]
    writes = draw(st.booleans()) and used[-1] != DRAM
    launched = draw(st.integers(0, 4)) == 0

    def tile(first):
        servers = [LAUNCH, *used] if first and launched else used
        steps, held = [], ()
        for i, server in enumerate(servers):
            interval = draw(st.sampled_from([0, 1, 2, 5, 17]))
            takes, gives = [], list(held) if server != LAUNCH else []
            if server == DRAM:
                held = ((WEIGHTS, draw(st.integers(1, 4))),)
                takes += held
                gives = list(held) if servers[-1] == DRAM else []
            elif held:
                held = ()
            if DOT in used and REGENERATE in used:
                takes += [(DOT_QUEUE, 1)] if server == REGENERATE else []
                gives += [(DOT_QUEUE, 1)] if server == DOT else []
            if writes and server == servers[-1]:
                takes.append((OUTPUTS, 2))
            waits = server == LAUNCH or (server != DRAM and (i == 0 or draw(st.booleans())))
            beat = min(interval, draw(st.integers(0, 2)))
            steps.append(Step(server, interval, beat, tuple(takes), tuple(gives), waits))
        write = None
        if writes:
            interval = draw(st.sampled_from([1, 3, 6]))
            write = Step(DRAM, interval, 1, (), ((OUTPUTS, 2),))
        return Tile(tuple(steps), write, first or draw(st.booleans()))

    numbering = Numbering()

    def loops(depth):
        """A few loops, one of them perhaps around others; the deeper, the fewer passes."""
        made = []
        for _ in range(draw(st.integers(0, 3))):
            tiles = [tile(False) for _ in range(draw(st.integers(1, 3)))]
            made.append(numbering.loop(draw(st.integers(1, max(1, longest >> 3 * depth))), tiles))
        if depth < 2 and draw(st.booleans()):
            made += repeat(draw(st.integers(1, 8)), loops(depth + 1))
        return made

    tree = Tree((numbering.loop(1, [tile(True)]), *loops(0)))
    return Program(tree, numbering.tiles, draw(st.integers(0, 6)), draw(st.booleans()))
