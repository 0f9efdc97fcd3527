"""The engine in gates: y bit by bit, its cycles those that the simulator predicted."""

import json

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from tests.rtl.gemv_cases import Case
from tests.rtl.gemv_run import predict, run_gates
from tests.verification.cosim import grid_jobs, mutants, run
from tests.verification.cosim_grid import ENGINES, grid
from tests.verification.cosim_page import Grid, cases_table

ALL_BANK = {"kind": "all_bank", "period": "97 cycle", "stall": "13 cycle"}


def machine(engine: dict, beat: int, bandwidth: str, latency: int, refresh=None) -> str:
    """The text of an engine machine."""
    dram = {"bandwidth": f"{bandwidth} B/cycle", "latency": f"{latency} cycle", "beat": f"{beat} B"}
    dram |= {"capacity": "1 GB", "refresh": refresh or {"kind": "none"}}
    return json.dumps({"name": "e", "description": "d", "clock": "100 MHz", "dram": dram, "gemv": engine})


def agree(cases, tmp_path, monkeypatch) -> list[int]:
    """Errors in cycles; y must be equal bit by bit, and every beat asked for once."""
    predicted = predict(cases, tmp_path)
    found = run_gates(cases, tmp_path, monkeypatch)
    for case, one in zip(cases, found, strict=True):
        assert (one["rows"], one["wrong"], one["beats"]) == (case.n, [], one["beats_stored"])
    return [one["cycles"] - cycles for one, cycles in zip(found, predicted, strict=True)]


SMALL = {"weights": "mxfp4_e2m1", "activations": "mxfp4_e2m1", "fifo": 8, "k_max": 128}
CASES = [
    Case(machine(SMALL, 8, "8", 20), 13, 64),
    Case(machine(SMALL, 8, "5.3", 1, ALL_BANK), 20, 70, 1),
    Case(machine(SMALL, 8, "16", 5), 40, 100, 2, 0.3),
]


def test_gates_agree_with_the_simulator(tmp_path, monkeypatch):
    assert agree(CASES, tmp_path, monkeypatch) == [0, 0, 0]


@pytest.mark.slow
def test_cosim_quick(tmp_path):
    """Six of `make cosim`'s products on one engine: starved, balanced, bound by compute; refresh; a stalling sink."""
    drawn = list(grid(1, [1], each=2))
    (found,) = run(grid_jobs(drawn), tmp_path / "cosim", 1).values()
    assert {d.kind for d in drawn} == {"starved", "balanced", "compute"} and any(d.disturbed for d in drawn)
    assert [(f["cycles"], f["wrong"]) for f in found] == [(f["predicted"], []) for f in found]
    assert cases_table(Grid(1, drawn, found)).count("equal") == len(drawn) == 6


@pytest.mark.slow
def test_mutants_are_seen(tmp_path):
    wrong = mutants(list(grid(0)))
    found = run(list(dict.fromkeys(each.job for each in wrong)), tmp_path / "cosim", 2)
    for each in wrong:
        assert each.of(found).seen(), each.name
        assert not any(one["wrong"] for one in each.of(found).found)


@pytest.mark.parametrize("seed", range(3))
def test_every_grid_is_what_the_page_promises(seed):
    drawn = list(grid(seed))
    kinds = [d.kind for d in drawn]
    assert min(kinds.count(kind) for kind in ("starved", "balanced", "compute")) >= 20
    assert sum(d.uneven for d in drawn) >= 10 and sum(not d.disturbed for d in drawn) >= 20
    assert len({d.case.arch.gemv for d in drawn}) == len(ENGINES) <= 10
