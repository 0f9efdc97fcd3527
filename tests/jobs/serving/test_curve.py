"""Lines between knots against the function itself, at every number and not only where cells are checked."""

from math import floor

import pytest

from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving.curve import Curve, Ramps
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.simulated import TOLERANCE, Simulated
from hwsim.jobs.serving.traffic import Traffic, _far


@pytest.mark.parametrize("block", [64, 128, 256, 512])
@pytest.mark.parametrize("rise, jump", [(0.01, 0.0), (0.01, 5.0), (0.003, 40.0)])
def test_jumps_at_multiples_of_a_block_are_between_cells(block, rise, jump):
    """A sawtooth, as attention that is divided in blocks; the tolerance holds for every whole number."""
    asked = []

    def value(x):
        asked.append(x)
        return 100 + rise * x + jump * floor(x / block)

    ramps = Ramps(value, 1.0, 64, 512)
    assert max(abs(ramps(x) - (100 + rise * x + jump * floor(x / block))) for x in range(4096)) <= 1.0
    assert len(set(asked)) == len(asked) <= 4 * 4096 / 64
    for x in (0, 255.5, 511.9, 700):  # means of contexts are between whole numbers
        cell = ramps.cell(x)
        assert cell.low <= x < cell.high


def test_a_line_from_jump_to_jump_would_miss_by_half_of_it():
    """Why cells end before a jump: the middle of 1,024 to 1,536 is right by chance, and what is beside it is not."""
    curve = Curve(lambda x: 0.01 * x + 40.0 * floor(x / 256), 1.0, 64, 512)
    assert abs(curve(1279) - (12.79 + 160)) > 19


@pytest.mark.parametrize("machine, model, chips, sequences", [("h200-sxm-trtllm", "llama3-70b", 4, 48)])
def test_decode_attention_is_within_the_tolerance_at_any_context(machine, model, chips, sequences):
    steps = Traffic(machine, Steady(model, 1, 1, chips=chips), Load(rate="1/s")).steps
    shortest = steps._shared(1)
    for context in (900, 1023, 1024, 1100, 1164, 1230, 1278, 1279, 1280, 1281, 1400, 1534, 1535, 1536, 3000):
        found = steps.attention(sequences, float(context), False)
        assert found.low <= context < found.high
        exact = steps.seconds(steps.ops(("decode", sequences, False, context)))
        assert abs(found.at(context) - exact) <= TOLERANCE * shortest


def test_a_pass_beyond_the_tolerance_is_named():
    assert _far(0.009, (4, 400, 0, 0)) == [] and _far(0.0, None) == []
    (said,) = _far(0.073, (40, 46560, 512, 1024))
    assert "40 sequences of 1,164 tokens and a chunk of 512 tokens after 1,024 is farthest" in said
    assert said.endswith("7.3 % longer")
    (said,) = _far(-0.02, (0, 0, 512, 0))
    assert "no decode steps" in said and said.endswith("2 % shorter")


def test_the_error_is_that_of_the_pass_that_is_named(monkeypatch):
    """Twelve passes, one of which takes a tenth longer when it is simulated whole."""
    traffic = Traffic("a100-sxm", Steady("llama3-8b", 1, 1), Load(rate="1/s"))
    whole = Simulated.whole
    monkeypatch.setattr(Simulated, "whole", lambda self, n, *more: whole(self, n, *more) * (1.1 if n == 7 else 1))
    error, farthest = traffic.steps.error([(n, 512 * n, 0, 0) for n in range(1, 13)])
    assert farthest == (7, 3584, 0, 0) and error == pytest.approx(-0.1 / 1.1, abs=0.01)
