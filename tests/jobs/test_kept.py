"""What is kept between runs (plans, tilings, simulations) changes none of them, in whatever order they come."""

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arch import load_arch
from hwsim.jobs.distinct import runs
from hwsim.jobs.run import gemm, run
from hwsim.mapping import tiling
from hwsim.sim import engine

SETTINGS = [
    (machine, bandwidth, model, phase, weights)
    for machine, bandwidth in (("h200-sxm", "4.8 TB/s"), ("h200-sxm", "2 TB/s"), ("m0", "100 GB/s"))
    for model, phase in (("llama3-8b", "decode"), ("nemotron3-nano-30b-a3b", "decode"), ("llama3-8b", "prefill"))
    for weights in ("int8", "bf16")
    if (machine, weights) != ("m0", "bf16")
]


def forget():
    """As in a new process."""
    for kept in (tiling.planner, tiling.tiler, engine.simulator):
        kept.cache_clear()


def text(machine, bandwidth, model, phase, weights):
    arch = load_arch(machine, [("dram.bandwidth", bandwidth)])
    return json.dumps(run(arch, model, phase, 2, 600, weights, engine="walk").to_dict())


@pytest.fixture(scope="module")
def alone():
    """Each by itself, with nothing kept."""
    found = []
    for setting in SETTINGS:
        forget()
        found.append(text(*setting))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_order_changes_nothing(alone, seed):
    order = random.Random(seed).sample(range(len(SETTINGS)), len(SETTINGS))
    forget()
    for number in (*order, *order[:4]):
        assert text(*SETTINGS[number]) == alone[number]


def test_a_simulator_that_forgets_finds_the_same(alone, monkeypatch):
    monkeypatch.setattr(engine, "MEMORY", 3)
    forget()
    for number in (0, 1, 0, 2):
        assert text(*SETTINGS[number]) == alone[number]


def rated(rate):
    """m0 with every server's rate in proportion, and no latencies."""
    pairs = f"[{{weights: int8, activations: int8, rate: {164 * rate} MAC/cycle}}]"
    rates = [("dram.bandwidth", f"{rate} GB/s"), ("dot.rates", pairs), ("vector.rate", f"{rate} element/cycle")]
    return load_arch("m0", [*rates, *((f"{part}.latency", "0 cycles") for part in ("dram", "dot", "vector"))])


def test_machines_that_differ_in_rates_share_plans_and_no_times():
    """Twice every rate: half the cycles, from the same plans. Only the last beat, one cycle, is not halved: on each of
    three servers."""
    forget()
    cycles = [gemm(rated(rate), 1024, 1024, 1024, "int8", engine="walk").cycles for rate in (100, 200, 400)]
    assert all(0 <= 2 * fast - slow <= 3 for slow, fast in itertools.pairwise(cycles))
    assert tiling.planner.cache_info().misses == 1


@given(st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=4), st.integers(1, 9)), max_size=4))
def test_blocks_written_out_are_the_order(parts):
    order = tuple(number for block, times in parts for number in block * times)
    found = runs(order)
    assert tuple(number for block, times in found for number in block * times) == order
    assert sum(len(block) for block, _ in found) <= len(order)


def test_the_layers_of_a_model_are_one_block():
    order = (0, *(1, 2, 1, 3) * 32, 4, 5)
    assert runs(order) == (((0,), 1), ((1, 2, 1, 3), 32), ((4,), 1), ((5,), 1))
