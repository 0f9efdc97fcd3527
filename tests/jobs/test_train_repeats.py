"""Steps of many micro-batches: what repeats is counted, and equals the whole schedule served, tick by tick."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest

import hwsim
from hwsim.jobs.training.memory import peak
from hwsim.jobs.training.pipeline import ItemTimes, Plan
from hwsim.jobs.training.repeats import FEW, in_ticks, repeated, step_end
from hwsim.sim.schedule import order


def plan(rng, stages, chunks, micro_batches, every=False, equal=False):
    """Random layers in whole ticks; equal: the same on every stage."""

    def items():
        return tuple(ItemTimes(*(rng.randint(1, 40) for _ in range(6))) for _ in range(rng.choice([1, 1, 3])))

    all_ = [items()] * (stages * chunks) if equal else [items() for _ in range(stages * chunks)]
    once = tuple(rng.randint(0, 100) for _ in range(stages))
    return Plan(stages, tuple(all_), micro_batches, once, rng.randint(0, 5), every)


@pytest.mark.parametrize("stages,chunks", [(1, 1), (2, 1), (3, 1), (4, 1), (7, 1), (2, 2), (3, 2), (4, 3), (2, 5)])
@pytest.mark.parametrize("every", [False, True])
def test_counted_repeats_equal_the_whole_schedule(stages, chunks, every):
    """Against the schedule served to its end, which knows nothing of repeats."""
    rng = random.Random(100 * stages + 10 * chunks + every)
    found = 0
    for trial in range(6):
        rest = rng.randrange(stages) if chunks == 1 else 0
        asked = plan(rng, stages, chunks, (FEW + rng.randint(8, 60)) * stages + rest, every, equal=trial == 0)
        end = repeated(asked)
        found += end is not None
        assert end in (None, asked.run().end)
    assert found >= 4


def test_equal_stages_of_a_billion_micro_batches():
    """The bubble of 1F1B in closed form, (p - 1) (F + B), of a step that cannot be served whole."""
    stages, micro_batches = 4, 10**9
    end = step_end(Plan(stages, ((ItemTimes(0.25, 0.5),),) * stages, micro_batches, (0.0,) * stages))
    assert end == (micro_batches + stages - 1) * 0.75


def test_ticks_are_exact():
    ticks, scale = in_ticks(Plan(1, ((ItemTimes(0.1, 0.3, gather=1e-9),),), 2, (0.7,), 1e-6))
    item = ticks.chunks[0][0]
    assert (item.forward / scale, item.backward / scale, item.gather / scale) == (0.1, 0.3, 1e-9)
    assert (ticks.once[0] / scale, ticks.sent / scale) == (0.7, 1e-6)


@pytest.mark.parametrize("stages,chunks", [(1, 1), (3, 1), (8, 1), (2, 2), (3, 4), (4, 2)])
def test_most_activations_are_those_of_the_whole_schedule(stages, chunks):
    rng = random.Random(stages + chunks)
    for micro_batches in (stages, 3 * stages, 23 * stages, 23 * stages + (chunks == 1)):
        for stage in range(stages):
            sizes = {n: rng.randint(1, 99) for n in range(stages * chunks)}
            turns = order(stage, stages, chunks, micro_batches)
            held = accumulate(sizes[turn.chunk] * (1 if turn.forward else -1) for turn in turns)
            assert peak(stage, stages, chunks, micro_batches, sizes) == max(held)


def test_a_billion_sequences_take_as_many_times_as_long():
    """A step on one pipeline stage without replicas: all but the optimiser is in proportion to the micro-batches."""
    few, many = (hwsim.train("h200-sxm", "llama3-8b", batch, 512) for batch in (1000, 10**9))
    optimiser = few.by_when()["optimiser"]
    assert (many.seconds - optimiser) / (few.seconds - optimiser) == pytest.approx(10**6, rel=1e-3)
    assert many.idle_seconds == pytest.approx(0.0, abs=1e-6 * many.seconds)
