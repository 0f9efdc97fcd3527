"""AXI4-Stream outside: what `python -m rtl` writes around a unit."""

from dataclasses import dataclass

from amaranth.hdl import Cat, ClockDomain, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import InputError

__all__ = ["PLAIN", "AxiStreamUnit", "AxiStreamsUnit", "Outside", "ends_packets", "keep_bits", "tdata_bits"]


@dataclass(frozen=True)
class Outside:
    """What the streams of a unit look like outside; its values and its cycles stay the same.

    tkeep:      every stream has tkeep: ignored where data come in, all ones where they leave.
    packet:     tlast ends every `packet`-th sum that leaves (of units whose sums do not say themselves where they end).
    active_low: the reset is `rst_n`, active low, instead of `rst`, active high; both are synchronous.
    raises:     InputError.
    """

    tkeep: bool = False
    packet: int = 1
    active_low: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.packet <= 1 << 20:
            raise InputError(f"--packet {self.packet}: write 1 to {1 << 20} sums")

    @property
    def suffix(self) -> str:
        """What it adds to the module's name."""
        packet = f"_p{self.packet}" if self.packet > 1 else ""
        return packet + "_tkeep" * self.tkeep + "_rstn" * self.active_low

    @property
    def reset(self) -> str:
        """The name of the reset's port."""
        return "rst_n" if self.active_low else "rst"

    def ports(self, prefix: str, bits: int, last: bool, keep: bool = False) -> dict[str, wiring.Member]:
        """The ports of one stream, in order; `prefix` says which way it goes."""
        along, back = (In, Out) if prefix.startswith("s_") else (Out, In)
        ports = {"tvalid": along(1), "tready": back(1), "tdata": along(bits)}
        if self.tkeep or keep:
            ports["tkeep"] = along(bits // 8)
        if last:
            ports["tlast"] = along(1)
        return {f"{prefix}_{name}": port for name, port in ports.items()}

    def clocking(self) -> dict[str, wiring.Member]:
        """Clock and reset, where Amaranth does not add them itself."""
        return {"clk": In(1), "rst_n": In(1)} if self.active_low else {}

    def connect(self, m: Module, unit: wiring.Component, prefixes) -> None:
        """Reset and tkeep."""
        if self.active_low:
            m.domains.sync = domain = ClockDomain()
            domain.clk = unit.clk
            m.d.comb += domain.rst.eq(~unit.rst_n)
        for prefix in prefixes:
            if self.tkeep and prefix.startswith("m_"):
                m.d.comb += getattr(unit, f"{prefix}_tkeep").eq(-1)


PLAIN = Outside()
"""No tkeep, each sum a packet of its own, reset active high."""


def ends_packets(shape) -> bool:
    """Whether a payload of that shape says itself where a packet ends: a struct whose top field is `last`."""
    return isinstance(shape, data.StructLayout) and "last" in shape.members


def keep_bits(shape) -> int:
    """Bits of tkeep that a payload of that shape holds itself: those of its field `keep`, which is below `last`."""
    is_word = isinstance(shape, data.StructLayout) and "keep" in shape.members
    return Shape.cast(shape.members["keep"]).width if is_word else 0


def tdata_bits(shape) -> int:
    """Width of tdata for a payload of that shape: without `keep` and `last`, in whole bytes."""
    return -(-(Shape.cast(shape).width - keep_bits(shape) - ends_packets(shape)) // 8) * 8


class AxiStreamUnit(wiring.Component):
    """A unit with one input and one output stream, as AXI4-Stream; latency, interval and handshake are the unit's.

    unit: a component with `spec` and two streams.
    outside: see `Outside`.
    last_at: the bit of the input's and of the output's payload that is `last`; None where there is none.
    keep: bits of tkeep that the input's and the output's payload hold.
    port_order: the ports' names in the order in which the Verilog has them.

    Ports (with clk and the synchronous, active-high rst):
    s_axis_<input>_tvalid, _tready, _tdata, _tlast:   the payload at bit 0 of tdata, zeros above it up to whole bytes.
    m_axis_<output>_tvalid, _tready, _tdata, _tlast:  likewise.

    tlast is the field `last` of the payload, which is not in tdata then. A unit without that field passes tlast through
    with its item. Sums (`value`) are packets of `outside.packet` words; of one word by default: tlast is 1.
    """

    def __init__(self, unit, outside: Outside = PLAIN):
        self.unit, self.spec, self.outside = unit, unit.spec, outside
        ((source, _),) = ((n, m) for n, m in unit.signature.members.items() if m.flow is In)
        ((sink, _),) = ((n, m) for n, m in unit.signature.members.items() if m.flow is Out)
        self.source, self.sink = getattr(unit, source), getattr(unit, sink)
        self.s_axis, self.m_axis = f"s_axis_{source}", f"m_axis_{sink}"
        self.shapes = shapes = [self.source.payload.shape(), self.sink.payload.shape()]
        self.last_at = [Shape.cast(shape).width - 1 if ends_packets(shape) else None for shape in shapes]
        self.keep = [keep_bits(shape) for shape in shapes]
        if outside.packet > 1 and not self.counts_packets:
            raise InputError(f"--packet {outside.packet}: of accumulators and MACs; here tlast comes from the input")
        streams = outside.ports(self.s_axis, tdata_bits(shapes[0]), True, bool(self.keep[0]))
        streams |= outside.ports(self.m_axis, tdata_bits(shapes[1]), True, bool(self.keep[1]))
        self.port_order = ["clk", outside.reset, *streams]
        super().__init__({**outside.clocking(), **streams})

    @property
    def counts_packets(self) -> bool:
        """Whether tlast of what leaves is made here: the input ends rows, and the output does not say so itself."""
        return self.last_at[0] is not None and self.last_at[1] is None

    @property
    def prefixes(self) -> list[str]:
        """Of its streams, in the ports' order."""
        return [self.s_axis, self.m_axis]

    def elaborate(self, platform) -> Module:
        """Wires, and the registers in which tlast waits beside a unit that does not know it."""
        m = Module()
        self.outside.connect(m, self, self.prefixes)
        m.submodules.unit = self.unit
        taken, given = self.source, self.sink
        s_tvalid, s_tready, s_tdata, s_tlast = self._port(self.s_axis)
        m_tvalid, m_tready, m_tdata, m_tlast = self._port(self.m_axis)
        payload_in, payload_out = Value.cast(taken.payload), Value.cast(given.payload)
        m.d.comb += [taken.valid.eq(s_tvalid), s_tready.eq(taken.ready), m_tvalid.eq(given.valid)]
        m.d.comb += given.ready.eq(m_tready)
        if self.keep[0]:
            m.d.comb += payload_in.eq(Cat(s_tdata, getattr(self, f"{self.s_axis}_tkeep"), s_tlast))
        elif self.last_at[0] is not None:
            m.d.comb += payload_in.eq(Cat(s_tdata[: len(payload_in) - 1], s_tlast))
        else:
            m.d.comb += payload_in.eq(s_tdata[: len(payload_in)])
        if self.keep[1]:
            m.d.comb += Cat(m_tdata, getattr(self, f"{self.m_axis}_tkeep"), m_tlast).eq(payload_out)
        elif self.last_at[1] is not None:
            m.d.comb += [m_tdata.eq(payload_out[:-1]), m_tlast.eq(payload_out[-1])]
        else:
            m.d.comb += [m_tdata.eq(payload_out), m_tlast.eq(self._last(m, s_tlast, m_tvalid & m_tready))]
        return m

    def _port(self, prefix: str) -> list[Signal]:
        return [getattr(self, f"{prefix}_{name}") for name in ("tvalid", "tready", "tdata", "tlast")]

    def _last(self, m: Module, tlast: Value, leaves: Value) -> Value:
        if self.counts_packets:
            return self._ends_packet(m, leaves)
        # The unit is rigid: all its stages move on in the cycles in which it is ready.
        for stage in range(self.spec.timing.latency):
            held = Signal(name=f"tlast{stage}", reset_less=True)
            with m.If(self.source.ready):
                m.d.sync += held.eq(tlast)
            tlast = held
        return tlast

    def _ends_packet(self, m: Module, leaves: Value) -> Value:
        """Whether the sum that is offered is the last one of its packet."""
        if self.outside.packet == 1:
            return Const(1, 1)
        sent = Signal(range(self.outside.packet))
        ends = sent == self.outside.packet - 1
        with m.If(leaves):
            m.d.sync += sent.eq(Mux(ends, 0, sent + 1))
        return ends


class AxiStreamsUnit(wiring.Component):
    """A unit of several streams as AXI4-Stream; `last` of a payload is tlast, which a stream without it does not have.

    outside: see `Outside`.
    port_order: the ports' names in the order in which the Verilog has them.

    Ports (with clk and the synchronous, active-high rst), for each stream:
    s_axis_<input>_tvalid, _tready, _tdata[, _tlast]; m_axis_<output>_tvalid, _tready, _tdata[, _tlast].
    """

    def __init__(self, unit, outside: Outside = PLAIN):
        self.unit, self.spec, self.outside = unit, unit.spec, outside
        if outside.packet > 1:
            raise InputError(f"--packet {outside.packet}: of accumulators and MACs; this unit's tlast ends a command")
        self.shared = getattr(unit, "shared", {})
        self.streams = {("s_axis_" if m.flow is In else "m_axis_") + n: n for n, m in unit.signature.members.items()}
        ports = {}
        for prefix, name in self.streams.items():
            shape = getattr(unit, name).payload.shape()
            ports |= outside.ports(prefix, tdata_bits(shape), ends_packets(shape))
        self.port_order = ["clk", outside.reset, *ports]
        super().__init__({**outside.clocking(), **ports})

    @property
    def prefixes(self) -> list[str]:
        """Of its streams, in the ports' order."""
        return list(self.streams)

    @property
    def shapes(self) -> list:
        """Of its streams' payloads, in the ports' order."""
        return [getattr(self.unit, name).payload.shape() for name in self.streams.values()]

    def elaborate(self, platform) -> Module:
        """Wires."""
        m = Module()
        self.outside.connect(m, self, self.prefixes)
        m.submodules.unit = self.unit
        for prefix, name in self.streams.items():
            stream = getattr(self.unit, name)
            tvalid, tready, tdata = (getattr(self, f"{prefix}_{end}") for end in ("tvalid", "tready", "tdata"))
            tlast, payload = getattr(self, f"{prefix}_tlast", None), Value.cast(stream.payload)
            body = payload if tlast is None else payload[:-1]
            if prefix.startswith("s_"):
                m.d.comb += [stream.valid.eq(tvalid), tready.eq(stream.ready)]
                m.d.comb += payload.eq(tdata[: len(body)] if tlast is None else Cat(tdata[: len(body)], tlast))
            else:
                m.d.comb += [tvalid.eq(stream.valid), stream.ready.eq(tready), tdata.eq(body)]
                m.d.comb += [] if tlast is None else tlast.eq(payload[-1])
        return m
