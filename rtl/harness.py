"""A unit on few pins, for place and route: wide streams are filled and emptied by shift registers."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Harness"]


class Harness(wiring.Component):
    """`unit`, placed as the Verilog module `name`, between registers.

    The payload of an input is a shift register fed by one pin; that of an output is registered, caught and shifted out.
    Valid and ready pass a register each, so that no path of the unit begins or ends at a pin.

    Ports: bit, valid, ready in; result, offered, taken out; a bit for each stream, bit one for all.
    """

    def __init__(self, unit: wiring.Component, name: str):
        flows = {stream: member.flow for stream, member in unit.signature.members.items()}
        self._sources, self._sinks = ([s for s, flow in flows.items() if flow is way] for way in (In, Out))
        n_in, n_out = len(self._sources), len(self._sinks)
        super().__init__({"bit": In(1), "valid": In(n_in), "ready": In(n_out)} | {
            "result": Out(n_out), "offered": Out(n_out), "taken": Out(n_in)
        })  # fmt: skip
        self._unit, self._name = unit, name

    def elaborate(self, platform) -> Module:
        """One instance and the registers around it."""
        m = Module()
        given = [Signal(self._width(source), reset_less=True, name="given") for source in self._sources]
        made = [Signal(self._width(sink), name="made") for sink in self._sinks]
        held = [Signal.like(each, reset_less=True) for each in made]
        caught = [Signal.like(each, reset_less=True, name="caught") for each in made]
        n_in, n_out = len(given), len(made)
        valid, ready, in_ready, out_valid, catch = (Signal(n) for n in (n_in, n_out, n_in, n_out, n_out))
        ports = [("i", "clk", ClockSignal()), ("i", "rst", ResetSignal())]
        for i, source in enumerate(self._sources):
            ports += [("i", f"{source}__payload", given[i]), ("i", f"{source}__valid", valid[i])]
            ports += [("o", f"{source}__ready", in_ready[i])]
        for i, sink in enumerate(self._sinks):
            ports += [("o", f"{sink}__payload", made[i]), ("o", f"{sink}__valid", out_valid[i])]
            ports += [("i", f"{sink}__ready", ready[i])]
        m.submodules.unit = Instance(self._name, *ports)
        m.d.sync += [
            valid.eq(self.valid),
            ready.eq(self.ready),
            self.taken.eq(in_ready),
            self.offered.eq(out_valid),
            *(each.eq(Cat(each[1:], self.bit)) for each in given),
            *(each.eq(Cat(each[1:], each[0])) for each in caught),
            self.result.eq(Cat(each[0] for each in caught)),
            *(each.eq(now) for each, now in zip(held, made, strict=True)),
            catch.eq(out_valid & ready),
        ]
        for i, each in enumerate(caught):
            with m.If(catch[i]):
                m.d.sync += each.eq(held[i])
        return m

    def _width(self, stream: str) -> int:
        """Bits of a stream's payload."""
        return len(Value.cast(getattr(self._unit, stream).payload))
