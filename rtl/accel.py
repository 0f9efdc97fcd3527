"""`Accel` as RTL: a GEMV or GEMM unit with its memory masters, registers and counters; the top `hwsim_accel`."""

from dataclasses import dataclass
from typing import Annotated

import typer
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import enum, wiring

from hwsim.errors import InputError
from hwsim.specs import Accel, Gemm, Gemv, Repacker

from . import axi4, registers
from .axi import PLAIN, Outside
from .gemv import GemmOptions, GemvUnit, command_layout
from .repack import RepackerUnit
from .share import place

__all__ = ["AccelOptions", "AccelUnit"]


class Phase(enum.Enum):
    """What the unit is at."""

    IDLE = 0
    LOAD = 1  # x is read
    BEGIN = 2  # one edge: addresses of W and y, the command
    RUN = 3


class CountersUnit(wiring.Component):
    """The counters of one product; see `registers.COUNTERS`.

    Ports, all in but `count`: begin: all are 0. asked: a read of W is accepted. offered, issue, ends: of the unit.
    last: its last result is taken. read, written: a beat is. working: ELAPSED counts. rows: of the product.
    """

    def __init__(self, spec: Accel):
        self.spec = spec
        flags = "begin asked offered issue ends last read written working".split()
        super().__init__(
            {name: wiring.In(1) for name in flags}
            | {"rows": wiring.In(24)}
            | {name.lower(): wiring.Out(32) for name in registers.COUNTERS}
        )

    def elaborate(self, platform) -> Module:
        """When it counts; which rows the dot units work on; the counts."""
        m = Module()
        gemv = self.spec.gemv
        begun, ended, issued = Signal(), Signal(), Signal()
        turn = Signal(range(gemv.interleave))
        group, row = Signal(25), Signal(25)  # the first row in work of the group, of the dot units
        counts, issues, wraps = Signal(), Signal(), Signal()
        m.d.comb += [
            counts.eq((begun | self.asked) & ~ended),
            issues.eq(counts & ~issued),
            wraps.eq(turn == gemv.interleave - 1),
        ]
        following = Mux(self.ends, group + gemv.group_rows, group)
        with m.If(self.begin):
            m.d.sync += [begun.eq(0), ended.eq(0), issued.eq(0), turn.eq(0), group.eq(0), row.eq(0)]
        with m.Else():
            m.d.sync += [begun.eq(begun | self.asked), ended.eq(ended | self.last)]
            with m.If(self.issue):
                m.d.sync += [
                    turn.eq(Mux(wraps, 0, turn + 1)),
                    group.eq(Mux(wraps, following, group)),
                    row.eq(Mux(wraps, following, row + gemv.dot_units)),
                    issued.eq(issued | self.ends & (row + gemv.dot_units >= self.rows)),
                ]
        for name, when in {
            "cycles": counts,
            "busy": issues & self.issue,
            "padding": issues & self.issue & (row >= self.rows),
            "waiting_input": issues & ~self.offered,
            "output_blocked": issues & self.offered & ~self.issue,
            "beats_read": self.read,
            "beats_written": self.written,
            "elapsed": self.working,
        }.items():
            count = getattr(self, name)
            m.d.sync += count.eq(Mux(self.begin, 0, count + when))
        return m


