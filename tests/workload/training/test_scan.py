"""The scan of Mamba-2 as kernels: bytes written out by hand, multiply-adds unchanged, what several chips share."""

from __future__ import annotations

import pytest

from hwsim.workload import load_model
from hwsim.workload.training.lowering import blocks
from hwsim.workload.training.options import Degrees, TrainStep
from hwsim.workload.training.scan import Sizes, backward_elements, forward_elements

NANO = "nemotron3-nano-30b-a3b"


def scan_of(model: str, step: TrainStep):
    return next(s for b in blocks(load_model(model), step).values() for s in b.sites if s.part == "ssm")


def test_bytes_of_the_scan_of_nemotron_3_nano():
    """64 heads of 64 channels, 128 states, 8 groups, chunks of 128; 8,192 tokens. In bytes, tensor by tensor.

    Forward: x three times in 16 bits (states; results in and out); states written and read in FP32, then written and
    read in 16 bits; C B^T written and read in FP32; B and C twice each. Backward by the same list of its kernels.
    """
    t, heads, x, b = 8192, 64, 8192 * 64 * 64, 8192 * 8 * 128
    states, pairs, dt = 64 * 64 * 64 * 128, 64 * 8 * 128 * 128, t * heads
    assert Sizes.of(next(s.part for s in load_model(NANO).plan[0]), t) == (x, b, states, pairs, dt)
    forward = 3 * 2 * x + (4 + 4 + 2 + 2) * states + 2 * 4 * pairs + 4 * 2 * b
    forward += dt * (2 + 8 + 8 + 4 + 8)  # dt in 16 bits; dA and dt written, read twice; dA read once more
    read, written = forward_elements(Sizes(x, b, states, pairs, dt))
    assert 2 * (read + written) == forward
    backward = 2 * x * (1 + 1 + 3 + 1 + 1 + 2 + 2)
    backward += states * (4 + 8 + 4 + 8 + 4 + 2 + 2 + 2) + 4 * pairs * (1 + 1 + 1 + 2 + 1)
    backward += 2 * b * (2 + 1 + 1 + 1 + 1 + 2 + 1 + 2 + 2 * (1 + 2 + 1))
    backward += dt * (10 + 8 + 4 + 4 + 4 + 12 + 12 + 8 + 8 + 12 + 12)
    read, written = backward_elements(Sizes(x, b, states, pairs, dt))
    assert 2 * (read + written) == backward


@pytest.mark.parametrize("degrees", [Degrees(dp=2, tp=2), Degrees(dp=2, cp=2)])
def test_chips_share_the_scan(degrees):
    """Half of the heads with tp of 2, half of the positions with cp of 2: half of every tensor."""
    whole, half = (scan_of(NANO, TrainStep(8, 4096, 1, d)) for d in (Degrees(dp=2), degrees))
    for one, other in ((whole.forward, half.forward), (whole.backward, half.backward)):
        assert one.inputs + one.outputs == 2 * (other.inputs + other.outputs)
        assert one.macs == pytest.approx(2 * other.macs, rel=1e-3)


def test_states_move_once_per_chunk():
    """Sequences of a micro-batch have chunks of their own."""
    one, four = (scan_of("mamba2-1.3b", TrainStep(8, 512, b)) for b in (1, 4))
    assert four.forward.inputs == 4 * one.forward.inputs and four.backward.outputs == 4 * one.backward.outputs


def test_other_scans_move_what_they_compute_on():
    """No kernels of Mamba-1's scan, or of linear attention, are counted here: inputs and results alone."""
    step = TrainStep(8, 4096, 1)
    site = next(s for b in blocks(load_model("jamba-v0.1"), step).values() for s in b.sites if s.part == "ssm")
    part = next(s.part for slots in load_model("jamba-v0.1").plan for s in slots if hasattr(s.part, "dt_rank"))
    assert site.forward.inputs == 4096 * (3 * part.inner + 2 * part.state)
