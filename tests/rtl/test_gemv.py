"""The GEMV unit as RTL: y bit by bit, its cycles those that the simulator predicted."""

import json

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from tests.rtl.gemv_cases import Case
from tests.rtl.gemv_run import predict, run_rtl
from tests.verification.cosim_grid import ENGINES, GEMM_NUMBERS, GEMMS, grid

ALL_BANK = {"kind": "all_bank", "period": "97 cycle", "stall": "13 cycle"}


def machine(engine: dict, beat: int, bandwidth: str, latency: int, refresh=None) -> str:
    """The text of a GEMV machine, or of a GEMM machine where the engine has a tile."""
    dram = {"bandwidth": f"{bandwidth} B/cycle", "latency": f"{latency} cycle", "beat": f"{beat} B"}
    dram |= {"capacity": "1 GB", "refresh": refresh or {"kind": "none"}}
    return json.dumps(
        {"name": "e", "description": "d", "clock": "100 MHz", "dram": dram}
        | {"gemm" if "tile" in engine else "gemv": engine}
    )


def agree(cases, tmp_path, monkeypatch) -> list[int]:
    """Errors in cycles; y must be equal bit by bit, and every beat asked for once."""
    predicted = predict(cases, tmp_path)
    found = run_rtl(cases, tmp_path, monkeypatch)
    for case, one in zip(cases, found, strict=True):
        assert (one["rows"], one["wrong"], one["beats"]) == (case.m * case.n, [], one["beats_stored"])
    return [one["cycles"] - cycles for one, cycles in zip(found, predicted, strict=True)]


SMALL = {"weights": "mxfp4_e2m1", "activations": "mxfp4_e2m1", "fifo": 8, "k_max": 128}
CASES = [
    Case(machine(SMALL, 8, "1", 20), 1, 64),  # its padding is still on the way when y has left: the next must wait
    Case(machine(SMALL, 8, "8", 20), 13, 64),
    Case(machine(SMALL, 8, "5.3", 1, ALL_BANK), 20, 70, 1),
    Case(machine(SMALL, 8, "16", 5), 40, 100, 2, 0.3),
]


@pytest.mark.simulator
def test_rtl_agrees_with_the_simulator(tmp_path, monkeypatch):
    assert agree(CASES, tmp_path, monkeypatch) == [0, 0, 0, 0]


SEEDS = {"weights": "seedlm3", "activations": "mxfp4_e2m1", "target": "mxfp4_e2m1", "decoders": 3, "fifo": 4}
SEEDS |= {"results": 2, "k_max": 192}
SEED_CASES = [
    Case(machine(SEEDS, 8, "8", 4), 15, 100),
    Case(machine(SEEDS, 8, "3.1", 9, ALL_BANK), 7, 192, 1, 0.5),
]


@pytest.mark.simulator
def test_an_engine_for_seeds_with_few_results_and_a_small_fifo(tmp_path, monkeypatch):
    """The turn buffer, requests held back by a FIFO of four beats, and rows held back by two slots for results."""
    assert agree(SEED_CASES, tmp_path, monkeypatch) == [0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_every_grid_is_what_the_page_promises(seed):
    drawn = list(grid(seed))
    kinds = [d.kind for d in drawn]
    assert min(kinds.count(kind) for kind in ("starved", "balanced", "compute")) >= 20
    assert sum(d.uneven for d in drawn) >= 10 and sum(not d.disturbed for d in drawn) >= 20
    assert len({d.case.arch.gemv for d in drawn}) == len(ENGINES) <= 10


@pytest.mark.parametrize("seed", range(3))
def test_every_grid_of_gemms_is_what_the_page_promises(seed):
    drawn = list(grid(seed, GEMM_NUMBERS))
    kinds = [d.kind for d in drawn]
    assert len(drawn) >= 60 and min(kinds.count(kind) for kind in ("starved", "balanced", "compute")) >= 20
    assert kinds.count("sink") >= 4 and sum(d.uneven for d in drawn) >= 10
    assert {d.case.arch.gemv for d in drawn} == set(GEMMS)
    assert (
        sum(len(d.case.tiles) > 1 for d in drawn) >= 20
        and sum(d.case.m % d.case.arch.gemv.tile > 0 for d in drawn) >= 20
    )
