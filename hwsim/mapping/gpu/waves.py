"""Ops on cores: each op as kernels of the machine's library, each kernel as tiles for the simulator.

A wave takes the memory, then the cores, for their work and for its results, then the memory for the store; the next
wave's read queues behind that store, as it does in a core that holds one tile of outputs. A launch queues behind the
result of the op before. Steps of no length on the memory pass the time of what came before to what follows.
"""

from __future__ import annotations

from dataclasses import replace

from hwsim.arch.cores import Cores, Family
from hwsim.errors import InputError
from hwsim.mapping.gpu.attention import decode_attention, prefill_attention
from hwsim.mapping.gpu.kernels import (
    Kernel,
    Wave,
    all_reduce,
    elementwise,
    gemm,
    grouped,
)
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DOT, DRAM, LAUNCH, Program, Step, Tile
from hwsim.mapping.traffic import activation_bytes, traffic, vector_passes
from hwsim.workload.op import AttentionCore, Op

#: Share of the dot array's rate that products of the chunked scan reach: assumed, as no table holds a scan.
SCAN_SHARE = 0.5


def kernel_of(pipeline: Pipeline, op: Op, opd: Operands) -> Kernel:
    """The kernel that runs `op`. raises: InputError where the library has no kernel for its formats."""
    arch, cores = pipeline.arch, pipeline.arch.cores
    clock = float(arch.clock_hz)
    lanes = float(arch.vector.elements_per_cycle) * clock
    launch = arch.stack.launch_seconds
    if not cores.bandwidth:
        raise InputError(
            f"{arch.name}: cores have no rates; run `hwsim calibrate {arch.name} DATA.csv -o FILE` and name FILE"
        )
    if op.link:
        return _collective(pipeline, op, opd)
    if op.gemms:
        family = _family(pipeline, op, opd)
        first = op.gemms[0]
        if len(op.gemms) > 1 or first.count > 1:
            return _experts(op, opd, family, cores)
        return gemm(first.m, first.n, first.k, family, cores, opd.weights, opd.activations)
    core = op.core
    if core is not None:
        return _attention(core, opd, cores, launch)
    work = vector_passes(arch, op) / lanes
    if op.macs:
        work = max(work, op.macs / (SCAN_SHARE * float(opd.rate) * clock))
    return elementwise(traffic(op, opd).total, work, launch, cores)


#: Families and formats of the experts' kernels: set of measurements -> (GEMM family, weights, activations).
EXPERTS = {
    "bfloat16": ("bfloat16", "bf16", "bf16"),
    "fp8": ("fp8", "fp8_e4m3", "fp8_e4m3"),
    "fp8_block": ("fp8_block", "fp8_e4m3", "fp8_e4m3"),
    "nvfp4": ("nvfp4", "nvfp4", "nvfp4"),
    "w4a16_mxfp4": ("bfloat16", "mxfp4_e2m1", "bf16"),
    "w4a8_mxfp4_mxfp8": ("fp8_block", "mxfp4_e2m1", "mxfp8_e4m3"),
}


def _experts(op: Op, opd: Operands, family: Family, cores: Cores) -> Kernel:
    """One of the two grouped products of an expert layer, with half of the layer's launches and of its copying.

    The measured layer is both; without measurements of the pair, a grouped product like any other.
    """
    known, first = cores.others, op.gemms[0]
    groups = [(g.count, g.m) for g in op.gemms]
    pair = (opd.weights.name, opd.activations.name)
    name = next((n for n, (_, *formats) in EXPERTS.items() if tuple(formats) == pair), "")
    if f"experts_{name}.launch" not in known:
        return grouped(groups, first.n, first.k, family, cores, opd.weights, opd.activations)
    launch, rate, copy = (known[f"experts_{name}.{part}"] for part in ("launch", "rate", "copy"))
    family = replace(cores.named(EXPERTS[name][0]), launch_seconds=0.0, quantise_bytes=0.0)
    family = replace(family, macs_per_second=rate * family.macs_per_second)
    cores = replace(cores, bandwidth=copy * cores.bandwidth, store=copy * cores.store)
    kernel = grouped(groups, first.n, first.k, family, cores, opd.weights, opd.activations)
    rows = sum(count * m for count, m in groups)
    down = op.inputs == rows * first.k  # its inputs are one row for each expert chosen
    moved = rows * 3 * first.n if down else rows * (3 * first.k + 2 * first.n) + 2 * op.outputs
    return replace(kernel, launch=launch / 2, waves=(*kernel.waves, Wave(1, moved / cores.bandwidth, 0.0, 0.0, 0.0)))


