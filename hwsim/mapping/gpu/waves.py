"""Ops on cores: each op as kernels of the machine's library, each kernel as tiles for the simulator.

A wave occupies the memory, then the cores, for their work and for its results, then the memory for the store; the next
wave's read queues behind that store, as it does in a core that holds one tile of outputs. A launch queues behind the
result of the op before. Steps of zero length on the memory pass the time of what came before to what follows.
"""

from __future__ import annotations

from dataclasses import replace

from hwsim.arch.cores import Cores
from hwsim.errors import InputError
from hwsim.mapping.gpu.attention import attention_macs, decode_attention, prefill_attention
from hwsim.mapping.gpu.experts import expert_gemms, expert_kernel
from hwsim.mapping.gpu.formats import FAR, bits, experts_for, family_for, state
from hwsim.mapping.gpu.gemm import gemm, grouped
from hwsim.mapping.gpu.kernels import Kernel, Wave, all_reduce, conv_update, convolution, elementwise
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DOT, DRAM, LAUNCH, Program, Step, Tile
from hwsim.mapping.traffic import activation_bytes, traffic, vector_passes, work_cycles
from hwsim.workload.op import Op

#: Share of the dot array's rate that GEMMs of the chunked scan reach: assumed, as no table holds a scan.
SCAN_SHARE = 0.5
#: Cached values of fewer bits than this are read by no measured kernel.
LEAST_CACHE_BITS = 8


