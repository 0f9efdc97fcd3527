"""Which tiling is chosen, what it moves, and that no size makes it longer."""

import itertools
from dataclasses import replace
from fractions import Fraction

import pytest

from hwsim.arch import load_arch
from hwsim.arch.compute import DotArray, DotRate, SystolicArray
from hwsim.arch.machine import TileMachine
from hwsim.arch.memory import Buffers, Dram
from hwsim.arch.servers import Vector
from hwsim.errors import InputError
from hwsim.jobs.run import checked_job, gemm, gemm_job, run
from hwsim.mapping.choice import _left, candidates
from hwsim.mapping.program import DRAM
from hwsim.mapping.tiling import structure
from hwsim.sim.engine import simulate

MIB = 1 << 20

#: A grid of 4 x 4 multipliers that keeps its outputs, behind a memory that never limits it.
GRID = TileMachine(
    name="grid",
    description="",
    clock_hz=Fraction(10**9),
    dram=Dram(bytes_per_cycle=Fraction(1000), latency_cycles=0, beat_bytes=1, capacity_bytes=1 << 34),
    buffers=Buffers(MIB, MIB, MIB),
    dot=SystolicArray(
        0,
        (DotRate("int8", "int8", Fraction(16)),),
        rows=4,
        columns=4,
        dataflow="output_stationary",
        double_buffered=False,
    ),
    activations="on_chip",
    tiles=((4, 4, 4), (64, 64, 64)),
    vector=Vector(Fraction(1000), 0),
)


def matmul(machine, m, n, k, weights="int8"):
    return gemm(machine, m, n, k, weights, engine="walk")


def roomy(**kib):
    """m0 with buffers of so many KiB."""
    return load_arch("m0", [(f"buffers.{name}", f"{size} KiB") for name, size in kib.items()])


def test_one_fold_of_an_output_stationary_grid():
    """2 rows + columns + K - 2 cycles from the first step to the last result (SCALE-Sim's equation 3)."""
    assert matmul(GRID, 4, 4, 4).cycles == 2 * 4 + 4 + 4 - 2


def test_many_folds_take_at_least_the_work():
    """256 x 256 folds of the grid, each with 1,024 steps of K; tiles of 64 along K pay the fill 16 times."""
    found = matmul(GRID, 1024, 1024, 1024)
    assert found.bound_cycles == 256 * 256 * (2 * 4 + 4 + 1024 - 2)
    assert found.bound_cycles <= found.cycles < 1.2 * found.bound_cycles


