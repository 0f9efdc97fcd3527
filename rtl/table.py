"""The table of the units' ports and latencies, as Markdown."""

import warnings
from collections.abc import Mapping

from amaranth.hdl import Shape, UnusedElaboratable
from amaranth.lib import data

from hwsim.specs import BlockDot

from .axi import AxiStreamUnit, tdata_bits
from .catalog import build

__all__ = ["fields_of_ports", "ports_table"]

HEAD = """\
| unit | input `s_axis_...` | output `m_axis_...` | `tlast` | latency |
| --- | --- | --- | --- | ---: |"""


def ports_table(specs: Mapping[str, object]) -> str:
    """A row for each spec by name: its streams with the bits of tdata, what tlast means, latency in cycles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # made for the ports alone
        return "\n".join([HEAD, *(_row(name, spec) for name, spec in specs.items())])


def _row(name: str, spec) -> str:
    unit = AxiStreamUnit(build(spec))
    bits = [tdata_bits(shape) for shape in unit.shapes]
    last = {
        (True, True): "marks end of row; passed through",
        (True, False): "in: end of row; out: always 1",
        (False, False): "passed through",
    }[tuple(at is not None for at in unit.last_at)]
    taken, given = unit.s_axis.removeprefix("s_axis_"), unit.m_axis.removeprefix("m_axis_")
    return f"| `{name}` | `{taken}`, {bits[0]} | `{given}`, {bits[1]} | {last} | {spec.timing.latency} |"


def fields_of_ports(unit: AxiStreamUnit) -> list[str]:
    """A line for each tdata: its fields with their bits, the highest and the lowest; what a total stands for."""
    lines, dot = [], unit.spec if isinstance(unit.spec, BlockDot) else getattr(unit.spec, "dot", None)
    for port, shape in zip((unit.s_axis, unit.m_axis), unit.shapes, strict=True):
        fields = _fields(shape, "", 0) if isinstance(shape, data.Layout) else ["one word"]
        lines.append(f"{port}_tdata[{tdata_bits(shape) - 1}:0]: {', '.join(fields)}")
        if isinstance(shape, data.StructLayout) and "negate" in shape.members and "total" in shape.members:
            lines[-1] += f"; the sum is (negate ? -total : total) 2^(exponent {dot.exponent_offset:+d})"
    return lines


def _fields(shape, name: str, at: int) -> list[str]:
    """Fields of a payload from bit `at` up; an array of numbers is one field."""
    if isinstance(shape, data.StructLayout):
        members = [(f"{name}.{key}".lstrip("."), field) for key, field in shape if (key, name) != ("last", "")]
        return [line for key, field in members for line in _fields(field.shape, key, at + field.offset)]
    if isinstance(shape, data.ArrayLayout) and isinstance(shape.elem_shape, data.Layout):
        width = Shape.cast(shape.elem_shape).width
        indices = range(shape.length)
        return [line for i in indices for line in _fields(shape.elem_shape, f"{name}[{i}]", at + i * width)]
    width = Shape.cast(shape).width
    if not width:
        return []
    count = f"{shape.length} x {Shape.cast(shape.elem_shape).width} bits" if isinstance(shape, data.ArrayLayout) else ""
    sign = " signed" if not count and Shape.cast(shape).signed else ""
    bits = f"{at + width - 1}:{at}" if width > 1 else f"{at}"
    return [f"{name} {bits}{sign}{f' ({count})' if count else ''}"]
