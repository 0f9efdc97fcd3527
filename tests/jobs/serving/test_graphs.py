"""Passes pad to the graphs of their engine: sizes written out, and what a pass computes."""

import pytest

from hwsim.jobs.serving.engines import ENGINES
from hwsim.jobs.serving.graphs import Capture, sglang_graphs, vllm_graphs
from tests.jobs.serving.steps import Formula

GIB = 2**30


def test_vllm_s_sizes_end_at_twice_the_sequences():
    assert vllm_graphs(Capture(10)) == (1, 2, 4, 8, 16)
    sizes = vllm_graphs(Capture(256))
    assert len(sizes) == 3 + 31 + 17 and sizes[-3:] == (480, 496, 512)


@pytest.mark.parametrize(
    "gib, chips, largest",
    [(16, 1, 8), (24, 1, 24), (24, 4, 80), (48, 1, 32), (80, 1, 256), (80, 4, 512), (180, 1, 512)],
)
def test_sglang_s_largest_graph_is_by_memory_and_chips(gib, chips, largest):
    assert sglang_graphs(Capture(1024, 1, gib * GIB, chips))[-1] == largest


def test_sglang_s_sizes_are_sequences_and_closer_with_drafts():
    assert sglang_graphs(Capture(1024, 1, 48 * GIB)) == (1, 2, 4, 8, 12, 16, 24, 32)
    assert sglang_graphs(Capture(1024, 3, 16 * GIB)) == (3, 6, 9, 12, 15, 18, 21, 24)


@pytest.mark.parametrize(
    "scheduler, padded",
    [("vllm", [16, 104, 600]), ("sglang", [12, 104, 600]), ("trtllm", [9, 99, 600]), ("static", [9, 99, 600])],
)
def test_a_pass_pads_to_the_next_size_or_to_none(scheduler, padded):
    steps = Formula()
    steps.graphs = ENGINES[scheduler].graphs(Capture(256, 1, 80 * GIB))
    assert [steps.padded(tokens, False) for tokens in (9, 99, 600)] == padded