def test_a_systolic_array_that_loads_weights_for_one_row_is_what_limits():
    """4,096 x 4,096 weights are 32 x 32 folds for 4 grids; each takes 128 cycles to load, and one row streams."""
    found = gemm(load_arch("tpu-v4i", [("dram.bandwidth", "6 TB/s")]), 1, 4096, 4096, "int8", engine="walk")
    assert (found.limited_by, found.bound_cycles) == ("dot", 32 * 32 // 4 * 128)
    assert found.cycles < 1.05 * found.bound_cycles


@pytest.mark.parametrize(
    "machine, m, n, k, least",
    [
        ("m0", 65_536, 65_536, 65_536, 65_536**3 // 16_384),
        ("m0", 1_000_000, 4096, 4096, 1_000_000 * 4096 * 4096 // 16_384),
        ("gemmini", 16_384, 16_384, 16_384, 16_384**3 // 256),
        ("m0", 16, 16, 10**12, 32 * 10**12 // 100),
    ],
)
def test_size_does_not_make_a_program_longer(machine, m, n, k, least):
    """Trillions of tiles are some dozens of different ones; the time is within 5 % of the work at the peak rate."""
    job = gemm_job(machine, m, n, k, "int8", engine="walk")
    (tiled,) = job.choice[1]
    assert len(tiled.program.table) < 100 < tiled.program.tree.size
    assert least <= job.bound.bound_cycles <= job.result().cycles < 1.05 * least


def test_weights_that_fit_are_read_once():
    """W, X and Y of 4.2 MB each in buffers of 16 MiB: every byte crosses the DRAM once."""
    m = n = k = 2048
    found = matmul(roomy(weights=16384, activations=16384, outputs=16384), m, n, k)
    assert found.dram_bytes <= 1.01 * (n * (k + 4) + m * k + m * n)


@pytest.mark.parametrize("room, reads", [(3 * 1024, 2), (8 * 1024, 1)])
def test_weights_stay_only_where_there_is_room_for_all_of_them(room, reads):
    """Two rows of tiles: W of 4.2 MB is read for each, or once."""
    m, n, k = 1024, 2048, 2048
    found = matmul(roomy(weights=room, activations=16384, outputs=16384), m, n, k)
    assert found.bytes["weights"] == reads * n * (k + 4)


def test_a_frugal_tiling_wins_where_it_needs_no_more_of_any_server():
    """Prefill of 8,192 tokens on an H200: a fifth of the bytes for a thousandth of the time."""
    found = run("h200-sxm", "llama3-8b", "prefill", context=8192, engine="walk")
    only = load_arch("h200-sxm", [("tiles", "[256x1024x1024]")])
    greedy = run(only, "llama3-8b", "prefill", context=8192, engine="walk")
    assert found.cycles <= 1.0015 * greedy.cycles
    assert 5 * found.dram_bytes < greedy.dram_bytes


SETTINGS = [
    (machine, model, context, weights)
    for machine, weights in (("h200-sxm", "bf16"), ("h200-sxm", "fp8"), ("tpu-v4i", "int8"))
    for model in ("llama3-8b", "nemotron3-nano-30b-a3b")
    for context in (2048, 8192, 32768)
]


@pytest.mark.parametrize("machine, model, context, weights", SETTINGS)
def test_few_bytes_among_the_fast(machine, model, context, weights, monkeypatch):
    """At most a tenth more bytes than the least of all policies within 0.15 % of the least time."""
    job = checked_job(machine, model, phase="prefill", context=context, weights=weights, engine="walk")
    chosen = job.result()
    ops = [job.tiler.tilings(op, opd) for op, opd in zip(job.distinct.ops, job.resolved, strict=True)]
    monkeypatch.setattr("hwsim.mapping.choice.Candidate.beats", lambda self, other: False)
    monkeypatch.setattr("hwsim.mapping.choice._left", _left.__wrapped__)  # which keeps what it has found
    cost = []
    for one in candidates(job.pipeline, ops, job.distinct.counts):
        tiled = [op.tiled(*plan) for op, plan in zip(ops, one.plans, strict=True)]
        programs = [tiled[number].program for number in job.distinct.order]
        nbytes = sum(tiled[number].dram_bytes for number in job.distinct.order)
        cost.append((simulate(job.pipeline, programs, DRAM).ticks, nbytes))
    least = min(ticks for ticks, _ in cost)
    near = min(nbytes for ticks, nbytes in cost if ticks <= 1.0015 * least)
    assert chosen.dram_bytes <= 1.1 * near
    assert chosen.cycles * job.pipeline.q <= 1.0015 * (least + job.pipeline.q)


def test_what_is_chosen_among_depends_on_no_rate():
    """Machines that differ in every rate and latency have the same policies left to choose from, and the same plans."""

    def left(machine):
        job = checked_job(machine, "llama3-8b", phase="prefill", context=2048, weights="fp8")
        ops = [job.tiler.tilings(op, opd) for op, opd in zip(job.distinct.ops, job.resolved, strict=True)]
        return [(one.policy, one.plans) for one in candidates(job.pipeline, ops, job.distinct.counts)]

    arch = load_arch("h200-sxm")
    assert isinstance(arch.dot, DotArray)
    rates = tuple(replace(rate, macs_per_cycle=rate.macs_per_cycle * 3) for rate in arch.dot.rates)
    other = replace(
        arch,
        dram=replace(arch.dram, bytes_per_cycle=arch.dram.bytes_per_cycle / 7, latency_cycles=1),
        dot=replace(arch.dot, rates=rates, latency_cycles=3),
        vector=Vector(Fraction(11), 2),
    )
    assert structure(arch) == structure(other)
    assert left(arch) == left(other)


def test_time_never_rises_with_bandwidth_even_in_small_steps():
    """Where the frugal tiling comes within reach of the fast one, a choice by a margin of time would jump up."""
    cycles = []
    for step in range(21):
        arch = load_arch("h200-sxm", [("dram.bandwidth", f"{4000 + 80 * step} GB/s")])
        cycles.append(run(arch, "llama3-8b", "prefill", context=8192, engine="walk").cycles)
    assert all(later <= earlier for earlier, later in itertools.pairwise(cycles))


def test_a_menu_that_fits_no_buffer_is_an_error():
    with pytest.raises(InputError, match="none of the listed tile shapes fits"):
        matmul(replace(GRID, buffers=Buffers(8, 8, 8)), 512, 512, 512)


def test_stops_for_refresh_bound_the_size():
    """Every tile between stops is simulated; a size that would take minutes is an error that says what to write."""
    stops = [("dram.refresh", "{kind: all_bank, period: 7.8 us, stall: 300 ns}")]
    small = matmul(load_arch("m0", stops), 2048, 2048, 2048)
    assert small.stalls["refresh"] >= 0 and small.cycles >= small.bound_cycles
    with pytest.raises(InputError, match=r"4,\d+,\d+ tiles.*refresh: {kind: spread}"):
        matmul(load_arch("m0", stops), 65_536, 65_536, 65_536)
