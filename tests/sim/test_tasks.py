"""Tasks on servers in order, and the pipeline schedules made of them: bubbles in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest

from hwsim.errors import ModelError
from hwsim.sim.schedule import order
from hwsim.sim.tasks import Task, timeline


def pipeline(stages: int, chunks: int, micro_batches: int, forward: Fraction, backward: Fraction):
    """The timeline of a pipeline of equal stages: waits that follow from the model alone."""
    last = stages * chunks - 1
    turns = [order(stage, stages, chunks, micro_batches) for stage in range(stages)]
    numbers = {turn: i for i, turn in enumerate(turn for each in turns for turn in each)}
    tasks = []
    for stage, each in enumerate(turns):
        for forward_, chunk, micro in each:
            if forward_:
                needs = [(True, chunk - 1, micro)] if chunk else []
            else:
                needs = [(True, chunk, micro)] + ([(False, chunk + 1, micro)] if chunk < last else [])
            length = forward if forward_ else backward
            tasks.append(Task(stage, length, tuple(numbers[n] for n in needs)))
    return timeline(tasks, [[numbers[turn] for turn in each] for each in turns])


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("chunks", [1, 2, 3, 5])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_bubble_of_equal_stages(stages, chunks, rounds):
    """Idle over ideal time is (p - 1) / (v m), for any times of the two passes (arXiv 2104.04473, section 2.2)."""
    if stages == 1 and chunks > 1:
        return
    micro_batches, forward, backward = stages * rounds, Fraction(3, 7), Fraction(10, 11)
    found = pipeline(stages, chunks, micro_batches, forward, backward)
    ideal = chunks * micro_batches * (forward + backward)
    assert set(found.busy) == {ideal}
    assert (found.end - ideal) / ideal == Fraction(stages - 1, chunks * micro_batches)


def test_1f1b_with_any_number_of_micro_batches():
    found = pipeline(4, 1, 6, Fraction(1), Fraction(2))
    assert found.end == (6 + 3) * 3


@pytest.mark.parametrize("stages,chunks,micro_batches", [(4, 1, 7), (4, 3, 8), (2, 4, 2)])
def test_every_pass_once(stages, chunks, micro_batches):
    turns = [turn for stage in range(stages) for turn in order(stage, stages, chunks, micro_batches)]
    assert len(turns) == len(set(turns)) == 2 * stages * chunks * micro_batches
    assert all(t.chunk % stages == s for s in range(stages) for t in order(s, stages, chunks, micro_batches))


def test_1f1b_holds_as_many_micro_batches_as_stages_follow():
    """A stage never holds more forward passes whose backward is to come than the stages from it to the end."""
    for stage in range(5):
        held = most = 0
        for turn in order(stage, 5, 1, 20):
            held += 1 if turn.forward else -1
            most = max(most, held)
        assert most == 5 - stage


def test_a_task_waits_for_its_server_and_for_others():
    """By hand: server 0 takes 3 then 2; a task of server 1 starts 1 after the first has ended, and its next at once."""
    tasks = [Task(0, 3), Task(0, 2), Task(1, 5, (0,), 1), Task(1, 1, (1,))]
    found = timeline(tasks, [[0, 1], [2, 3]])
    assert found.ends == (3, 5, 9, 10)
    assert found.busy == (5, 6)
    assert found.end == 10


def test_a_circle_is_refused():
    with pytest.raises(ModelError):
        timeline([Task(0, 1, (1,)), Task(1, 1, (0,))], [[0], [1]])
    with pytest.raises(ModelError):
        timeline([Task(0, 1)], [[]])
