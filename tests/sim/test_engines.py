"""SimPy and the walk agree to the tick; reuse changes nothing; every tick has one cause."""

from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st

from hwsim.errors import InputError
from hwsim.jobs.run import checked_job
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DOT, DRAM, OUTPUTS, WEIGHTS, Program, Step, Tile
from hwsim.sim import loops
from hwsim.sim.compiled import compiled
from hwsim.sim.engine import DRIVERS, Simulator, simulate
from hwsim.sim.refresh import stretch
from hwsim.sim.walk import walk
from tests.sim.machines import WEIGHTS_OF, archs, job, op_lists, pipelines

many = settings(max_examples=150, deadline=None)
some = settings(max_examples=25, deadline=None)


def everything(outcome):
    return outcome.ticks, outcome.by_op, outcome.causes


@many
@given(pipelines(), st.sampled_from([DRAM, DOT]))
def test_drivers_and_reuse_agree_on_random_pipelines(drawn, watch):
    pipeline, programs = drawn
    first = simulate(pipeline, programs, watch, "walk")
    for driver in ("walk", "simpy"):
        for reuse in (True, False):
            assert everything(simulate(pipeline, programs, watch, driver, reuse)) == everything(first)
    assert sum(first.by_op) == first.ticks == sum(first.causes.values())


@pytest.mark.parametrize("driver, longest", [("walk", 400), ("simpy", 60)])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_loops_by_periods_and_drift_are_exact(driver, longest, data):
    """Every end, every op and every cause as when each tile is simulated; drift is tried early."""
    pipeline, programs = data.draw(pipelines(longest))
    watch, patience = data.draw(st.sampled_from([DRAM, DOT])), data.draw(st.integers(1, 9))
    whole = simulate(pipeline, programs, watch, driver, reuse=False)
    with patch.object(loops, "WHOLE", 2), patch.object(loops, "PATIENCE", patience):
        assert everything(simulate(pipeline, programs, watch, driver)) == everything(whole)


@contextmanager
def counted():
    """A list that receives how many tiles each call of the walk gets."""
    passed = []

    def counting(pipeline, state, tiles, flush=False, spans=None):
        tiles = list(tiles)
        passed.append(len(tiles))
        return walk(pipeline, state, tiles, flush, spans)

    with patch.dict(DRIVERS, walk=counting):
        yield passed


@many
@given(pipelines(), st.data())
def test_repeated_blocks_take_what_they_take_one_after_the_other(drawn, data):
    """Blocks of programs, repeated up to 60 times, against each program of each repetition in order."""
    pipeline, programs = drawn
    blocks = st.lists(st.integers(0, len(programs) - 1), min_size=1, max_size=4)
    runs = data.draw(st.lists(st.tuples(blocks, st.integers(1, 60)), min_size=1, max_size=3))
    order = [number for block, times in runs for number in block * times]
    want = simulate(pipeline, [programs[number] for number in order], DRAM, "walk", reuse=len(order) > 50).ticks
    assert Simulator(pipeline, DRAM).ticks(programs, runs) == want


def test_most_of_a_long_run_is_not_simulated():
    """Two buffers of different periods, and a write three reads behind: 90,000 tiles, some hundreds simulated."""
    store = Step(DRAM, 3, 1, (), ((OUTPUTS, 7),))
    taking = Step(DOT, 9, 1, ((OUTPUTS, 7),), ((WEIGHTS, 3),), True)
    tiles = (Tile((read(5, 3), taking), store), Tile((read(4, 11), dot(2, 11)), None, False))
    long = Program.of([(tiles, 45_000)], distance=3, flush=True)
    plain = simulate(IDEAL, [long, long], DRAM, reuse=False)
    with counted() as passed:
        assert everything(simulate(IDEAL, [long, long], DRAM)) == everything(plain)
    assert sum(passed) < 1000


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("slower", [1, 7, 100])
def test_a_deep_buffer_fills_in_one_step(driver, slower):
    """The channel runs ahead of the dot array until 20,000 tiles wait in the buffer: a few passes tell it all."""
    deep = replace(IDEAL, capacity=(20_000, 100, 100, 4, 4))
    tiles = (Tile((read(100), dot(100 + slower))),)
    long = Program.of([(tiles, 90_000)])
    plain = simulate(deep, [long, long], DOT, reuse=False)
    with counted() as passed:
        assert everything(simulate(deep, [long, long], DOT, driver)) == everything(plain)
    assert sum(passed) < 2000


@some
@given(archs(), op_lists(), st.sampled_from(["bf16", "nvfp4", "seedlm3", "seedlm4"]))
def test_drivers_and_reuse_agree_on_random_machines_and_ops(arch, ops, weights):
    run = job(arch, ops, weights)
    want = everything(run.simulate("walk"))
    assert everything(run.simulate("simpy")) == want
    assert everything(run.simulate("walk", reuse=False)) == want
    assert everything(run.simulate("simpy", reuse=False)) == want


