"""cocotb: every seed of a seed format through its LFSR block; value and time in each cycle."""

import os
import random
import warnings

import cocotb
from amaranth.hdl import UnusedElaboratable

from hwsim.formats.lfsr import CODECS
from hwsim.specs import LfsrBlock
from rtl.axi import AxiStreamUnit
from rtl.lfsr import LfsrBlockUnit
from tests.rtl.drive import Ports, reset, run
from tests.rtl.trial import Trial

warnings.simplefilter("ignore", UnusedElaboratable)  # a unit is made here for the names of its ports
SPEC = LfsrBlock(
    CODECS[os.environ.get("HWSIM_BENCH_FORMAT", "seedlm4")],
    stages=tuple(os.environ.get("HWSIM_BENCH_STAGES", "states").split(",")),
)


def naive_step(state: int) -> int:
    """The register of the paper, written out once more: taps 0, 1, 3, 12 of 16, shift right, top bit fed."""
    bit = (state ^ state >> 1 ^ state >> 3 ^ state >> 12) & 1
    return state >> 1 | bit << 15


def all_seeds():
    """(seed, packed states) for each of the 65,535 seeds, in the order of the cycle that begins at 1."""
    n = SPEC.states
    state, ahead, window = 1, 1, 0
    for _ in range(n):
        ahead = naive_step(ahead)
        window = window >> 16 | ahead << 16 * (n - 1)
    for _ in range(65535):
        yield state, window
        state, ahead = naive_step(state), naive_step(ahead)
        window = window >> 16 | ahead << 16 * (n - 1)
    assert state == 1


def some_seeds(count: int, seed: int):
    """(seed, packed states) as the spec has them, at random; 0 is no seed (tests/rtl/test_seed_zero.py)."""
    draw = random.Random(seed)
    for each in [1, 2, 0xFFFF, *(draw.randrange(1, 1 << 16) for _ in range(count))]:
        yield each, sum(state << 16 * i for i, state in enumerate(SPEC(each)))


@cocotb.test()
async def random_valid_and_ready(dut):
    """The handshake trace equals the cycle model's under random valid and ready; a reset in mid-stream empties it."""
    ports = Ports(dut, AxiStreamUnit(LfsrBlockUnit(SPEC)))
    await reset(ports)
    for p_valid, p_ready in ((0.3, 0.9), (0.9, 0.3), (0.7, 0.7)):
        trial = Trial(SPEC.cycle_model(), some_seeds(250, 1), p_valid, p_ready)
        await run([(ports, trial)], limit=100)
        await reset(ports)
        trial.reset()
        await run([(ports, trial)])
        assert trial.accepted == 253


@cocotb.test()
async def every_seed(dut):
    """All 65,535 seeds at full rate: one per cycle, the last output `latency` later."""
    ports = Ports(dut, AxiStreamUnit(LfsrBlockUnit(SPEC)))
    await reset(ports)
    trial = Trial(SPEC.cycle_model(), all_seeds(), 1, 1)
    await run([(ports, trial)])
    assert (trial.accepted, trial.delivered) == (65535, 65535)
    assert trial.cycles == SPEC.timing.cycles(65535) + 1
    print(f"65535 seeds, {trial.cycles} cycles, 0 mismatches in data, 0 in time")
