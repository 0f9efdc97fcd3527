"""Broken copies of the GEMM unit: a line of its RTL changed where several rows of x meet; each must be seen."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from rtl.gemv import GemvUnit
from tests.rtl.gemv_cases import Case
from tests.rtl.gemv_run import predict, run_rtl
from tests.rtl.mutation import Line, fresh
from tests.rtl.test_gemv import machine

UNIT = {"weights": "mxfp4_e2m1", "activations": "mxfp4_e2m1", "dot_units": 2, "fifo": 8, "results": 3, "k_max": 64}
MACHINE = machine(UNIT | {"tile": 3}, 16, "16", 12)
CASES = [Case(MACHINE, 21, 64, m=5), Case(MACHINE, 40, 40, 1, 0.4, m=3), Case(MACHINE, 1, 64, 2, m=5)]
"""Two tiles, the second short; results that wait for a sink that stalls; a group of which one row is not padding."""

MUTANTS = {
    "every dot unit takes the first row of x": Line("gemv", "Cat(x[row_of_x], block, last)", "Cat(x[0], block, last)"),
    "every row of x takes its neighbour's blocks": Line(
        "gemv", "(self.x.payload.row == row)", "(self.x.payload.row == (row + 1) % self.spec.tile)"
    ),
    "every block of x is written to all rows": Line("gemv", "self.x.valid & (self.x.payload.row == row)",
                                                    "self.x.valid"),
    "units of one row of x take another row of W": Line(
        "gemv", "divmod(i, spec.tile)", "divmod(i, spec.tile)[0] ^ 1, i % spec.tile"
    ),
    "results of rows that a short tile lacks leave too": Line(
        "gemv", "Signal(range(spec.tile)), self._held.m - 1", "Signal(range(spec.tile)), spec.tile - 1"
    ),
    "the first row's result leaves for each": Line("gemv", "value.word_select(row_of_x, 32)", "value[:32]"),
    "last comes with the first result of the last row": Line(
        "gemv", "ends & (row_of_x == last_of_x), leaves", "ends, leaves"
    ),
    "a slot comes free with each row's first result": Line(
        "gemv", "leaves & (row_of_x == last_of_x)\n", "leaves & (row_of_x == 0)\n"
    ),
    "a slot too many": Line("gemv", "(promised != spec.results) |", "(promised != spec.results + 1) |"),
    "rows that fill up a group wait for a slot": Line("gemv", "(promised != spec.results) | self._finished",
                                                       "promised != spec.results"),
    "x is not taken while the unit is busy": Line("gemv", "self.x.ready.eq(1)", "self.x.ready.eq(~self._busy)"),
    "a command while the last tile is read": Line("gemv", "m.Elif(self._finished & drained)", "m.Elif(self._finished)"),
}  # fmt: skip


def broken(line: Line) -> GemvUnit:
    """The unit of the cases with that line."""
    return fresh(line).gemv.GemvUnit(CASES[0].arch.gemv)


@pytest.mark.parametrize("name", MUTANTS)
def test_change_applies_exactly_once(name):
    broken(MUTANTS[name])


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.simulator
@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_seen(name, tmp_path, monkeypatch):
    """In cycles, in y, or by what the bench checks of each transfer."""
    predicted = predict(CASES, tmp_path)
    try:
        found = run_rtl(CASES, tmp_path, monkeypatch, broken(MUTANTS[name]))
    except AssertionError:
        return
    assert any(one["cycles"] != cycles or one["wrong"] for one, cycles in zip(found, predicted, strict=True))
