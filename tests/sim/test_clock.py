"""Both drivers, and the loops that they skip, against a clock that goes tick by tick."""

import pytest
from hypothesis import given, settings

from hwsim.mapping.program import DRAM
from hwsim.sim.engine import DRIVERS, simulate
from tests.sim.clock import Clock
from tests.sim.machines import pipelines


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("reuse", [True, False])
@settings(max_examples=60, deadline=None)
@given(drawn=pipelines())
def test_every_op_ends_at_the_tick_that_a_clock_says(driver, reuse, drawn):
    pipeline, programs = drawn
    ticks, by_op = Clock(pipeline, programs).run()
    found = simulate(pipeline, programs, DRAM, driver, reuse)
    assert found.ticks == ticks
    assert list(found.by_op) == by_op


@settings(max_examples=15, deadline=None)
@given(drawn=pipelines(longest=120))
def test_long_loops_end_at_the_tick_that_a_clock_says(drawn):
    pipeline, programs = drawn
    assert simulate(pipeline, programs[:3], DRAM).ticks == Clock(pipeline, programs[:3]).run()[0]
