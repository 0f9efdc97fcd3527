"""Verilog in which equal modules are written once: an engine of 16 decoders has one text of a decoder, not 16."""

import os
import re

from amaranth.back import rtlil, verilog

__all__ = ["emit_shared", "shared"]

MODULE = re.compile(r"(?:^attribute [^\n]*\n)*^module (\S+)\n.*?^end\n", re.S | re.M)
CELL = re.compile(r"^(\s*cell )(\\\S+)( )", re.M)


def shared(text: str) -> str:
    """RTLIL without the modules that equal an earlier one but for their name; cells name the earlier one."""
    while (merged := _merge(text)) != text:  # what held equal modules may be equal now
        text = merged
    return text


def _merge(text: str) -> str:
    first: dict[str, str] = {}
    same: dict[str, str] = {}
    for module in MODULE.finditer(text):
        body = module[0].replace(f"module {module[1]}\n", "module\n", 1)
        same[module[1]] = first.setdefault(body, module[1])
    text = MODULE.sub(lambda module: module[0] if same[module[1]] == module[1] else "", text)
    return CELL.sub(lambda cell: cell[1] + same.get(cell[2], cell[2]) + cell[3], text)


def emit_shared(unit, name: str) -> str:
    """As `emit`, equal modules written once."""
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    text = shared(rtlil.convert(unit, name=name, emit_src=False))
    return verilog._convert_rtlil_text(text, strip_internal_attrs=True)  # amaranth names no public way from RTLIL