def _attention(core: AttentionCore, opd: Operands, cores: Cores, launch: float) -> Kernel:
    """The attention kernel; where the chip's was not measured, a launch and the memory's time."""
    kv, known = float(opd.cache.bits_per_value) / 8, cores.others
    if core.cached == 0 and core.new > 1:
        kind = "prefill_bf16" if kv >= 2 else "prefill_bf16_fp8kv"
        if f"{kind}.launch" in known:
            return prefill_attention(
                core.sequences,
                core.new,
                core.q_heads,
                core.kv_heads,
                core.head_dim,
                kv,
                cores,
                known[f"{kind}.launch"],
                known[f"{kind}.rate"],
                known[f"{kind}.tile"],
                known["prefill_bf16.copy"],
                core.window,
            )
    kind = "decode_bf16" if kv >= 2 else "decode_fp8kv"
    cached = min(core.cached, core.window - 1) if core.window else core.cached
    parts = [known.get(f"{kind}.{part}", other) for part, other in (("launch", launch), ("tile", 0.0), ("query", 0.0))]
    return decode_attention(core.sequences, cached, core.q_heads, core.kv_heads, core.head_dim, kv, cores, *parts)


def _collective(pipeline: Pipeline, op: Op, opd: Operands) -> Kernel:
    """A collective: measured all-reduces where the chip has them, else its link's time behind a launch."""
    arch, known = pipeline.arch, pipeline.arch.cores.others
    nbytes = activation_bytes(opd, op.link_elements)
    if op.link == "all_reduce" and "all_reduce.launch" in known:
        seconds = all_reduce(op.peers, nbytes, *(known[f"all_reduce.{part}"] for part in ("launch", "link", "second")))
        return Kernel(seconds, ())
    return Kernel(
        arch.stack.launch_seconds, (Wave(1, 0.0, arch.seconds(arch.link.cycles(op.link, nbytes, op.peers)), 0.0, 0.0),)
    )


def _family(pipeline: Pipeline, op: Op, opd: Operands):
    """The family of the op's pair; else, where the chip converts weights on the way, of the pair it multiplies."""
    cores, acts = pipeline.arch.cores, opd.activations.name
    pairs = [(opd.weights.name, acts), (acts, acts), ("bf16", "bf16")]
    for pair in pairs:
        family = cores.family(*pair)
        if family:
            return family
    raise InputError(f"{pipeline.arch.name}: {cores.kernels} has no kernels for {opd.weights.name} x {acts}")


def kernel_program(pipeline: Pipeline, kernel: Kernel) -> Program:
    """Tiles whose simulated time is the kernel's: servers in order, one wave at a time."""

    def ticks(seconds: float) -> int:
        return round(seconds * float(pipeline.arch.clock_hz) * pipeline.q)

    launch = ticks(kernel.launch)
    runs: list = [((_tile(Step(LAUNCH, launch, 0, waits=True), Step(DRAM, 0, 0)),), 1)]
    for wave in kernel.waves:
        read, core, result, store = map(ticks, (wave.read, wave.core, wave.result, wave.store))
        fill, drain = round(wave.part * read), round(wave.part * core)
        tiles = [_tile(Step(DRAM, fill, 0))] if fill else []
        tiles.append(_tile(Step(DRAM, read - fill, 0), Step(DOT, core, drain)))
        tiles.append(_tile(Step(DOT, result, 0), Step(DRAM, 0, 0)))
        if store:
            tiles.append(_tile(Step(DRAM, store, 0)))
        runs.append((tuple(tiles), wave.repeat))
    runs.append(((Tile((Step(DRAM, 0, 0),)),), 1))
    return Program(runs=tuple(runs), flush=True)


def _tile(*steps: Step) -> Tile:
    return Tile(steps, None, False)
