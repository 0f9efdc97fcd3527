"""One design that holds many units, each with its own ports, so that one build serves them all."""

from amaranth.hdl import Module, Value
from amaranth.lib import wiring


class SideBySide(wiring.Component):
    """Units with their streams as `{name}_{stream}`.

    units: descriptions with `name`, `spec`, `component`, `source` and `sink`.
    """

    def __init__(self, units):
        self.parts = [(unit, unit.component(unit.spec)) for unit in units]
        ports = {}
        for unit, part in self.parts:
            ports[f"{unit.name}_{unit.source}"] = part.signature.members[unit.source]
            ports[f"{unit.name}_{unit.sink}"] = part.signature.members[unit.sink]
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        """Wires only."""
        m = Module()
        for unit, part in self.parts:
            m.submodules[unit.name] = part
            outer, inner = getattr(self, f"{unit.name}_{unit.source}"), getattr(part, unit.source)
            m.d.comb += [inner.valid.eq(outer.valid), outer.ready.eq(inner.ready)]
            m.d.comb += Value.cast(inner.payload).eq(Value.cast(outer.payload))
            inner, outer = getattr(part, unit.sink), getattr(self, f"{unit.name}_{unit.sink}")
            m.d.comb += [outer.valid.eq(inner.valid), inner.ready.eq(outer.ready)]
            m.d.comb += Value.cast(outer.payload).eq(Value.cast(inner.payload))
        return m
