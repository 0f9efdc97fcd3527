"""Payloads as integers, packed by the layouts of the units."""

from amaranth.hdl import Shape
from amaranth.lib import data


def pack(shape, value) -> int:
    """The bits of a value of that shape: a struct from a dict, an array from a sequence, else an integer."""
    if isinstance(shape, data.StructLayout) and isinstance(value, dict):
        return sum(pack(field.shape, value[name]) << field.offset for name, field in shape)
    if isinstance(shape, data.ArrayLayout) and not isinstance(value, int):
        width = Shape.cast(shape.elem_shape).width
        return sum(pack(shape.elem_shape, each) << i * width for i, each in enumerate(value))
    return int(value) & ((1 << Shape.cast(shape).width) - 1)
