"""AXI4-Stream outside: what `python -m rtl` writes around a unit."""

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AxiStreamUnit", "AxiStreamsUnit", "ends_packets", "tdata_bits"]


def ends_packets(shape) -> bool:
    """Whether a payload of that shape says itself where a packet ends: a struct whose top field is `last`."""
    return isinstance(shape, data.StructLayout) and "last" in shape.members


def tdata_bits(shape) -> int:
    """Width of tdata for a payload of that shape: without `last`, in whole bytes."""
    return -(-(Shape.cast(shape).width - ends_packets(shape)) // 8) * 8


class AxiStreamUnit(wiring.Component):
    """A unit with one input and one output stream, as AXI4-Stream; latency, interval and handshake are the unit's.

    unit: a component with `spec` and two streams.
    last_at: the bit of the input's and of the output's payload that is `last`; None where there is none.

    Ports (with clk and the synchronous, active-high rst):
    s_axis_<input>_tvalid, _tready, _tdata, _tlast:   the payload at bit 0 of tdata, zeros above it up to whole bytes.
    m_axis_<output>_tvalid, _tready, _tdata, _tlast:  likewise.

    tlast is the field `last` of the payload, which is not in tdata then. A unit without that field passes tlast through
    with its item. Sums (`value`) are packets of one word: tlast is 1.
    """

    def __init__(self, unit):
        self.unit, self.spec = unit, unit.spec
        ((source, _),) = ((n, m) for n, m in unit.signature.members.items() if m.flow is In)
        ((sink, _),) = ((n, m) for n, m in unit.signature.members.items() if m.flow is Out)
        self.source, self.sink = getattr(unit, source), getattr(unit, sink)
        self.s_axis, self.m_axis = f"s_axis_{source}", f"m_axis_{sink}"
        self.shapes = shapes = [self.source.payload.shape(), self.sink.payload.shape()]
        self.last_at = [Shape.cast(shape).width - 1 if ends_packets(shape) else None for shape in shapes]
        super().__init__(
            {
                f"{self.s_axis}_tvalid": In(1),
                f"{self.s_axis}_tready": Out(1),
                f"{self.s_axis}_tdata": In(tdata_bits(shapes[0])),
                f"{self.s_axis}_tlast": In(1),
                f"{self.m_axis}_tvalid": Out(1),
                f"{self.m_axis}_tready": In(1),
                f"{self.m_axis}_tdata": Out(tdata_bits(shapes[1])),
                f"{self.m_axis}_tlast": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Wires, and the registers in which tlast waits beside a unit that does not know it."""
        m = Module()
        m.submodules.unit = self.unit
        taken, given = self.source, self.sink
        s_tvalid, s_tready, s_tdata, s_tlast = self._port(self.s_axis)
        m_tvalid, m_tready, m_tdata, m_tlast = self._port(self.m_axis)
        payload_in, payload_out = Value.cast(taken.payload), Value.cast(given.payload)
        m.d.comb += [taken.valid.eq(s_tvalid), s_tready.eq(taken.ready), m_tvalid.eq(given.valid)]
        m.d.comb += given.ready.eq(m_tready)
        if self.last_at[0] is not None:
            m.d.comb += payload_in.eq(Cat(s_tdata[: len(payload_in) - 1], s_tlast))
        else:
            m.d.comb += payload_in.eq(s_tdata[: len(payload_in)])
        if self.last_at[1] is not None:
            m.d.comb += [m_tdata.eq(payload_out[:-1]), m_tlast.eq(payload_out[-1])]
        else:
            m.d.comb += [m_tdata.eq(payload_out), m_tlast.eq(self._last(m, s_tlast))]
        return m

    def _port(self, prefix: str) -> list[Signal]:
        return [getattr(self, f"{prefix}_{name}") for name in ("tvalid", "tready", "tdata", "tlast")]

    def _last(self, m: Module, tlast: Value) -> Value:
        if self.last_at[0] is not None:
            return Const(1, 1)
        # The unit is rigid: all its stages move on in the cycles in which it is ready.
        for stage in range(self.spec.timing.latency):
            held = Signal(name=f"tlast{stage}", reset_less=True)
            with m.If(self.source.ready):
                m.d.sync += held.eq(tlast)
            tlast = held
        return tlast


class AxiStreamsUnit(wiring.Component):
    """A unit of several streams as AXI4-Stream; `last` of a payload is tlast, which a stream without it does not have.

    Ports (with clk and the synchronous, active-high rst), for each stream:
    s_axis_<input>_tvalid, _tready, _tdata[, _tlast]; m_axis_<output>_tvalid, _tready, _tdata[, _tlast].
    """

    def __init__(self, unit):
        self.unit, self.spec = unit, unit.spec
        self.shared = getattr(unit, "shared", {})
        self.streams = {("s_axis_" if m.flow is In else "m_axis_") + n: n for n, m in unit.signature.members.items()}
        ports = {}
        for prefix, name in self.streams.items():
            along, back = (In, Out) if prefix.startswith("s_") else (Out, In)
            shape = getattr(unit, name).payload.shape()
            ports |= {f"{prefix}_tvalid": along(1), f"{prefix}_tready": back(1)}
            ports[f"{prefix}_tdata"] = along(tdata_bits(shape))
            if ends_packets(shape):
                ports[f"{prefix}_tlast"] = along(1)
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        """Wires."""
        m = Module()
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
