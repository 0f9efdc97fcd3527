"""Ops on cores: each op as kernels of the machine's library, each kernel as tiles for the simulator.

A wave occupies the memory, then the cores, for their work and for its results, then the memory for the store; the next
wave's read queues behind that store, as it does in a core that holds one tile of outputs. A launch queues behind the
result of the op before. Steps of zero length on the memory pass the time of what came before to what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from hwsim.arch.cores import Cores, KernelRates
from hwsim.arch.machine import TileMachine
from hwsim.errors import InputError
from hwsim.formats.layout import Layout
from hwsim.mapping.gpu.attention import attention_macs, decode_attention, prefill_attention
from hwsim.mapping.gpu.experts import expert_gemms, expert_kernel
from hwsim.mapping.gpu.formats import FAR, about, bits, experts_for, family_for, own_quantising, state
from hwsim.mapping.gpu.gemm import gemm, grouped
from hwsim.mapping.gpu.kernels import (
    Kernel,
    Provenance,
    Wave,
    all_reduce,
    conv_update,
    convolution,
    elementwise,
)
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DOT, DRAM, LAUNCH, Program, Step, Tile
from hwsim.mapping.sorting import sort_cycles
from hwsim.mapping.traffic import (
    activation_bytes,
    cached_cycles,
    needed,
    pieces,
    product_slots,
    traffic,
    vector_passes,
    work_cycles,
)
from hwsim.workload.op import AttentionCore, Op

#: Share of the dot array's rate that GEMMs of the chunked scan reach: assumed, as no table holds a scan.
SCAN_SHARE = 0.5
#: Cached values of fewer bits than this are read by no measured kernel.
LEAST_CACHE_BITS = 8
#: Formats of at most this many bits per value, scales included, are formats of a byte.
BYTE_BITS = 8.5


R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Chip:
    """A machine with `cores:`, and the parts that such a machine always has.

    launch: start of a kernel outside the library's tables, seconds. lanes: elements per second of the vector unit.
    """

    arch: TileMachine
    cores: Cores
    launch: float
    lanes: float

    @classmethod
    def of(cls, arch: TileMachine) -> Chip:
        """The parts of a machine whose file has `cores:`, and with them, as its reader checks, a vector and a stack."""
        lanes = float(needed(arch.vector).elements_per_cycle) * float(arch.clock_hz)
        return cls(arch, needed(arch.cores), needed(arch.stack).launch_seconds, lanes)

    def with_count(self, count: int) -> Chip:
        """The chip with so many cores."""
        if count == self.cores.count:
            return self
        cores = replace(self.cores, count=count)
        return replace(self, arch=replace(self.arch, cores=cores), cores=cores)


class Rated(NamedTuple, Generic[R]):
    """Rates of a kernel (None: no table has any), and how its time is known."""

    rates: R | None
    known: Provenance


def kernel_of(pipeline: Pipeline, op: Op, opd: Operands, warm: bool = False) -> Kernel:
    """The kernel that runs `op`. warm: weights and state stay in L2 between repeats, as in a benchmark.

    The library is tuned to its chip. Where more cores than that would make a kernel slower (a first wave of more loads,
    a sum of more parts), they are left idle, and fewer are never faster: so time falls with their number.

    raises: InputError where the cores have no rates.
    """
    chip = Chip.of(pipeline.arch)
    cores = chip.cores
    if not cores.bandwidth:
        name = chip.arch.name
        raise InputError(f"{name}: cores have no rates; run `hwsim calibrate {name} DATA.csv -o FILE` and name FILE")
    tuned = cores.tuned or cores.count
    if cores.count == tuned:
        return _kernel(chip, op, opd, warm)
    low, high = sorted((cores.count, tuned))
    counts = {*(low << i for i in range((high // low).bit_length()) if low << i <= high), high}
    ways = [_kernel(chip.with_count(count), op, opd, warm) for count in counts]
    return (min if cores.count > tuned else max)(ways, key=lambda way: way.seconds)


def _kernel(chip: Chip, op: Op, opd: Operands, warm: bool) -> Kernel:
    if op.link:
        return _collective(chip, op, opd)
    if op.gemms:
        return _experts(chip, op, opd) if op.kind == "experts" else _gemms(chip, op, opd, warm)
    if op.core is not None:
        return _attention(chip, op, op.core, opd)
    if op.kind == "conv" and (found := _convolution(chip.cores, op, warm)):
        return found
    if op.kind == "matmul" and op.products and (found := _products(chip, op, opd)):
        return found
    work = vector_passes(chip.arch, op) / chip.lanes
    if op.macs:
        rate = SCAN_SHARE * float(needed(opd.rate)) * float(chip.arch.clock_hz)
        work = max(work, product_slots(chip.arch, op, opd) / rate)
    if op.sorting and chip.arch.sort:
        work = max(work, chip.arch.seconds(sort_cycles(op.sorting, chip.arch.sort.comparators)))
    work = max(work, chip.arch.seconds(cached_cycles(chip.arch, op, opd)))
    found = elementwise(traffic(op, opd).total, work, chip.launch, chip.cores)
    rows, piece = pieces(op, opd, False)  # rows of activations are in L2
    if not rows:
        return found
    dram, (wave,) = chip.arch.dram, found.waves
    beats = -(-piece // dram.beat_bytes) * dram.beat_bytes
    apart = chip.arch.seconds(1) * float(dram.scattered_cycles(rows, piece))
    streamed = (found.read_bytes - rows * piece) / chip.cores.bandwidth
    read = streamed + max(rows * beats / chip.cores.bandwidth, apart)
    return replace(found, waves=(replace(wave, read=read),), read_bytes=found.read_bytes + rows * (beats - piece))


def _ideal(chip: Chip, op: Op, opd: Operands, note: str) -> Kernel:
    """A launch, and the memory or the slowest unit of the chip at its peak rate, the longer."""
    work = {name: chip.arch.seconds(cycles) for name, cycles in work_cycles(chip.arch, op, opd).items()}
    read = work.pop("dram", 0.0) * chip.cores.peaks.dram / chip.cores.peaks.stream
    waves = (Wave(1, read, max(work.values(), default=0.0), 0.0, 0.0),)
    return Kernel(chip.launch, waves, int(traffic(op, opd).total), mark="ideal", notes=(note,))


def _gemms(chip: Chip, op: Op, opd: Operands, warm: bool) -> Kernel:
    """One GEMM, or several in one kernel, by the family of their formats."""
    family, known = family_for(chip.cores, opd)
    if family is None:
        return _ideal(chip, op, opd, known.note)
    first, weights = op.gemms[0], needed(opd.weights)
    # a convolution reads its feature map, and joined ops what they take beside it
    there = op.others or any(g.distinct for g in op.gemms)
    reads = float(activation_bytes(opd, op.inputs)) if there else None
    if len(op.gemms) > 1 or first.count > 1:
        groups = tuple((g.count, g.m) for g in op.gemms)
        found = grouped(groups, first.n, first.k, family, chip.cores, weights, opd.activations, reads)
    else:
        sizes = first.m, first.n, first.k
        found = gemm(*sizes, family, chip.cores, weights, opd.activations, warm, read_bytes=reads)
    return found.known(known, own_quantising(chip.cores, family))


def _products(chip: Chip, op: Op, opd: Operands) -> Kernel | None:
    """Products of two tensors, one kernel each, the second operand in place of weights; None if none was measured."""
    beside = replace(opd, weights=opd.activations, converter=None)
    family, known = family_for(chip.cores, beside)
    if family is None:
        return None
    form = opd.activations
    found = [grouped(((g.count, g.m),), g.n, g.k, family, chip.cores, form, form) for g in op.products]
    whole = Kernel(
        sum(one.launch for one in found),
        tuple(wave for one in found for wave in one.waves),
        sum(one.read_bytes for one in found),
        sum(one.store_bytes for one in found),
    )
    return whole.known(known, own_quantising(chip.cores, family))


def _experts(chip: Chip, op: Op, opd: Operands) -> Kernel:
    """One of the two grouped GEMMs of an expert layer, with half of the layer's launches and what lies around it."""
    cores, first = chip.cores, op.gemms[0]
    groups = tuple((g.count, g.m) for g in op.gemms)
    rows = sum(count * m for count, m in groups)
    down = op.inputs == rows * first.k  # its inputs are one row for each expert chosen
    tokens = op.outputs // first.n if down else op.inputs // first.k
    kernel, rates, known = experts_for(cores, opd, tokens)
    shared = _rated(cores, "experts", lambda table: table.experts).rates
    if kernel is None or rates is None or shared is None:
        return _ideal(chip, op, opd, known.note)
    family = next((f for f in cores.families if f.name == kernel.family), cores.families[0])
    widths = bits(needed(opd.weights)) / 8, bits(opd.activations) / 8
    one_gemm = expert_gemms(groups, first.n, first.k, down, op.outputs)
    return expert_kernel(one_gemm, kernel, rates, shared, family, cores, *widths).known(known)


