"""The engine in gates: y bit by bit, its cycles those that the simulator predicted."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from gemv_cases import Case
from gemv_run import predict, run_gates

from rtl.gemv import GemvUnit

ALL_BANK = {"kind": "all_bank", "period": "97 cycle", "stall": "13 cycle"}


def machine(engine: dict, beat: int, bandwidth: str, latency: int, refresh=None) -> str:
    """The text of an engine machine."""
    dram = {"bandwidth": f"{bandwidth} B/cycle", "latency": f"{latency} cycle", "beat": f"{beat} B"}
    dram |= {"capacity": "1 GB", "refresh": refresh or {"kind": "none"}}
    return json.dumps({"name": "e", "description": "d", "clock": "100 MHz", "dram": dram, "engine": engine})


def agree(cases, tmp_path, monkeypatch, unit=None) -> list[int]:
    """Errors in cycles; y must be equal bit by bit, and every beat asked for once."""
    predicted = predict(cases, tmp_path)
    found = run_gates(cases, tmp_path, monkeypatch, unit)
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
def test_a_shallower_fifo_is_seen(tmp_path, monkeypatch):
    spec = CASES[0].arch.engine
    errors = agree(CASES, tmp_path, monkeypatch, GemvUnit(replace(spec, fifo=spec.fifo - 1)))
    assert errors[0] > 0
