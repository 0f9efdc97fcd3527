"""The GEMM unit as RTL: y bit by bit, its cycles those that the simulator predicted."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from tests.rtl.gemv_cases import Case
from tests.rtl.test_gemv import ALL_BANK, agree, machine
from tests.verification.cosim_grid import GEMM_NUMBERS, grid

BLOCKS = {"weights": "mxfp4_e2m1", "activations": "mxfp4_e2m1", "dot_units": 2, "fifo": 5, "results": 3, "k_max": 128}
SEEDS = {"weights": "seedlm4", "decoders": 3, "target": "mxfp4_e2m1", "fifo": 6, "k_max": 128}


@pytest.mark.simulator
@pytest.mark.parametrize(
    "engine, beat, rates",
    [(BLOCKS | {"tile": 3}, 8, ("8", "5.3", "16")), (SEEDS | {"tile": 2}, 16, ("16", "9", "32"))],
    ids=["blocks", "seeds"],
)
def test_rtl_agrees_with_the_simulator(engine, beat, rates, tmp_path, monkeypatch):
    """One tile, several, a short one; refresh; a sink that stalls; groups that are mostly padding."""
    cases = [
        Case(machine(engine, beat, rates[0], 20), 13, 64, m=engine["tile"]),
        Case(machine(engine, beat, rates[1], 1, ALL_BANK), 30, 70, 1, m=2 * engine["tile"] + 1),
        Case(machine(engine, beat, rates[2], 5), 28, 100, 2, 0.3, m=engine["tile"] + 1),
        Case(machine(engine, beat, "0.7", 9), 1, 128, 3, m=2 * engine["tile"]),
    ]
    assert agree(cases, tmp_path, monkeypatch) == [0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.parametrize("number", GEMM_NUMBERS)
def test_random_gemms_take_the_predicted_cycles(number, tmp_path, monkeypatch):
    """All kinds of cases on each unit of the grid: 64 in all."""
    cases = [drawn.case for drawn in grid(0, [number])]
    assert agree(cases, tmp_path, monkeypatch) == [0] * len(cases) and len(cases) >= 12