def _rated(
    cores: Cores,
    what: str,
    pick: Callable[[KernelRates], R | None],
    uses: tuple[str, ...] = ("clock", "dram", "cores"),
) -> Rated[R]:
    """The rates of a kernel in the chip's own table, else in the lender's. uses: the peaks that its time depends on."""
    if own := pick(cores.kernel_rates):
        return Rated(own, state(cores, "", uses))
    if lent := pick(cores.lent):
        note = f"{what}: kernels of {cores.lender}, {about(FAR)}"
        return Rated(lent, Provenance("transferred", FAR, note))
    return Rated(None, Provenance("ideal", note=f"{what}: no kernel was measured; its time is ideal"))


def _attention(chip: Chip, op: Op, core: AttentionCore, opd: Operands) -> Kernel:
    """The kernel of the formats of queries and cache, by table or transfer; else its bytes and multiply-adds."""
    cache = needed(opd.cache)
    prompts = core.chunk or not core.cached
    found, known = (_prefill if prompts else _decode)(chip.cores, core, cache, opd.activations)
    if found is None:
        moved = traffic(op, opd).kv
        work = op.macs / attention_macs(chip.cores, bits(cache) / 8)
        found = Kernel(chip.launch, (Wave(1, moved / chip.cores.peaks.stream, work, 0.0, 0.0),), moved)
    elif bits(cache) < LEAST_CACHE_BITS:
        note = f"KV cache {cache.name}: no such kernel was measured; fp8's at its bytes, {about(FAR)}"
        known = Provenance("transferred", FAR, note)
    if core.mixed and not core.chunk and chip.arch.serving:
        found = found.slowed(chip.arch.serving.mixed_attention)
    return found.known(known)


