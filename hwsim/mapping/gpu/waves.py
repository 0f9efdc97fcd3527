"""Ops on cores: each op as kernels of the machine's library, each kernel as tiles for the simulator.

A wave occupies the memory, then the cores, for their work and for its results, then the memory for the store; the next
wave's read queues behind that store, as it does in a core that holds one tile of outputs. A launch queues behind the
result of the op before. Steps of zero length on the memory pass the time of what came before to what follows.
"""

from __future__ import annotations

from dataclasses import replace

from hwsim.arch.cores import Cores, DecodeRates, Family
from hwsim.errors import InputError
from hwsim.mapping.gpu.attention import decode_attention, prefill_attention
from hwsim.mapping.gpu.kernels import (
    Kernel,
    Wave,
    all_reduce,
    elementwise,
    expert_rates,
    gemm,
    grouped,
)
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DOT, DRAM, LAUNCH, Program, Step, Tile
from hwsim.mapping.traffic import activation_bytes, traffic, vector_passes
from hwsim.workload.op import AttentionCore, Op

#: Share of the dot array's rate that GEMMs of the chunked scan reach: assumed, as no table holds a scan.
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


def _experts(op: Op, opd: Operands, family: Family, cores: Cores) -> Kernel:
    """One of the two grouped GEMMs of an expert layer, with half of the layer's launches and of its copying.

    The measured layer is both; without measurements of the pair, a grouped GEMM like any other.
    """
    first = op.gemms[0]
    groups = [(g.count, g.m) for g in op.gemms]
    pair = (opd.weights.name, opd.activations.name)
    known = next((e for e in cores.experts if (e.weights, e.activations) == pair), None)
    if known is None or known.rates is None:
        return grouped(groups, first.n, first.k, family, cores, opd.weights, opd.activations)
    family, cores = expert_rates(known, known.rates, cores)
    kernel = grouped(groups, first.n, first.k, family, cores, opd.weights, opd.activations)
    rows = sum(count * m for count, m in groups)
    down = op.inputs == rows * first.k  # its inputs are one row for each expert chosen
    moved = rows * 3 * first.n if down else rows * (3 * first.k + 2 * first.n) + 2 * op.outputs
    copied = Wave(1, moved / cores.bandwidth, 0.0, 0.0, 0.0)
    return replace(kernel, launch=known.rates.launch_seconds / 2, waves=(*kernel.waves, copied))


def _attention(core: AttentionCore, opd: Operands, cores: Cores, launch: float) -> Kernel:
    """The attention kernel; where the chip's was not measured, a launch and the memory's time."""
    kv, known = float(opd.cache.bits_per_value) / 8, cores.kernel_rates
    sizes = core.q_heads, core.kv_heads, core.head_dim, kv, cores
    if core.cached == 0 and core.new > 1:
        prefill = known.prefill_bf16 if kv >= 2 else known.prefill_bf16_fp8kv
        if prefill:
            return prefill_attention(core.sequences, core.new, *sizes, prefill, core.window)
    decode = (known.decode_bf16 if kv >= 2 else known.decode_fp8kv) or DecodeRates(launch, 0.0, 0.0)
    cached = min(core.cached, core.window - 1) if core.window else core.cached
    return decode_attention(core.sequences, cached, *sizes, decode)


def _collective(pipeline: Pipeline, op: Op, opd: Operands) -> Kernel:
    """A collective: measured all-reduces where the chip has them, else its link's time after a launch."""
    arch, rates = pipeline.arch, pipeline.arch.cores.kernel_rates.all_reduce
    nbytes = activation_bytes(opd, op.link_elements)
    if op.link == "all_reduce" and rates:
        return Kernel(all_reduce(op.peers, nbytes, rates), ())
    seconds = arch.seconds(arch.link.cycles(op.link, nbytes, op.peers))
    return Kernel(arch.stack.launch_seconds, (Wave(1, 0.0, seconds, 0.0, 0.0),))


def _family(pipeline: Pipeline, op: Op, opd: Operands) -> Family:
    """The family of the op's pair; else, where the chip converts weights first, of the pair that it multiplies."""
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
    return Program.of(runs, flush=True)


def _tile(*steps: Step) -> Tile:
    return Tile(steps, None, False)
