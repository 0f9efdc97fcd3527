"""The specs: their values against plain restatements, their timing against their stages."""

import subprocess
import sys

import pytest

from hwsim.errors import InputError
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.formats.names import NAMES
from hwsim.specs import LfsrBlock, operand


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
