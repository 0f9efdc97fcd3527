"""The suite `units`: each unit in a build of its own, 2,000 inputs, value and time in each cycle, with cocotb."""

import tempfile
from pathlib import Path

import pytest

from rtl.emit import emit
from tests.rtl.side_by_side import SideBySide
from tests.rtl.simulator import choose, run_bench
from tests.rtl.units import BY_NAME, FULL, TOGETHER
from tests.verification.formal.sby import cpu_seconds
from tests.verification.suite import Row, Suite


def at_length(name: str) -> Row:
    """One unit; what the bench prints goes to the log."""
    start = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        verilog = emit(SideBySide([BY_NAME[name]]), "top")
        env = {"HWSIM_BENCH_UNITS": name, "HWSIM_BENCH_COUNT": "2000"}
        failed = run_bench("bench_units", {"top": verilog}, "top", Path(folder), patch, **env)
    return Row((name, choose(), f"{failed} tests failed"), not failed, cpu_seconds() - start)


SUITE = Suite(
    "units",
    "each unit alone in an RTL simulator, 2,000 inputs",
    at_length,
    tuple(unit.name for unit in TOGETHER + FULL),
    __name__,
    also=("tests.rtl.bench_units",),
    packages=("amaranth", "cocotb"),
)
