"""Changed machines: what a calibration's shares make of another bandwidth, clock or number of cores."""

import random

import pytest

from hwsim.arch import load_arch
from hwsim.jobs.run import gemm, run

MACHINES = ("a100-sxm", "h100-sxm", "b200", "h200-sxm-trtllm", "mi210", "rtx4090", "rtx-pro-6000")
FACTORS = (0.5, 1, 2, 10)
NANO = "nemotron3-nano-30b-a3b"
STEPS = (("llama3-8b", "decode", 1, 1024), ("llama3-8b", "prefill", 1, 4096), (NANO, "decode", 8, 512))


def changed(name, factor):
    """The machine with one quantity at `factor` times its own, for each of the three."""
    arch = load_arch(name)
    clock, cores = float(arch.clock_hz), arch.cores.count
    memory = float(arch.dram.bytes_per_cycle) * clock
    texts = {
        "dram.bandwidth": f"{factor * memory / 1e9:.6g} GB/s",
        "clock": f"{factor * clock / 1e6:.8g} MHz",
        "cores.count": str(round(factor * cores)),
    }
    return {path: load_arch(name, [(path, text)]) for path, text in texts.items()}


@pytest.mark.parametrize("name", MACHINES)
def test_more_of_a_machine_is_never_slower_and_never_beats_its_bound(name):
    machines = [changed(name, factor) for factor in FACTORS]
    for path in machines[0]:
        for step in STEPS:
            results = [run(m[path], *step, "bf16", engine="walk") for m in machines]
            times = [r.seconds for r in results]
            assert times == sorted(times, reverse=True), (path, step, times)
            assert all(r.cycles >= r.bound_cycles and sum(r.stalls.values()) == r.cycles for r in results)
            marks = [r.provenance["measured"] for r in results]
            assert marks[0] == marks[2] == marks[3] == 0 <= marks[1]  # a changed machine was not measured


@pytest.mark.parametrize("name", ["h100-sxm", "b200"])
def test_decode_follows_the_memory_and_prefill_the_clock(name):
    """Within what launches, and the other resource, leave: between 1.5 and 2 times for twice as much."""
    once, twice = changed(name, 1), changed(name, 2)

    def gain(path, phase, batch, context):
        slow, fast = (run(m[path], "llama3-8b", phase, batch, context, "bf16", engine="walk") for m in (once, twice))
        return slow.seconds / fast.seconds

    assert 1.5 < gain("dram.bandwidth", "decode", 8, 4096) <= 2
    assert gain("clock", "decode", 8, 4096) < 1.1
    assert 1.5 < gain("clock", "prefill", 1, 8192) <= 2
    assert gain("dram.bandwidth", "prefill", 1, 8192) < 1.1


@pytest.mark.parametrize("name", ["h100-sxm", "b200"])
def test_single_gemms_are_monotone_too(name):
    machines = [changed(name, factor) for factor in FACTORS]
    rng = random.Random(0)
    for _ in range(25):
        m, n, k = 1 << rng.randint(0, 13), 64 << rng.randint(0, 8), 64 << rng.randint(0, 8)
        for path in machines[0]:
            times = [gemm(a[path], m, n, k, "fp8", engine="walk").seconds for a in machines]
            tick = 2 / float(machines[0][path].clock_hz)  # rounding to whole cycles
            assert all(b <= a + tick for a, b in zip(times, times[1:], strict=False)), (path, m, n, k, times)


def test_the_units_of_cores_follow_their_number_and_the_result_says_so():
    half = load_arch("h100-sxm", [("cores.count", "66")])
    assert half.dot.rate("bf16", "bf16") == 270336 / 2 and half.vector.elements_per_cycle == 16896 / 2
    assert "cores.count 66 of the file's 132: rates of dot, vector, dequantise follow" in half.warnings
    own = load_arch("h100-sxm", [("cores.count", "66"), ("vector.rate", "16896 element/cycle")])
    assert own.vector.elements_per_cycle == 16896 and own.dot.rate("bf16", "bf16") == 270336 / 2
