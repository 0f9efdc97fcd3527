"""The specs: their values against plain restatements, their timing against their stages."""

import subprocess
import sys

import pytest

from hwsim.errors import InputError
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.formats.names import NAMES
from hwsim.specs import Accumulator, BlockDot, Gemv, LfsrBlock, MxMac, Requantizer, SeedDecoder, operand


def test_no_numpy_on_import():
    code = "import sys, hwsim.specs; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lfsr_block_is_the_figure_of_the_paper():
    """SeedLM, Figure 4: K = 3, C = 4, P = 2, seed 4."""
    codec = SeedCodec(C=4, P=2, K=3)
    assert LfsrBlock(codec)(4) == [2, 5, 6, 7, 3, 1, 4, 2]


@pytest.mark.parametrize(("codec", "states"), [(SEEDLM4, 24), (SEEDLM3, 48)])
def test_lfsr_block_delivers_all_states(codec, states):
    spec = LfsrBlock(codec)
    assert spec.states == states == len(spec(1))


def test_latency_is_the_number_of_stages():
    assert LfsrBlock(SEEDLM4).timing.latency == 1
    assert LfsrBlock(SEEDLM4, stages=("seed", "states")).timing.latency == 2
    assert LfsrBlock(SEEDLM4, stages=("seed", "states")).cycle_model().latency == 2


@pytest.mark.parametrize("stages", [(), ("sed",), ("states", "seed"), ("states", "states")])
def test_wrong_stages_raise(stages):
    with pytest.raises(InputError, match="LfsrBlock"):
        LfsrBlock(SEEDLM4, stages=stages)


OPERANDS = {
    "mxfp8_e4m3": ("E4M3", "e8m0", 32), "mxfp8_e5m2": ("E5M2", "e8m0", 32), "mxfp6_e3m2": ("E3M2", "e8m0", 32),
    "mxfp6_e2m3": ("E2M3", "e8m0", 32), "mxfp4_e2m1": ("E2M1", "e8m0", 32), "mxint8": ("INT8", "e8m0", 32),
    "nvfp4": ("E2M1", "e4m3", 16), "mx9": ((7, 2, 1), "e8m0", 16), "mx6": ((4, 2, 1), "e8m0", 16),
    "mx4": ((2, 2, 1), "e8m0", 16), "fp8_e4m3": ("E4M3", "none", 0), "int8": ("INT8", "none", 0),
    "fp8_e5m2": ("E5M2", "none", 0), "fp8_row": ("E4M3", "none", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_which_formats_a_block_dot_unit_multiplies(name):
    if name not in OPERANDS:
        with pytest.raises(InputError, match=f"{name}: not an operand"):
            operand(name)
        return
    coding, block = operand(name)
    element = coding.element.name if coding.element else (coding.magnitude_bits, coding.sub_block, coding.shift_bits)
    assert (element, coding.scale, block) == OPERANDS[name]


def test_custom_formats_as_operands():
    coding, block = operand({"m": 5, "k1": 32, "d1": 8, "k2": 4, "d2": 2})
    assert (coding.magnitude_bits, coding.sub_block, coding.shift_bits, block) == (5, 4, 2, 32)
    assert operand({"element": "E4M3", "block": 8, "scale": "e4m3"})[0].scale == "e4m3"
    for refused in ({"m": 5, "k1": 32, "d1": 7, "k2": 4, "d2": 2}, {"element": "INT4", "block": 32, "scale": "fp16"}):
        with pytest.raises(InputError, match="not an operand"):
            operand(refused)


def test_rows_one_after_another_cost_a_turn_of_the_loop_per_block():
    """13 stages from reading a sum to its being readable again; fewer stages in the loop, a shorter interval."""
    dot = BlockDot.of("mxint8", "mxint8")
    assert Accumulator(dot).timing == Accumulator(dot, 40).timing and Accumulator(dot).interleave == 13
    alone = Accumulator(dot, 1)
    assert (alone.timing.latency, alone.timing.interval, MxMac(alone).timing.interval) == (16, 13, 13)
    short = Accumulator(dot, 1, stages=("norm", "swap", "sum", "round"))
    assert (short.timing.latency, short.timing.interval) == (4, 3)


@pytest.mark.parametrize("interleave", [0, 2, 12, 65537])
def test_an_interleave_that_no_accumulator_has_raises(interleave):
    with pytest.raises(InputError, match="write 13 .* to 65536, or 1"):
        Accumulator(BlockDot.of("mxint8", "mxint8"), interleave)


def test_an_engine_takes_no_accumulator_that_waits():
    with pytest.raises(InputError, match="write 13 or more"):
        Gemv("mxint8", interleave=1)


@pytest.mark.parametrize("codec", [SEEDLM4, SEEDLM3, SeedCodec(C=5, P=2, K=24)])
def test_seed_0_is_refused(codec):
    """All coefficients -8: the record whose integer would not fit."""
    word = sum(8 << codec.K + 4 + 4 * p for p in range(codec.P))
    for refuses in (codec.unpack, SeedDecoder(codec)):
        with pytest.raises(InputError, match="seed 0"):
            refuses(word)
    assert SeedDecoder(codec)(word | 1)[0] == 0


def test_exponents_beyond_the_scale_are_refused():
    with pytest.raises(InputError, match="fewer exponent_bits"):
        Requantizer(SeedCodec(C=8, P=3, exponent_bits=8))
    assert Requantizer(SeedCodec(C=8, P=3, exponent_bits=6)).timing.latency == 10