class AccelUnit(wiring.Component):
    """Y = X W^T with X, W and Y in memory; see `hwsim.specs.Accel`.

    outside: polarity of the reset; the unit has no streams outside.
    port_order: the ports' names in the order in which the Verilog has them.

    Ports (with clk and the synchronous, active-high rst): `s_axil_...`, an AXI4-Lite slave with the registers of
    `rtl.registers`; `m_axi_...`, an AXI4 master whose data are as wide as a beat.
    """

    interface = "aximm"
    prefixes = ("s_axil", "m_axi")

    def __init__(self, spec: Accel, outside: Outside = PLAIN):
        if outside.tkeep or outside.packet > 1:
            raise InputError("--tkeep: of units with AXI4-Stream; this one has none")
        self.spec, self.outside = spec, outside
        self.unit = GemvUnit(spec.gemv)
        self.loader = RepackerUnit(self._unpack_x(spec))
        self.shared = {**self.unit.shared, "accel_unpack_x": self.loader}
        members = registers.ports() | axi4.ports(spec)
        self.port_order = ["clk", outside.reset, *members]
        super().__init__({**outside.clocking(), **members})

    @staticmethod
    def _unpack_x(spec: Accel) -> Repacker:
        """From beats to records of x."""
        return Repacker(spec.gemv.beat_bits, 8 * spec.x_record_bytes, 8)

    def elaborate(self, platform) -> Module:
        """Registers and phases; then reads, the way of x, writes, counters."""
        m = Module()
        self.outside.connect(m, self, ())
        m.submodules.unit = unit = self.unit
        m.submodules.registers = self._host = host = registers.RegistersUnit(self.spec)
        m.submodules.reader = reader = axi4.ReadMaster(self.spec)
        m.submodules.writer = writer = axi4.WriteMaster(self.spec)
        m.submodules.counters = counters = CountersUnit(self.spec)
        self._phase = phase = Signal(Phase)
        self._loading, self._running, self._works = phase == Phase.LOAD, phase == Phase.RUN, phase != Phase.IDLE
        loaded, done = Signal(), Signal()
        self._channels(m, reader, writer)
        m.d.comb += host.busy.eq(self._works)
        with m.Switch(phase):
            with m.Case(Phase.IDLE), m.If(host.start):
                m.d.sync += [phase.eq(Phase.LOAD), done.eq(0)]
            with m.Case(Phase.LOAD), m.If(loaded):
                m.d.sync += phase.eq(Phase.BEGIN)
            with m.Case(Phase.BEGIN):
                m.d.sync += phase.eq(Phase.RUN)
            with m.Case(Phase.RUN), m.If(unit.command.ready & writer.idle):
                m.d.sync += [phase.eq(Phase.IDLE), done.eq(1)]
        begins = phase == Phase.BEGIN  # the unit is idle then
        m.d.comb += [
            unit.command.valid.eq(begins),
            *(unit.command.payload[name].eq(host.held[name.upper()]) for name, _ in command_layout(self.spec.gemv)),
            reader.begin.eq(host.start | begins),
            reader.page.eq(Mux(begins, self._page("W"), self._page("X"))),
            writer.begin.eq(begins),
            writer.page.eq(self._page("Y")),
        ]
        self._read(m, reader, loaded)
        m.d.comb += [
            writer.word.valid.eq(unit.y.valid),
            Value.cast(writer.word.payload).eq(Value.cast(unit.y.payload)),
            unit.y.ready.eq(writer.word.ready),
        ]
        self._count(m, counters)
        self._show(m, counters, writer, done)
        return m

    def _page(self, name: str) -> Value:
        """The page of an address that the host wrote."""
        held = self._host.held
        high = [held[f"{name}_HIGH"]] if self.spec.address_bits > 32 else []
        return Cat(held[f"{name}_LOW"], *high)[12:]

    def _channels(self, m: Module, reader: axi4.ReadMaster, writer: axi4.WriteMaster) -> None:
        """The ports, as streams and back."""
        host = self._host
        for channel, stream, name in (
            ("s_axil_aw", host.aw, "addr"), ("s_axil_w", host.w, "data"), ("s_axil_ar", host.ar, "addr"),
            ("m_axi_b", writer.response, "resp"),
        ):  # fmt: skip
            self._in(m, channel, stream, name)
        for channel, stream, names in (
            ("s_axil_b", host.b, {"resp": host.b.payload}),
            ("s_axil_r", host.r, {"data": host.r.payload}),
            ("m_axi_ar", reader.burst, {"addr": reader.burst.payload.address, "len": reader.burst.payload.length}),
            ("m_axi_aw", writer.address, {"addr": writer.address.payload}),
            ("m_axi_w", writer.beat, {"data": writer.beat.payload.data, "strb": writer.beat.payload.strobe, "last": 1}),
        ):
            constant = axi4.constants(self.spec) if channel in ("m_axi_ar", "m_axi_aw") else {}
            ready = getattr(self, f"{channel}ready")
            m.d.comb += [getattr(self, f"{channel}valid").eq(stream.valid), stream.ready.eq(ready)]
            m.d.comb += [getattr(self, f"{channel}{name}").eq(value) for name, value in {**names, **constant}.items()]

    def _in(self, m: Module, channel: str, stream, name: str) -> None:
        m.d.comb += [
            stream.valid.eq(getattr(self, f"{channel}valid")),
            stream.payload.eq(getattr(self, f"{channel}{name}")),
            getattr(self, f"{channel}ready").eq(stream.ready),
        ]

    def _read(self, m: Module, reader: axi4.ReadMaster, loaded: Signal) -> None:
        """x by its count of beats, W as the unit asks for it; what arrives goes to the one that asked.

        A beat that arrives while nothing runs was asked for before a reset; it is dropped.
        """
        unit, host, loading, running = self.unit, self._host, self._loading, self._running
        asked, index = Signal.like(host.held.X_BEATS), Signal.like(host.held.X_BLOCKS)
        ends_row, last_row = index == host.held.X_BLOCKS - 1, Const(1, 1)
        records = place(m, "accel_unpack_x", "unpack_x", self.loader, host.start)
        takes = Signal()
        if self.spec.gemv.tile > 1:
            row = Signal(range(self.spec.gemv.tile))
            last_row = row == host.held.M - 1
            m.d.comb += unit.x.payload.row.eq(row)
            with m.If(takes & ends_row):
                m.d.sync += row.eq(Mux(last_row, 0, row + 1))
        m.d.comb += [
            reader.beat.valid.eq(loading & (asked != host.held.X_BEATS) | running & unit.request.valid),
            reader.beat.payload.last.eq(
                Mux(loading, asked == host.held.X_BEATS - 1, unit.request.payload == host.held.BEATS - 1)
            ),
            unit.request.ready.eq(running & reader.beat.ready),
            records.given.valid.eq(loading & self.m_axi_rvalid),
            records.given.payload.bits.eq(self.m_axi_rdata),
            records.given.payload.units.eq(self.spec.gemv.beat_bytes),
            unit.beat.valid.eq(running & self.m_axi_rvalid),
            unit.beat.payload.eq(self.m_axi_rdata),
            self.m_axi_rready.eq(~loading | records.given.ready),
            takes.eq(loading & records.taken.valid),
            records.taken.ready.eq(loading),
            unit.x.valid.eq(takes),
            unit.x.payload.index.eq(index),
            Value.cast(unit.x.payload.block).eq(records.taken.payload),
            loaded.eq(takes & ends_row & last_row),
        ]
        with m.If(host.start):
            m.d.sync += asked.eq(0)
        with m.Else():
            m.d.sync += asked.eq(asked + (loading & reader.beat.valid & reader.beat.ready))
        with m.If(takes):
            m.d.sync += index.eq(Mux(ends_row, 0, index + 1))

    def _count(self, m: Module, counters: CountersUnit) -> None:
        unit = self.unit
        m.d.comb += [
            counters.begin.eq(self._host.start),
            counters.asked.eq(self._running & self.m_axi_arvalid & self.m_axi_arready),
            counters.offered.eq(unit.offered),
            counters.issue.eq(unit.issue),
            counters.ends.eq(unit.ends),
            counters.last.eq(unit.y.valid & unit.y.ready & unit.y.payload.last),
            counters.read.eq(self._works & self.m_axi_rvalid & self.m_axi_rready),
            counters.written.eq(self.m_axi_wvalid & self.m_axi_wready),
            counters.working.eq(self._works),
            counters.rows.eq(self._host.held.ROWS),
        ]

    def _show(self, m: Module, counters: CountersUnit, writer: axi4.WriteMaster, done: Signal) -> None:
        """What the host reads."""
        shown, failed = self._host.shown, Signal(2)
        bad = self._works & self.m_axi_rvalid & self.m_axi_rready & (self.m_axi_rresp != axi4.OKAY)
        m.d.sync += failed.eq(Mux(self._host.start, 0, failed | Cat(bad, writer.failed)))
        m.d.comb += [
            shown.ID.eq(registers.identity(self.spec)),
            shown.STATUS.eq(Cat(self._works, done, failed)),
            *(shown[name].eq(getattr(counters, name.lower())) for name in registers.COUNTERS),
        ]


@dataclass(frozen=True)
class AccelOptions(GemmOptions):
    """Options of `accel`."""

    tile: Annotated[int, typer.Option("--tile", help="Rows of x held on chip; 1: a GEMV unit.")] = 1
    burst: Annotated[int | None, typer.Option("--burst", help="Beats per read burst; default 16, if it fits.")] = None
    address_bits: Annotated[int, typer.Option("--address-bits", help="Of the memory's addresses, 13 to 64.")] = 32

    def unit(self) -> tuple[Accel, str]:
        """The spec, and the name of the Verilog module."""
        one = self.tile == 1
        gemv = Gemv(*self._parameters) if one else Gemm(*self._parameters, self.tile)
        spec = Accel(gemv, self.burst, self.address_bits)
        tile, address = "" if one else f"_t{gemv.tile}", f"_a{spec.address_bits}" if spec.address_bits != 32 else ""
        return spec, f"hwsim_accel_{self._name(gemv)}{tile}_n{spec.burst}{address}"
