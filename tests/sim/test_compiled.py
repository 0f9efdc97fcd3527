"""The compiled walk gives what the plain one gives, and leaves to it what does not fit."""

from dataclasses import replace

import numba.core.caching
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import ACTIVATIONS, DOT, DRAM, OUTPUTS, WEIGHTS, Program, Step, Tile
from hwsim.sim.compiled import BEYOND, LONGEST, Compiled, _jit, compiled
from hwsim.sim.engine import Simulator, simulate
from hwsim.study import load_study
from hwsim.study.work import run_study
from tests.sim.machines import WEIGHTS_OF, archs, job, op_lists, pipelines

MACHINE = Pipeline(q=3, latency=(20, 0, 0, 0, 7, 0, 0, 0, 0, 0), capacity=(40, 100, 100, 4, 4, 4, 4))
READ, STORE = Step(DRAM, 40, 4, ((WEIGHTS, 10),)), Step(DRAM, 12, 4, (), ((OUTPUTS, 50),))
WORK = Step(DOT, 55, 3, (), ((WEIGHTS, 10),), True)


def everything(outcome):
    return outcome.ticks, outcome.by_op, outcome.causes


@settings(max_examples=300, deadline=None)
@given(pipelines(longest=60), st.sampled_from([DRAM, DOT]))
def test_every_tick_as_when_each_tile_is_walked(drawn, watch):
    pipeline, programs = drawn
    pipeline = replace(pipeline, period=0, stall=0)
    fast = Compiled(pipeline, watch)
    fast.plain = None  # all of it is compiled
    for order in (programs, programs[::-1], programs):  # with what is known by then
        assert everything(fast.run(order)) == everything(simulate(pipeline, order, watch, reuse=False))
        assert fast.ticks(order, [(range(len(order)), 1)]) == fast.run(order).ticks


@settings(max_examples=25, deadline=None)
@given(archs(), op_lists(), st.sampled_from(WEIGHTS_OF))
def test_random_machines_and_ops(arch, ops, weights):
    plain, fast = job(arch, ops, weights), job(arch, ops, weights)
    fast.simulator = compiled
    assert fast.choice[0] == plain.choice[0]
    assert everything(fast.simulate("walk")) == everything(plain.simulate("walk", reuse=False))


def run(times, pipeline=MACHINE, read=READ):
    """Tiles that read and work, and at the end of them one that writes: compiled and plain."""
    last = Tile((read, WORK._replace(takes=((OUTPUTS, 50),))), STORE)
    program = Program.of([((Tile((read, WORK), None, False),), times), ((last,), 1)], 2, True)
    whole = [program, program]
    return everything(compiled(pipeline, DRAM).run(whole)), everything(Simulator(pipeline, DRAM).run(whole))


HUGE = ((ACTIVATIONS, 1 << 66),)


@pytest.mark.parametrize(
    "times, pipeline, read",
    [
        (LONGEST - 1, MACHINE, READ),
        (LONGEST, MACHINE, READ),
        (9, replace(MACHINE, period=500, stall=70), READ),
        (9, replace(MACHINE, q=BEYOND), READ),
        (9, replace(MACHINE, latency=(BEYOND, *MACHINE.latency[1:])), READ),
        (9, replace(MACHINE, capacity=(1 << 70, *MACHINE.capacity[1:])), READ),
        (9, MACHINE, READ._replace(interval=BEYOND // 8)),  # more than 64 bits hold when it has come nine times
        (9, MACHINE, READ._replace(interval=1 << 80)),
        (9, replace(MACHINE, capacity=(40, 1 << 70, 100)), READ._replace(takes=(*READ.takes, *HUGE), gives=HUGE)),
    ],
)
def test_what_does_not_fit_64_bits_runs_all_the_same(times, pipeline, read):
    fast, plain = run(times, pipeline, read)
    assert fast == plain


def test_the_lines_of_a_study_are_those_of_the_plain_walk(tmp_path, monkeypatch):
    """Two of its points are plain, the others compiled; by this process, and by two."""
    file = tmp_path / "study.yaml"
    file.write_text(
        "name: s\ndescription: bandwidths\nmachine: m0\nmodel: mamba2-130m\nrun: {context: 64, weights: int8}\n"
        "grid: {machine.dram.bandwidth: [10 GB/s, 30 GB/s, 70 GB/s, 90 GB/s, 95 GB/s, 200 GB/s, 330 GB/s]}\n"
    )
    run_study(load_study(file), tmp_path / "plain", workers=1)
    wanted = sorted((tmp_path / "plain" / "points.jsonl").read_text().splitlines())
    monkeypatch.setattr("hwsim.study.work.COMPILED", 2)
    monkeypatch.setattr("hwsim.study.work.PLAIN_FIRST", 2)
    for workers in (1, 2):
        out = tmp_path / f"compiled{workers}"
        run_study(load_study(file), out, workers)
        assert sorted((out / "points.jsonl").read_text().splitlines()) == wanted


def test_compiles_where_no_folder_can_be_written(monkeypatch):
    """Numba then refuses to keep what it compiles."""
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    def twice(number):
        return 2 * number

    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(twice)
    assert _jit(twice)(21) == 42
