"""The GEMM unit as RTL: y bit by bit, its cycles those that the simulator predicted."""

from functools import partial

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from hwsim.specs import Gemm, Gemv
from rtl.emit import netlist
from rtl.gemv import GemvUnit
from rtl.identity import netlist_sha256
from tests.rtl.gemv_cases import Case
from tests.rtl.simulator import prefer_verilator
from tests.rtl.test_gemv import ALL_BANK, agree, machine
from tests.verification.cosim_grid import GEMM_NUMBERS, grid

BLOCKS = {"weights": "mxfp4_e2m1", "activations": "mxfp4_e2m1", "dot_units": 2, "fifo": 4, "results": 3, "k_max": 128}
SEEDS = {"weights": "seedlm4", "decoders": 3, "target": "mxfp4_e2m1", "fifo": 4, "k_max": 128}


@pytest.mark.slow
def test_one_row_of_x_is_the_netlist_of_gemv():
    """Names aside."""
    gemv, gemm = (netlist(GemvUnit(kind(**BLOCKS)), "top") for kind in (Gemv, partial(Gemm, tile=1)))
    assert netlist_sha256(gemm) == netlist_sha256(gemv)


@pytest.mark.simulator
@pytest.mark.parametrize(
    "engine, beat, rates",
    [(BLOCKS | {"tile": 3}, 8, ("8", "5.3", "16")), (SEEDS | {"tile": 2}, 16, ("16", "9", "32"))],
    ids=["blocks", "seeds"],
)
def test_rtl_agrees_with_the_simulator(engine, beat, rates, tmp_path, monkeypatch):
    """One tile; several with a short one and refresh; a sink that stalls; one row of W, whose group is read long after
    x of the next tile is loaded."""
    cases = [
        Case(machine(engine, beat, rates[0], 20), 13, 64, m=engine["tile"]),
        Case(machine(engine, beat, rates[1], 1, ALL_BANK), 14, 70, 1, m=2 * engine["tile"] + 1),
        Case(machine(engine, beat, rates[2], 5), 28, 40, 2, 0.3, m=engine["tile"] + 1),
        Case(machine(engine, beat, "2", 9), 1, 64, 3, m=2 * engine["tile"]),
    ]
    assert agree(cases, tmp_path, monkeypatch) == [0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.simulator
@pytest.mark.parametrize("number", GEMM_NUMBERS)
def test_random_gemms_take_the_predicted_cycles(number, tmp_path, monkeypatch):
    """All kinds of cases on each unit of the grid: 64 in all."""
    prefer_verilator(monkeypatch)
    cases = [drawn.case for drawn in grid(0, [number])]
    assert agree(cases, tmp_path, monkeypatch) == [0] * len(cases) and len(cases) >= 12
