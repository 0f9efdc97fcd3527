"""One design that holds many units, each with its own AXI4-Stream ports, so that one build serves them all."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rtl.axi import AxiStreamUnit


def axi(unit) -> AxiStreamUnit:
    """A unit under test with AXI4-Stream outside."""
    return AxiStreamUnit(unit.build())


class SideBySide(wiring.Component):
    """Units with their ports as `{name}_{port}`.

    units: of `tests.rtl.units`.
    """

    def __init__(self, units):
        self.parts = {unit.name: axi(unit) for unit in units}
        super().__init__(
            {f"{name}_{port}": m for name, part in self.parts.items() for port, m in part.signature.members.items()}
        )

    def elaborate(self, platform) -> Module:
        """Wires only."""
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            for port, member in part.signature.members.items():
                outer, inner = getattr(self, f"{name}_{port}"), getattr(part, port)
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m