def _prefill(cores: Cores, core: AttentionCore, cache: Layout, acts: Layout) -> tuple[Kernel | None, Provenance]:
    """Attention of whole prompts; None where neither chip nor lender has a kernel for these formats."""
    query_bytes = 2
    if bits(cache) > BYTE_BITS:
        rates, known = _rated(cores, "prefill bf16", lambda table: table.prefill_bf16)
    elif bits(acts) > BYTE_BITS:
        rates, known = _rated(cores, "prefill bf16 fp8kv", lambda table: table.prefill_bf16_fp8kv)
    else:
        query_bytes = 1
        rates, known = _rated(cores, "prefill fp8", lambda table: table.prefill_fp8 or table.prefill_bf16_fp8kv)
    if rates is None:
        return None, known
    heads = core.q_heads, core.kv_heads, core.head_dim
    sizes = core.sequences, core.new, *heads, bits(cache) / 8
    return prefill_attention(*sizes, cores, rates, core.window, query_bytes, core.cached), known


def _decode(cores: Cores, core: AttentionCore, cache: Layout, acts: Layout) -> tuple[Kernel | None, Provenance]:
    """Attention of one token per sequence; None where neither chip nor lender has a kernel for this cache."""
    if bits(cache) > BYTE_BITS:
        rates, known = _rated(cores, "decode bf16", lambda table: table.decode_bf16)
    else:
        rates, known = _rated(cores, "decode fp8kv", lambda table: table.decode_fp8kv)
    if rates is None:
        return None, known
    cached = min(core.cached, core.window - 1) if core.window else core.cached
    heads = core.q_heads, core.kv_heads, core.head_dim
    return decode_attention(core.sequences, cached, *heads, bits(cache) / 8, cores, rates), known


def _convolution(cores: Cores, op: Op, warm: bool) -> Kernel | None:
    """The short convolution of Mamba-2, of prompts or of one token; None where neither chip nor lender has it."""
    if op.cache is None or not op.params:
        return None
    taps = op.cache.row
    channels = op.channels or op.params // (taps + 2)
    state_elements = channels * taps
    if not state_elements:
        return None
    if op.cache.read:
        update, known = _rated(cores, "conv decode", lambda table: table.conv_decode)
        sequences = op.cache.read // state_elements
        return conv_update(sequences, channels, cores, update, warm).known(known) if update else None
    prompts, known = _rated(cores, "conv prefill", lambda table: table.conv_prefill)
    if prompts is None:
        return None
    sequences = op.cache.write // state_elements
    return convolution(sequences, op.outputs // (channels * sequences), channels, cores, prompts).known(known)


def _collective(chip: Chip, op: Op, opd: Operands) -> Kernel:
    """A collective: measured all-reduces where the chip has them, else its link's time after a launch."""
    cores = chip.cores
    nbytes = activation_bytes(opd, op.link_elements)
    link = needed(chip.arch.link)
    if op.link == "all_reduce" and cores.peaks.switch and link.inside(op.peers) == op.peers:
        rates, known = _rated(cores, "all reduce", lambda table: table.all_reduce, uses=("link",))
        if rates:
            return all_reduce(op.peers, nbytes, cores, rates).known(known)
    seconds = chip.arch.seconds(link.cycles(op.link, nbytes, op.peers))
    waves = (Wave(1, 0.0, seconds, 0.0, 0.0, cause="reduction"),)
    return Kernel(chip.launch, waves, mark="ideal")


def kernel_program(pipeline: Pipeline, kernel: Kernel) -> Program:
    """Tiles whose simulated time is the kernel's: servers in order, one wave at a time."""

    def ticks(seconds: float) -> int:
        return round(seconds * float(pipeline.arch.clock_hz) * pipeline.q)

    launch = ticks(kernel.launch)
    runs: list[tuple[tuple[Tile[Step], ...], int]] = [
        ((_tile(Step(LAUNCH, launch, 0, waits=True), Step(DRAM, 0, 0)),), 1)
    ]
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


def _tile(*steps: Step) -> Tile[Step]:
    return Tile(steps, None, False)
