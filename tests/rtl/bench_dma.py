"""cocotb: rows in turn from a DMA, through an adapter, to a MAC. The packets are those that docs/rtl.md tells to send.

HWSIM_DMA_PACKETS: a file with the packets, hex, a line each. HWSIM_DMA_SUMS: where the sums go, float32 bits in hex.
The bench waits `PATIENCE` cycles for a sum, and then takes it that none comes.
"""

import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamBus, AxiStreamSink, AxiStreamSource

PATIENCE = 500


@cocotb.test()
async def rows_in_turn(dut):
    """All packets in, sums out until none comes."""
    Clock(dut.clk, 2, "ns").start()
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst, byte_lanes=4)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    for line in Path(os.environ["HWSIM_DMA_PACKETS"]).read_text().split():
        await source.send(bytes.fromhex(line))
    sums, waited = [], 0
    while waited < PATIENCE:
        await ClockCycles(dut.clk, 1)
        waited += 1
        while not sink.empty():
            sums.append(int.from_bytes(sink.recv_nowait().tdata, "little"))
            waited = 0
    Path(os.environ["HWSIM_DMA_SUMS"]).write_text("".join(f"{each:08x}\n" for each in sums))
