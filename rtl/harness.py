"""A unit on few pins, for place and route: wide ports are filled and emptied by shift registers."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Harness"]


class Harness(wiring.Component):
    """`unit`, placed as the Verilog module `name`, between registers.

    The payload of its input is a shift register fed by one pin; its output is registered, caught and shifted out.
    Valid and ready pass a register each, so that no path of the unit begins or ends at a pin.

    Ports: bit, valid, ready in; result, offered, taken out; one bit each.
    """

    def __init__(self, unit: wiring.Component, name: str):
        super().__init__({port: In(1) for port in ("bit", "valid", "ready")} | {
            port: Out(1) for port in ("result", "offered", "taken")
        })  # fmt: skip
        self._unit, self._name = unit, name

    def elaborate(self, platform) -> Module:
        """One instance and the registers around it."""
        m = Module()
        streams = {member.flow: name for name, member in self._unit.signature.members.items()}
        source, sink = streams[In], streams[Out]
        given = Signal(Value.cast(getattr(self._unit, source).payload).shape().width, reset_less=True)
        made = Signal(Value.cast(getattr(self._unit, sink).payload).shape().width)
        held, caught = Signal.like(made, reset_less=True), Signal.like(made, reset_less=True)
        valid, ready, in_ready, out_valid, catch = Signal(), Signal(), Signal(), Signal(), Signal()
        m.submodules.unit = Instance(
            self._name,
            ("i", "clk", ClockSignal()),
            ("i", "rst", ResetSignal()),
            ("i", f"{source}__payload", given),
            ("i", f"{source}__valid", valid),
            ("o", f"{source}__ready", in_ready),
            ("o", f"{sink}__payload", made),
            ("o", f"{sink}__valid", out_valid),
            ("i", f"{sink}__ready", ready),
        )
        m.d.sync += [
            valid.eq(self.valid),
            ready.eq(self.ready),
            self.taken.eq(in_ready),
            self.offered.eq(out_valid),
            given.eq(Cat(given[1:], self.bit)),
            caught.eq(Cat(caught[1:], caught[0])),
            self.result.eq(caught[0]),
            held.eq(made),
            catch.eq(out_valid & ready),
        ]
        with m.If(catch):
            m.d.sync += caught.eq(held)
        return m
