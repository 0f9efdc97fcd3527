"""cocotb: a product on the design for the ULX3S, by its UART alone: `rtl/driver.py` over `rtl/ulx3s_host.py`."""

import json
import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from rtl.driver import Accel as Driver
from rtl.ulx3s_host import Board
from tests.rtl.accel_run import Product
from tests.rtl.bench_accel import stored
from tests.rtl.gemv_cases import Case, data_of

CYCLE = 2  # ns


class Line:
    """A serial port on the design's pins, at exactly its rate. bit: of a byte, in ns."""

    def __init__(self, dut, bit: int):
        self.dut, self.bit, self.received = dut, bit, bytearray()

    async def listen(self) -> None:
        """Collect what the design sends; sampled in the middle of each bit."""
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(self.bit + self.bit // 2, "ns")
            byte = 0
            for i in range(8):
                byte |= int(self.dut.tx.value) << i
                await Timer(self.bit, "ns")
            assert self.dut.tx.value == 1, "no stop bit"
            self.received.append(byte)

    @resume
    async def write(self, data: bytes) -> None:
        """A start bit, eight data bits from the lowest, a stop bit; no rest between the bytes."""
        await FallingEdge(self.dut.clk)  # the line changes between two edges that sample it
        for byte in data:
            for level in (0, *(byte >> i & 1 for i in range(8)), 1):
                self.dut.rx.value = level
                await Timer(self.bit, "ns")

    @resume
    async def read(self, count: int) -> bytes:
        """What has come, once it is that much."""
        for _ in range(100 * count):
            if len(self.received) >= count:
                break
            await Timer(self.bit, "ns")
        found, self.received = bytes(self.received[:count]), self.received[count:]
        assert len(found) == count and not self.received, f"{len(found)} of {count} bytes, {len(self.received)} more"
        return found


@cocotb.test()
async def product(dut):
    """A product whose memory is not there, then the right one, by the driver."""
    plain = Path(os.environ["HWSIM_ULX3S_PRODUCT"])
    asked = json.loads(plain.read_text())
    product = Product(Case(**asked["product"]["case"]), asked["product"]["burst"])
    case, data = product.case, data_of(product.case)
    dut.rx.value, dut.rst.value = 1, 1
    Clock(dut.clk, CYCLE, "ns").start()
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    line = Line(dut, asked["divisor"] * CYCLE)
    cocotb.start_soon(line.listen())
    found: list = []

    @bridge
    def run() -> None:
        board, size = Board(line), asked["bytes"]
        here, beyond = (
            Driver(str(plain.with_name("hwsim_accel.h")), board.registers, board.memory(size), base)
            for base in (0, size)
        )
        try:
            beyond.multiply(b"", b"", case.n, case.k)
        except RuntimeError as error:
            found.append(str(error))
        x, w = stored(sum(data.x, []), product.spec.x_record_bytes), stored(data.beats, case.arch.gemv.beat_bytes)
        y, counters = here.multiply(x, w, case.n, case.k)
        bits = [int(each) for each in np.array(y, np.float32).view(np.uint32)]
        wrong = [i for i, pair in enumerate(zip(bits, data.y, strict=True)) if pair[0] != pair[1]]
        found.append({"wrong": wrong, "counters": counters})

    await run()
    plain.with_name("found.json").write_text(json.dumps(found))
