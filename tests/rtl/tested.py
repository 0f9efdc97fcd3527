"""A unit under test: a point of a row of the catalogue by name, the RTL that is tested, and its cases."""

from dataclasses import dataclass

from amaranth.lib import wiring

from hwsim.formats.elements import Element
from hwsim.specs import Operand
from rtl.catalog import cases, row


@dataclass(frozen=True)
class Tested:
    """One unit under test. component: other RTL in its place (a mutant); None: that of the spec's row."""

    name: str
    spec: object
    component: type[wiring.Component] | None = None

    @property
    def kind(self) -> type[wiring.Component]:
        """The component's class."""
        return self.component or row(self.spec).component

    def build(self) -> wiring.Component:
        """The RTL."""
        return self.kind(self.spec)

    def draw(self, n: int, seed: int = 0):
        """`n` cases, special and random ones; values from the spec."""
        return cases(self.spec, n, seed)


def mx(element: Element, scale: str = "e8m0") -> Operand:
    """An element with a scale."""
    return Operand(element, scale)


def bdr(bits: int, sub_block: int = 2, shift_bits: int = 1) -> Operand:
    """A BDR operand."""
    return Operand(None, "e8m0", bits, sub_block, shift_bits)