@pytest.mark.slow
@seed(17)
@settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(archs(), op_lists(), st.sampled_from(WEIGHTS_OF), st.booleans())
def test_drivers_agree_on_500_random_machines_and_ops(arch, ops, weights, early):
    """SimPy with and without reuse, the walk with it and the compiled walk against each tile walked; periods and drift
    looked for early in half of the cases."""
    run = job(arch, ops, weights)
    try:
        want = everything(run.simulate("walk", reuse=False))
    except InputError:
        assume(False)  # no tile of the menu fits this machine's buffers
    with patch.object(loops, "WHOLE", 2 if early else loops.WHOLE), patch.object(loops, "PATIENCE", 2):
        programs, watch = [tiled.program for tiled in run.choice[1]], run.limiting
        for driver in DRIVERS:
            assert everything(simulate(run.pipeline, programs, watch, driver)) == want, driver
    assert everything(run.simulate("simpy", reuse=False)) == want
    assert everything(compiled(run.pipeline, watch).run(programs)) == want


SHIPPED = [
    (machine, model, phase, batch, weights)
    for machine, model, weights in (
        ("m0", "llama3-8b", "int8"),
        ("h200-sxm", "llama3-8b", "fp8"),
        ("h200-sxm", "nemotron3-nano-30b-a3b", "bf16"),
        ("h200-sxm-regen", "nemotron3-nano-30b-a3b", "seedlm3"),
    )
    for phase, batch in (("decode", 1), ("decode", 64), ("prefill", 1))
]


@pytest.mark.parametrize("machine, model, phase, batch, weights", SHIPPED)
def test_drivers_agree_on_whole_models(machine, model, phase, batch, weights):
    run = checked_job(machine, model, phase=phase, batch=batch, context=2048, weights=weights)
    want = run.simulate("walk")
    got = run.simulate("simpy")
    assert everything(got) == everything(want)
    assert want.simulated < len(run.ops) / 3, "equal layers are simulated once"


@pytest.mark.slow
@pytest.mark.parametrize("machine, model, phase, batch, weights", SHIPPED)
def test_reuse_changes_nothing_on_whole_models(machine, model, phase, batch, weights):
    run = checked_job(machine, model, phase=phase, batch=batch, context=2048, weights=weights)
    assert everything(run.simulate("walk", reuse=False)) == everything(run.simulate("walk"))


def brute_stretch(start, work, period, stall):
    """Tick by tick: the channel stops in [k*period - stall, k*period), k >= 1."""
    now, done = start, 0
    while done < work:
        phase = now % period
        done += phase < period - stall
        now += 1
    return now - start


@given(st.integers(0, 400), st.integers(0, 300), st.integers(2, 60), st.data())
def test_refresh_equals_brute_force(start, work, period, data):
    stall = data.draw(st.integers(1, period - 1))
    assert stretch(start, work, period, stall) == brute_stretch(start, work, period, stall)


def one(*tiles, distance=1):
    return Program.of([(tuple(tiles), 1)], distance)


IDEAL = Pipeline(q=1, latency=(10, 0, 0, 0, 4, 0, 0, 0, 0, 0), capacity=(100, 100, 100, 4, 4))


def read(interval, nbytes=1):
    return Step(DRAM, interval, 1, ((WEIGHTS, nbytes),), ())


def dot(interval, nbytes=1):
    return Step(DOT, interval, 1, (), ((WEIGHTS, nbytes),), True)


@pytest.mark.parametrize("driver", ["walk", "simpy"])
class TestByHand:
    """Small cases worked out on paper: each edge, two-sided."""

    def ticks(self, driver, *tiles, pipeline=IDEAL, distance=1):
        return simulate(pipeline, [one(*tiles, distance=distance)], DRAM, driver).ticks

    def test_one_beat(self, driver):
        """Accepted at 0, offered by the DRAM at 10, by the dot array at 14; cycles = that edge + 1."""
        assert self.ticks(driver, Tile((read(1), dot(1)))) == 15

    def test_cut_through_adds_no_tile_time(self, driver):
        """100 beats: the last is accepted by the DRAM at 99, and leaves 14 edges later."""
        assert self.ticks(driver, Tile((read(100), dot(100)))) == 99 + 14 + 1

    def test_slow_consumer_sets_the_pace(self, driver):
        """First beat at the dot array at 10, its 300 cycles end at 310, the last result at 310 - 1 + 4."""
        assert self.ticks(driver, Tile((read(100), dot(300)))) == 310 - 1 + 4 + 1

    def test_a_full_buffer_holds_the_read_back(self, driver):
        """Room for one tile: the second read starts when the dot array has let go of the first."""
        narrow = Pipeline(q=1, latency=IDEAL.latency, capacity=(1, 1, 1, 1, 1))
        first_released = 10 + 5
        second = Tile((read(5), dot(5)))
        assert self.ticks(driver, second, second, pipeline=narrow) == first_released + 10 + 5 - 1 + 4 + 1

    def test_a_write_waits_for_its_place(self, driver):
        """Its data is there at 14, but it is placed after the second read (20 to 40), and takes 7."""
        write = Step(DRAM, 7, 1, (), ((OUTPUTS, 1),))
        taking = Step(DOT, 1, 1, ((OUTPUTS, 1),), ((WEIGHTS, 1),), True)
        tiles = Tile((read(20), taking), write), Tile((read(20), dot(1)), None, False)
        assert self.ticks(driver, *tiles) == 40 + 7

    def test_back_to_back_ops_share_the_channel(self, driver):
        """The next op's read follows at once; its dot waits for the first op's last result."""
        long = one(Tile((read(10), dot(50))))
        got = simulate(IDEAL, [long, long], DRAM, driver)
        assert got.by_op == (10 + 50 - 1 + 4 + 1, 50 - 1 + 4)
