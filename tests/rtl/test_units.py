"""Every unit in Amaranth's simulator: value and time in each cycle, with a reset in mid-stream."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from rtl.catalog import interleave
from tests.rtl.amaranth_bench import run_trial
from tests.rtl.trial import Trial
from tests.rtl.units import BY_NAME, SMALL


def inside(spec) -> int:
    """Cycles until a unit is full and the sum of each of its rows has been written at least once."""
    latency = spec.timing.latency if hasattr(spec, "timing") else 0
    return max(17, 2 * latency + (interleave(spec) or 0))


@pytest.mark.parametrize("unit", SMALL, ids=lambda unit: unit.name)
def test_value_and_time(unit):
    n = 400 if unit.name.startswith(("acc", "scale")) else 80
    trial = Trial(unit.spec.cycle_model(), unit.draw(n), 0.8, 0.7)
    run_trial(unit.build(), trial)
    assert trial.accepted == n


@pytest.mark.parametrize("unit", SMALL, ids=lambda unit: unit.name)
def test_reset_in_mid_stream_is_a_new_unit(unit):
    """What was inside is lost; what comes after is as if nothing had been, sums of rows included."""
    reset_at = inside(unit.spec)
    trial = Trial(unit.spec.cycle_model(), unit.draw(reset_at + 3, seed=1), 0.9, 0.9)
    after = unit.draw(60, seed=2)
    run_trial(unit.build(), trial, reset_at=reset_at, after=after)
    assert trial.accepted >= 60


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [BY_NAME[name] for name in ("dot3_e5m2", "dot1_e5m2_int8", "acc4_e5m2_interleave_20", "mac3_int8", "mac1_e5m2")],
    ids=lambda unit: unit.name,
)
def test_at_length(unit):
    """Enough cases for what seldom happens: some mutants are seen by this test alone."""
    trial = Trial(unit.spec.cycle_model(), unit.draw(4000, seed=3), 0.9, 0.9)
    run_trial(unit.build(), trial)
    assert trial.accepted == 4000
