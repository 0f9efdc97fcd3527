"""Cases of one GEMV unit: prediction first, on disk; then the RTL."""

import json
from pathlib import Path

from rtl.emit import emit
from rtl.gemv import GemvUnit
from tests.rtl.gemv_cases import Case
from tests.rtl.simulator import run_bench


def predict(cases: list[Case], folder: Path) -> list[int]:
    """Cycles by the simulator, written to `folder/predicted.json` before any RTL is made."""
    cycles = [case.predicted() for case in cases]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predicted.json").write_text(json.dumps(cycles))
    return cycles


def run_rtl(
    cases: list[Case], folder: Path, monkeypatch, unit: GemvUnit | None = None, runtime: Path | None = None
) -> list[dict]:
    """What `bench_gemv` finds of cases that share one engine.

    unit: other RTL in its place (a mutant). runtime: as `run_bench` takes it.
    """
    (engine,) = {case.arch.gemv for case in cases}
    paths = folder / "cases.json", folder / "results.json"
    paths[0].write_text(json.dumps([case.plain() for case in cases]))
    verilog = emit(unit or GemvUnit(engine), "top")
    env = {"HWSIM_GEMV_CASES": str(paths[0]), "HWSIM_GEMV_RESULTS": str(paths[1])}
    failed = run_bench("bench_gemv", {"top": verilog}, "top", folder, monkeypatch, runtime=runtime, **env)
    assert failed == 0, "the bench failed; see above"
    return json.loads(paths[1].read_text())
