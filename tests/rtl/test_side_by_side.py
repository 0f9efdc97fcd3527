"""All units in one cocotb build: value and time in each cycle."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from rtl.emit import emit
from tests.rtl.side_by_side import SideBySide
from tests.rtl.simulator import run_bench
from tests.rtl.units import TOGETHER

pytestmark = pytest.mark.simulator


def bench(units, count, tmp_path, monkeypatch) -> int:
    """Failures of the units in one build."""
    env = {"HWSIM_BENCH_UNITS": ",".join(unit.name for unit in units), "HWSIM_BENCH_COUNT": str(count)}
    verilog = emit(SideBySide(units), "top")
    return run_bench("bench_units", {"top": verilog}, "top", tmp_path, monkeypatch, **env)


def test_all_units_in_one_build(tmp_path, monkeypatch):
    assert bench(TOGETHER, 200, tmp_path, monkeypatch) == 0