def kernel_of(pipeline: Pipeline, op: Op, opd: Operands, warm: bool = False) -> Kernel:
    """The kernel that runs `op`. warm: weights and state stay in L2 between repeats, as in a benchmark.

    The library is tuned to its chip. Where more cores than that would make a kernel slower (a first wave of more loads,
    a sum of more parts), they are left idle, and fewer are never faster: so time falls with their number.

    raises: InputError where the cores have no rates.
    """
    cores = pipeline.arch.cores
    if not cores.bandwidth:
        name = pipeline.arch.name
        raise InputError(f"{name}: cores have no rates; run `hwsim calibrate {name} DATA.csv -o FILE` and name FILE")
    tuned = cores.tuned or cores.count
    if cores.count == tuned:
        return _kernel(pipeline, op, opd, warm)
    low, high = sorted((cores.count, tuned))
    ways = []
    for count in {*(low << i for i in range((high // low).bit_length()) if low << i <= high), high}:
        arch = replace(pipeline.arch, cores=replace(cores, count=count))
        ways.append(_kernel(replace(pipeline, machine=arch), op, opd, warm))
    return (min if cores.count > tuned else max)(ways, key=lambda way: way.seconds)


def _kernel(pipeline: Pipeline, op: Op, opd: Operands, warm: bool) -> Kernel:
    arch, cores = pipeline.arch, pipeline.arch.cores
    clock = float(arch.clock_hz)
    launch = arch.stack.launch_seconds
    if op.link:
        return _collective(pipeline, op, opd)
    if op.gemms:
        first = op.gemms[0]
        if op.kind == "experts":
            return _experts(pipeline, op, opd)
        choice = family_for(cores, opd)
        if choice.family is None:
            return replace(_ideal(pipeline, op, opd), note=choice.note)
        formats = opd.weights, opd.activations
        if len(op.gemms) > 1 or first.count > 1:
            groups = tuple((g.count, g.m) for g in op.gemms)
            found = grouped(groups, first.n, first.k, choice.family, cores, *formats)
        else:
            found = gemm(first.m, first.n, first.k, choice.family, cores, *formats, warm)
        return replace(found, mark=choice.mark, uncertainty=choice.uncertainty, note=choice.note)
    if op.core is not None:
        return _attention(pipeline, op, opd)
    if op.kind == "conv":
        found = _convolution(op, cores, warm)
        if found:
            return found
    work = vector_passes(arch, op) / (float(arch.vector.elements_per_cycle) * clock)
    if op.macs:
        work = max(work, op.macs / (SCAN_SHARE * float(opd.rate) * clock))
    return elementwise(traffic(op, opd).total, work, launch, cores)


def _ideal(pipeline: Pipeline, op: Op, opd: Operands) -> Kernel:
    """A launch, and the memory or the slowest unit of the chip at its peak rate, the longer."""
    arch, cores = pipeline.arch, pipeline.arch.cores
    work = {name: arch.seconds(cycles) for name, cycles in work_cycles(arch, op, opd).items()}
    read = work.pop("dram", 0.0) * cores.peaks.dram / cores.peaks.stream
    waves = (Wave(1, read, max(work.values(), default=0.0), 0.0, 0.0),)
    return Kernel(arch.stack.launch_seconds, waves, int(traffic(op, opd).total), mark="ideal")


def _experts(pipeline: Pipeline, op: Op, opd: Operands) -> Kernel:
    """One of the two grouped GEMMs of an expert layer, with half of the layer's launches and what lies around it."""
    cores, first = pipeline.arch.cores, op.gemms[0]
    groups = tuple((g.count, g.m) for g in op.gemms)
    rows = sum(count * m for count, m in groups)
    down = op.inputs == rows * first.k  # its inputs are one row for each expert chosen
    tokens = op.outputs // first.n if down else op.inputs // first.k
    kernel, choice = experts_for(cores, opd, tokens)
    chip, family = _rates(cores, "experts")[0], cores.families[0]
    if kernel is not None:
        family = next((f for f in cores.families if f.name == kernel.family), family)
    if kernel is None or chip is None:
        return replace(_ideal(pipeline, op, opd), note=choice.note)
    widths = bits(opd.weights) / 8, bits(opd.activations) / 8
    one_gemm = expert_gemms(groups, first.n, first.k, down, op.outputs)
    found = expert_kernel(one_gemm, kernel, kernel.rates, chip, family, cores, *widths)
    return replace(found, mark=choice.mark, uncertainty=choice.uncertainty, note=choice.note)


def _rates(cores: Cores, *names: str) -> tuple:
    """(rates, mark, uncertainty, note) of the first of the kernels that the chip's table holds, or the lender's."""
    for rates in (getattr(cores.kernel_rates, name) for name in names):
        if rates:
            uses = ("link",) if names[0] == "all_reduce" else ("clock", "dram", "cores")
            return rates, *state(cores, "", uses)
    for rates in (getattr(cores.lent, name) for name in names):
        if rates:
            what = names[0].replace("_", " ")
            return rates, "transferred", FAR, f"{what}: kernels of {cores.lender}, +-{100 * FAR:.0f} %"
    return None, "ideal", 0.0, f"{names[0].replace('_', ' ')}: no kernel was measured; its time is ideal"


def _attention(pipeline: Pipeline, op: Op, opd: Operands) -> Kernel:
    """The kernel of the formats of queries and cache, by table or transfer; else its bytes and multiply-adds."""
    cores, core = pipeline.arch.cores, op.core
    kv, wide = bits(opd.cache) / 8, bits(opd.cache) > 8.5
    prefill = core.cached == 0
    if prefill:
        byte = bits(opd.activations) < 9
        names = (
            ("prefill_bf16",) if wide else ("prefill_fp8", "prefill_bf16_fp8kv") if byte else ("prefill_bf16_fp8kv",)
        )
    else:
        names = ("decode_bf16",) if wide else ("decode_fp8kv",)
    rates, mark, uncertainty, note = _rates(cores, *names)
    if rates is None:
        work = op.macs / attention_macs(cores, kv)
        found = Kernel(
            pipeline.arch.stack.launch_seconds,
            (Wave(1, traffic(op, opd).kv / cores.peaks.stream, work, 0.0, 0.0),),
            int(traffic(op, opd).kv),
        )
    elif prefill:
        query = 1 if names[0] == "prefill_fp8" else 2
        sizes = core.q_heads, core.kv_heads, core.head_dim, kv
        found = prefill_attention(core.sequences, core.new, *sizes, cores, rates, core.window, query)
    else:
        cached = min(core.cached, core.window - 1) if core.window else core.cached
        sizes = core.sequences, cached, core.q_heads, core.kv_heads, core.head_dim, kv
        found = decode_attention(*sizes, cores, rates)
    if bits(opd.cache) < LEAST_CACHE_BITS and mark != "ideal":
        mark, uncertainty = "transferred", FAR
        note = f"KV cache {opd.cache.name}: no such kernel was measured; fp8's at its bytes, +-{100 * FAR:.0f} %"
    return replace(found, mark=mark, uncertainty=uncertainty, note=note)


def _convolution(op: Op, cores: Cores, warm: bool) -> Kernel | None:
    """The short convolution of Mamba-2, of prompts or of one token; None where neither chip nor lender has it."""
    if op.cache is None or not op.params:
        return None
    channels, taps = op.params // (op.cache.row + 2), op.cache.row
    state_elements = channels * taps
    prompts = not op.cache.read
    rates, mark, uncertainty, note = _rates(cores, "conv_prefill" if prompts else "conv_decode")
    if rates is None or not state_elements:
        return None
    sequences = (op.cache.write if prompts else op.cache.read) // state_elements
    if prompts:
        found = convolution(sequences, op.inputs // (channels * sequences), channels, cores, rates)
    else:
        found = conv_update(sequences, channels, cores, rates, warm)
    return replace(found, mark=mark, uncertainty=uncertainty, note=note)


def _collective(pipeline: Pipeline, op: Op, opd: Operands) -> Kernel:
    """A collective: measured all-reduces where the chip has them, else its link's time after a launch."""
    arch, cores = pipeline.arch, pipeline.arch.cores
    nbytes = activation_bytes(opd, op.link_elements)
    if op.link == "all_reduce" and cores.peaks.switch:
        rates, mark, uncertainty, note = _rates(cores, "all_reduce")
        if rates:
            found = all_reduce(op.peers, nbytes, cores, rates)
            return replace(found, mark=mark, uncertainty=uncertainty, note=note)
    seconds = arch.seconds(arch.link.cycles(op.link, nbytes, op.peers))
    waves = (Wave(1, 0.0, seconds, 0.0, 0.0, cause="reduction"),)
    return Kernel(arch.stack.launch_seconds, waves, mark="ideal")


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
