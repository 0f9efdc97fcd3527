"""Runs of models of every kind of part: both drivers agree, the bound is below, chips share the work."""

from dataclasses import replace

import pytest

import hwsim
from hwsim.workload import load_model

#: Models whose first layers contain every kind of part, cut to a few layers.
LAYERS = {
    "deepseek-v3": slice(1, 5),
    "deepseek-v3.2": slice(2, 4),
    "qwen3-next-80b-a3b": slice(2, 5),
    "jamba-v0.1": slice(2, 6),
    "falcon-h1-7b": slice(0, 2),
    "gemma3-12b": slice(4, 7),
    "llama4-scout-17b-16e": slice(2, 5),
    "minimax-m2.5": slice(0, 2),
    "olmo2-7b": slice(0, 2),
    "granite-4.0-h-tiny": slice(4, 7),
}


@pytest.fixture(params=LAYERS)
def model(request):
    whole = load_model(request.param)
    return replace(whole, layers=whole.layers[LAYERS[request.param]])


@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("machine", ["h200-sxm", "tpu-v4i"])
def test_both_drivers_agree_and_the_bound_is_below(model, machine, phase):
    # the TPU has integers only, and no pair for some of the formats of the releases
    weights = "bf16" if machine == "tpu-v4i" else "released"
    simpy, walk = (
        hwsim.run(machine, model, phase, 2, 600, weights=weights, engine=engine) for engine in ("simpy", "walk")
    )
    assert simpy.cycles == walk.cycles
    assert 0 < walk.bound_cycles <= walk.cycles
    assert sum(row.cycles for row in walk.by_op) == walk.cycles


@pytest.mark.parametrize("kind", ["tensor", "tensor+expert", "data+expert"])
def test_more_chips_hold_and_do_less_each(model, kind):
    if model.moe is None and kind != "tensor":
        pytest.skip("no experts to divide")
    last = None
    for chips in (1, 2, 4):
        found = hwsim.run("h200-sxm", model, "decode", 16, 600, chips=chips, parallel=kind, engine="walk")
        if last:
            assert found.memory.weights < last.memory.weights
            assert found.memory.kv <= last.memory.kv
            assert found.macs < last.macs
        assert found.bound_cycles <= found.cycles
        last = found


def test_every_kind_of_part_runs():
    from hwsim.workload.language.kinds import WORDS

    found = {WORDS[type(part)] for name in LAYERS for part in load_model(name).shapes}
    assert found == set(WORDS.values()) - {"kda", "lightning", "shortconv"}
