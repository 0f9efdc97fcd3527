"""Kernels as waves of tiles: the simulator against the closed form, and the closed form against hand counts."""

import math
import random
from dataclasses import replace

import pytest

from hwsim.arch import load_arch
from hwsim.arch.builtin import arch_folder
from hwsim.arch.cores import AllReduceRates, CoreTile, DecodeRates, PrefillRates
from hwsim.errors import InputError
from hwsim.formats.names import layout
from hwsim.jobs.kernels import power_law
from hwsim.jobs.run import gemm, run
from hwsim.mapping.gpu.attention import decode_attention, decode_shares, prefill_attention
from hwsim.mapping.gpu.gemm import PLAIN, Problem, gemm_times, grouped
from hwsim.mapping.gpu.gemm import gemm as gemm_kernel
from hwsim.mapping.gpu.kernels import Kernel, Wave, all_reduce
from hwsim.mapping.gpu.waves import kernel_program
from hwsim.mapping.pipeline import Pipeline
from hwsim.measured.sets import find
from hwsim.sim.engine import simulate

MACHINES = ["a100-sxm", "h100-sxm", "b200", "h200-sxm-trtllm"]


@pytest.mark.parametrize("engine", ["walk", "simpy"])
def test_the_simulator_takes_the_time_of_the_closed_form(engine):
    """Random waves: either side longer, any fill, alone or repeated, with and without results and stores."""
    rng, pipeline = random.Random(1), Pipeline.of(load_arch("h100-sxm"))
    tick = 1 / (float(pipeline.arch.clock_hz) * pipeline.q)

    def seconds():
        return rng.choice([0.0, rng.uniform(1e-8, 1e-5)])

    for _ in range(60):
        waves = tuple(
            Wave(rng.randint(1, 4), seconds(), seconds(), seconds(), seconds(), rng.choice([0, rng.random(), 1.0]))
            for _ in range(rng.randint(1, 5))
        )
        kernel = Kernel(seconds(), waves)
        found = simulate(pipeline, [kernel_program(pipeline, kernel)], 0, engine).ticks
        steps = sum(6 * w.repeat for w in waves) + 2
        rounding = 1e-15 * kernel.seconds  # of doubles: a tick may be less
        assert abs(found * tick - kernel.seconds) <= steps * tick + float(pipeline.q) * tick + rounding


@pytest.mark.parametrize("name", MACHINES)
def test_a_run_takes_launch_and_waves(name):
    arch = load_arch(name)
    family = arch.cores.named("bfloat16")
    for m, n, k in ((1, 64, 64), (17, 4096, 4096), (512, 5120, 16384), (3000, 8192, 1024)):
        kernel = gemm_kernel(m, n, k, family, arch.cores, layout("bf16"), layout("bf16"))
        result = gemm(arch, m, n, k, "bf16", engine="walk")
        assert result.seconds == pytest.approx(kernel.seconds, abs=2 / float(arch.clock_hz))
        assert result.cycles >= result.bound_cycles


def test_waves_by_hand():
    """256x128 tiles on 108 cores: 128 tiles of 4096 x 4096 at M = 1024 are two waves, the second of 20."""
    arch = load_arch("a100-sxm")
    family = arch.cores.named("bfloat16")
    tile = next(t for t in family.tiles if (t.m, t.n, t.split) == (256, 128, 1))
    p = gemm_times(Problem.of(1024, 4096, 4096, tile, 2.0, 2.0), family, arch.cores, PLAIN)
    one = 256 * 128 * 4096 / family.macs_per_second
    assert p.waves == 2 and p.core == pytest.approx(one)
    read = (4096 * 4096 * 2 + 1024 * 4096 * 2 / 3) / arch.cores.bandwidth  # 8 MiB of activations lie in L2's 40 MiB
    assert p.read == pytest.approx(read * 108 / 128) and p.read_last == pytest.approx(read * 20 / 128)
    store = 2 * 1024 * 4096 / arch.cores.store
    result = 2 * 256 * 128 * 2 / family.feed_per_second
    fill = min(1, arch.cores.memory_bytes / ((256 + 128) * 2 * 4096)) * min(one, p.read)
    assert p.seconds(PLAIN) == pytest.approx(max(one, p.read) + max(one, p.read_last) + fill + store + result)


