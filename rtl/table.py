"""The table of the units' ports and latencies, as Markdown."""

import warnings
from collections.abc import Mapping

from amaranth.hdl import UnusedElaboratable

from .axi import AxiStreamUnit, tdata_bits
from .catalog import build, module_name

__all__ = ["ports_table"]

HEAD = """\
| unit | input `s_axis_...` | output `m_axis_...` | `tlast` | latency |
| --- | --- | --- | --- | ---: |"""


def ports_table(specs: Mapping[str, object]) -> str:
    """A row for each spec by name: module, streams with the bits of tdata, what tlast means, latency in cycles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # made for the ports alone
        return "\n".join([HEAD, *(_row(name, spec) for name, spec in specs.items())])


def _row(name: str, spec) -> str:
    unit = AxiStreamUnit(build(spec))
    bits = [tdata_bits(shape) for shape in unit.shapes]
    last = {
        (True, True): "ends a packet" if hasattr(unit.unit, "about") else "marks end of row; passed through",
        (True, False): "in: end of row; out: always 1",
        (False, False): "passed through",
    }[tuple(at is not None for at in unit.last_at)]
    taken, given = unit.s_axis.removeprefix("s_axis_"), unit.m_axis.removeprefix("m_axis_")
    module = module_name(name, spec)
    return f"| `{module}` | `{taken}`, {bits[0]} | `{given}`, {bits[1]} | {last} | {spec.timing.latency} |"
