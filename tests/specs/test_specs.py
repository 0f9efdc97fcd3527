"""The specs: their values against plain restatements, their timing against their stages."""

import subprocess
import sys

import pytest

from hwsim.errors import InputError
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.specs import LfsrBlock


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