def test_padding_and_waves_show_as_steps_in_m():
    """More rows inside a tile cost nothing on the cores; one row beyond costs a tile."""
    arch = load_arch("b200")
    family = arch.cores.named("nvfp4")

    def found(m, n):
        return gemm_times(Problem.of(m, n, 8192, family.tiles[0], 0.5625, 0.5625), family, arch.cores, PLAIN)

    times = [found(m, 8192).core for m in (1, 100, 128)]
    assert times[0] == times[1] == times[2]
    waves = [found(m, 16384).waves for m in (256, 384)]
    assert waves == [1, 2]  # 128 and 192 tiles of 128 x 256 on 148 cores


def test_causal_tiles_are_half_of_the_square_and_the_diagonal():
    arch = load_arch("h100-sxm")
    c = arch.cores
    BF16 = 270336 * 1.83e9

    def work(tokens):
        kernel = prefill_attention(64, tokens, 32, 8, 128, 2.0, c, PrefillRates(0.0, 3e14 / BF16, 0.0, 12.0))
        return kernel.waves[0].core

    steps = sum(i + 1 for i in range(8192 // 128))
    assert work(8192) == pytest.approx(64 * 32 * steps * 2 * 128 * 128 * 128 / 3e14)
    assert work(8192) / work(4096) == pytest.approx((64 * 65) / (32 * 33))


def test_prefill_tiles_go_to_the_first_free_core():
    """Three heads of two tiles, 2 and 1 long, on two cores take 5 in all.

    By hand: core A 2, core B 1+1... heads in turn, longest first: A=2, B=1, B=1+2=3, A=2+1=3, A=3+2=5, B=3+1=4.
    """
    c = replace(load_arch("h100-sxm").cores, count=2)
    rates = PrefillRates(0.0, 2 * 128 * 128 * 128 * 2 / (270336 * 1.83e9), 0.0, 12.0)
    kernel = prefill_attention(1, 256, 3, 1, 128, 2.0, c, rates)
    assert kernel.waves[0].core == pytest.approx(5)


@pytest.mark.parametrize(
    "name, sequences, kv_heads, positions, shares",
    [
        ("h100-sxm", 16, 8, 128, 1),
        ("h100-sxm", 16, 8, 256, 2),
        ("h100-sxm", 16, 8, 1024, 8),
        ("h100-sxm", 16, 8, 65536, 8),  # 512 wanted, 64 by the root, 8.25 by eight pieces a core
        ("h100-sxm", 1, 2, 65536, 64),
        ("b200", 1, 8, 512, 1),
        ("b200", 1, 8, 1024, 2),
        ("b200", 1, 8, 65536, 18),  # 148 cores, 8 pieces
        ("b200", 64, 8, 65536, 1),
    ],
)
def test_shares_of_decode_attention_are_the_librarys(name, sequences, kv_heads, positions, shares):
    assert decode_shares(sequences, kv_heads, positions, load_arch(name).cores) == shares


def test_decode_attention_by_hand():
    """One step of 128 positions a piece costs waves of pieces; long ones the memory, or what pieces can pull."""
    h, b = load_arch("h100-sxm").cores, load_arch("b200").cores
    us = 1.83e3  # cycles per microsecond

    def seconds(cores, sizes, cached, width, rates):
        b_, heads, kv = sizes
        return decode_attention(b_, cached, heads, kv, 128, width, cores, rates).seconds

    def both(read, work):  # neither hides the other wholly
        return (read**4 + work**4) ** 0.25

    stream = 3.35e12 * (1 - 0.35 / 3.9)
    rates = DecodeRates(1e-6, 3 * us, 0.5 * us, 0.005)
    short = both(2048 * 8 * 100 * 512 / stream, 125 * 3.5e-6)  # 16,384 pieces on 132 cores; 4 queries fill 8 rows
    assert seconds(h, (2048, 32, 8), 99, 2.0, rates) == pytest.approx(1e-6 + short)
    wide = both(2048 * 2 * 100 * 256 / stream, 32 * 4e-6)  # 4,096 pieces; 16 queries
    assert seconds(h, (2048, 32, 2), 99, 1.0, rates) == pytest.approx(1e-6 + wide)
    older = both(32 * 512 / stream, 2 * 3.5e-6)  # 32 pieces: 512 query heads, two on a core
    assert seconds(h, (16, 32, 2), 0, 2.0, rates) == pytest.approx(1e-6 + older)
    pulled = seconds(h, (16, 32, 8), 4095, 2.0, rates)  # 8 shares of 512 positions: 1,024 pieces, 8 rounds, 4 of two
    work = 8 * 3.5e-6 + 4 * (512 - 128) * 512 / (0.005 * stream)
    read = 16 * 8 * 4096 * 512 / stream
    assert pulled == pytest.approx(1e-6 + both(read, work) + h.reduce_seconds)
    long = decode_attention(64, 65535, 32, 8, 128, 2.0, b, DecodeRates(0.0, 1.0, 1.0, 1.0))
    assert long.seconds == pytest.approx(64 * 8 * 65536 * 512 / (8e12 * (1 - 0.41 / 3.9)), rel=2e-3)


def test_each_expert_pads_its_own_rows():
    """One expert of 513 rows and three of 1: 256-row tiles make 3 + 1 + 1 + 1, not the 4 of the mean's 129 rows."""
    arch = load_arch("b200")
    family = replace(arch.cores.named("nvfp4"), tiles=(CoreTile(256, 128),))
    cores = replace(arch.cores, count=1, families=(family,))
    kernel = grouped(((1, 513), (3, 1)), 128, 4096, family, cores, layout("nvfp4"), layout("nvfp4"))
    assert sum(w.repeat for w in kernel.waves if w.core) == 6
    assert kernel.read_bytes == int(4096 * (4 * 128 + 516) * 0.5625) and kernel.store_bytes == 2 * 516 * 128


@pytest.mark.parametrize("tokens, top_k, experts, exponent", [(1, 8, 128, 1.2), (64, 4, 32, 1.01), (8192, 6, 128, 1.2)])
def test_power_law_gives_out_every_row(tokens, top_k, experts, exponent):
    """All rows, no expert more than one per token; far from even once there are many."""
    found = power_law(tokens, top_k, experts, exponent)
    assert sum(n * rows for n, rows in found) == tokens * top_k
    assert sum(n for n, _ in found) <= experts and all(0 < rows <= tokens for _, rows in found)
    if tokens > 1:
        assert found[0][1] > 2 * tokens * top_k / experts > 4 * found[-1][1]


def test_all_reduce_takes_the_fastest_way():
    cores, rates = load_arch("h100-sxm").cores, AllReduceRates(3e-6, 2 / 3, 2e-5, 6e-5)  # 300 of 450 GB/s
    one, two, switch = (all_reduce(8, n, cores, rates) for n in (1e3, 1e7, 1e9))
    assert one.seconds == pytest.approx(3e-6 + 7e3 / 3e11)
    assert two.seconds == pytest.approx(3e-6 + 2e-5 + 2 * 7 / 8 * 1e7 / 3e11)
    assert switch.seconds == pytest.approx(3e-6 + 6e-5 + (1 + 1 / 8) * 1e9 / 3e11)
    pair = all_reduce(2, 1e9, cores, rates).seconds  # two chips have nothing to gain but one exchange
    assert pair == pytest.approx(3e-6 + 1e9 / 3e11)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("phase, batch, context", [("decode", 1, 1024), ("decode", 64, 8192), ("prefill", 1, 2048)])
def test_whole_models_stay_above_their_bound(name, phase, batch, context):
    model, weights = ("llama3-8b", "bf16") if name == "a100-sxm" else ("nemotron3-nano-30b-a3b", "bf16")
    result = run(name, model, phase, batch, context, weights, engine="walk")
    assert result.bound_cycles < result.cycles < 12 * result.bound_cycles
    assert sum(result.stalls.values()) == result.cycles


def test_engines_agree_on_a_whole_model():
    a, b = (run("h100-sxm", "nemotron3-nano-30b-a3b", "decode", 8, 4096, "bf16", engine=e) for e in ("walk", "simpy"))
    assert a.cycles == b.cycles and a.stalls == b.stalls


def test_ideal_kernels_are_one_override_away():
    ideal = load_arch("h100-sxm", [("cores", "null"), ("stack", "null")])
    assert ideal.cores is None
    slow, fast = (gemm(a, 16, 4096, 4096, "bf16", engine="walk") for a in (load_arch("h100-sxm"), ideal))
    assert fast.bound_cycles == slow.bound_cycles and fast.cycles < slow.cycles


def test_a_pair_without_kernels_uses_those_of_its_path():
    """Weights of 4 bits with bf16 activations: A100's kernels for them, launch included, at their own bytes."""
    result, wide = (gemm("h100-sxm", 1, 16384, 16384, w, engine="walk") for w in ("mxfp4", "bf16"))
    assert result.seconds < wide.seconds and any("dequantised" in n for n in result.notes)
    assert result.provenance == {"measured": 0, "transferred": 1, "ideal": 0}
    assert any("int4_wo's kernels of a100-sxm, +-30 %" in n for n in result.notes)
    small = gemm("h100-sxm", 1, 64, 64, "mxfp4", engine="walk").seconds
    assert small == pytest.approx(load_arch("a100-sxm").cores.named("int4_wo").launch_seconds, rel=0.3)


def test_a_calibration_without_a_family_is_refused(tmp_path):
    folder = tmp_path / "calibration"
    folder.mkdir()
    text = (arch_folder() / "calibration" / "h100-sxm.yaml").read_text()
    (folder / "x.yaml").write_text(text.replace("  fp8_block:", "  other:", 1))
    machine = (arch_folder() / "h100-sxm.yaml").read_text().replace("calibration/h100-sxm.yaml", "calibration/x.yaml")
    (tmp_path / "m.yaml").write_text(machine)
    with pytest.raises(InputError, match="no rates for fp8_block; run `hwsim calibrate"):
        load_arch(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    "chip, name, most", [("a100", "a100-sxm", 0.09), ("h100", "h100-sxm", 0.05), ("b200", "b200", 0.06)]
)
def test_measured_gemms(chip, name, most):
    """Every eighth measured GEMM, bf16: what the committed calibration says, by plain Python."""
    arch = load_arch(name)
    family = arch.cores.named("bfloat16")
    errors = []
    for row in [r for r in find(f"{chip}_gemm")[0].rows if r["dtype"] == "bfloat16"][::8]:
        m, n, k = (int(row[c]) for c in ("m", "n", "k"))
        kernel = gemm_kernel(m, n, k, family, arch.cores, layout("bf16"), layout("bf16"), warm=True)
        errors.append(abs(kernel.seconds * 1e6 / float(row["us"]) - 1))
    assert math.fsum(errors) / len(errors) < most + 0.03


def test_cores_need_rates_and_what_their_other_kernels_run_on():
    with pytest.raises(InputError, match="cores have no rates; run `hwsim calibrate h100-sxm"):
        gemm(load_arch("h100-sxm", [("cores.calibration", "null")]), 1, 64, 64, "bf16")
    with pytest.raises(InputError, match="cores: needs a `stack`"):
        load_arch("h100-sxm", [("stack", "null")])
