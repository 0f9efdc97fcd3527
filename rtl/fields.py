"""The fields inside each tdata: where they are, for the header of the Verilog, its `.vh` and the terminal."""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib import data

from hwsim.specs import BlockDot

from .accel import AccelUnit
from .axi import AxiStreamsUnit, AxiStreamUnit, ends_packets, tdata_bits

__all__ = ["Field", "Stream", "streams_of"]


@dataclass(frozen=True)
class Field:
    """Bits `low + width - 1` to `low` of a tdata. name: as "a.scale"; count: elements of equal width, if it has any."""

    name: str
    low: int
    width: int
    signed: bool = False
    count: int = 0

    def __str__(self) -> str:
        bits = f"{self.low + self.width - 1}:{self.low}" if self.width > 1 else f"{self.low}"
        array = f" ({self.count} x {self.width // self.count} bits)" if self.count else ""
        return f"{self.name} {bits}{' signed' if self.signed else ''}{array}"


@dataclass(frozen=True)
class Stream:
    """One stream of a written unit.

    prefix: of its ports' names, `s_axis_pair`. bits: width of tdata. fields: from bit 0 up; none where it is one word.
    note:   what a reader has to know beside them.
    """

    prefix: str
    bits: int
    fields: tuple[Field, ...]
    note: str = ""

    def __str__(self) -> str:
        fields = ", ".join(map(str, self.fields)) or "one word"
        return f"{self.prefix}_tdata[{self.bits - 1}:0]: {fields}{f'; {self.note}' if self.note else ''}"


def streams_of(unit: AxiStreamUnit | AxiStreamsUnit | AccelUnit) -> list[Stream]:
    """The streams of a unit in the order of its ports; none where it has buses."""
    if isinstance(unit, AccelUnit):
        return []
    found = []
    for prefix, shape in zip(unit.prefixes, unit.shapes, strict=True):
        port = prefix.split("_axis_")[1]
        meant = getattr(unit.unit, "meaning", {}).get(port, shape)
        if Shape.cast(meant).width != Shape.cast(shape).width:
            raise AssertionError(f"{prefix}: {meant} does not describe {shape}")
        fields = tuple(_fields(meant, "", 0)) if isinstance(meant, data.Layout) else ()
        note = "float32 bits" if port == "value" else _note(unit.spec, meant)
        found.append(Stream(prefix, tdata_bits(shape), fields, note))
    return found


def _note(spec, shape) -> str:
    """What a total stands for."""
    if isinstance(shape, data.StructLayout) and {"negate", "total"} <= set(shape.members):
        dot = spec if isinstance(spec, BlockDot) else spec.dot
        return f"the sum is (negate ? -total : total) 2^(exponent {dot.exponent_offset:+d})"
    return ""


def _fields(shape, name: str, at: int) -> Iterator[Field]:
    """Fields of a payload from bit `at` up; an array of numbers is one field; `last` on top is tlast."""
    if isinstance(shape, data.StructLayout):
        top = not name and ends_packets(shape)
        for key, field in shape:
            if not (top and key in ("keep", "last")):
                yield from _fields(field.shape, f"{name}.{key}".lstrip("."), at + field.offset)
        return
    if isinstance(shape, data.ArrayLayout) and isinstance(shape.elem_shape, data.Layout):
        width = Shape.cast(shape.elem_shape).width
        for i in range(shape.length):
            yield from _fields(shape.elem_shape, f"{name}[{i}]", at + i * width)
        return
    if not (width := Shape.cast(shape).width):
        return
    if isinstance(shape, data.ArrayLayout):
        yield Field(name or "word", at, width, count=shape.length)
    else:
        yield Field(name, at, width, Shape.cast(shape).signed)
