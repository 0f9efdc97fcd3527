"""What FPGA toolchains read beside the Verilog: a FuseSoC description, and projects through edalize."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import yaml

from hwsim import __version__
from hwsim.errors import InputError, MissingExtra, nearest

__all__ = ["CLOCK_HZ", "TOOLS", "clock_text", "core_text", "write_project"]

CLOCK_HZ = Fraction(150_000_000)
"""Of the constraints where none is asked for."""

TOOLS = {
    # Synthesis alone: a unit has more ports than a package has pins, and is meant to stand inside a design.
    "vivado": {"part": "xc7k325tffg900-2", "pnr": "none"},
    "quartus": {"family": "Cyclone V", "device": "5CGXFC9E7F35C8", "pnr": "none"},
    "yosys": {"arch": "ecp5", "output_format": "json", "yosys_synth_options": ["-nodsp"]},
}
"""Tools of `--tool` with what edalize is told; the parts are examples, to be changed in the project."""


def core_text(name: str) -> str:
    """The FuseSoC core (CAPI2) of a unit: its Verilog, a target for each of `TOOLS` with the clock, and lint."""
    targets = {"default": {"filesets": ["rtl"], "toplevel": name}}
    clocks = {"vivado": ["xdc"], "quartus": ["sdc"]}
    for tool, options in TOOLS.items():
        files = ["rtl", *clocks.get(tool, [])]
        targets[tool] = {"filesets": files, "toplevel": name, "default_tool": tool, "tools": {tool: options}}
    lint = {"mode": "lint-only"}
    targets["lint"] = {"filesets": ["rtl"], "toplevel": name, "default_tool": "verilator", "tools": {"verilator": lint}}
    core = {
        "name": f"hwsim:units:{name}:{__version__}",
        "description": f"hwsim unit {name}: AXI4-Stream, one clock `clk`, synchronous reset",
        "filesets": {
            "rtl": {"files": [f"{name}.v", {f"{name}.vh": {"is_include_file": True}}], "file_type": "verilogSource"},
            "xdc": {"files": [f"{name}.xdc"], "file_type": "xdc"},
            "sdc": {"files": [f"{name}.sdc"], "file_type": "SDC"},
        },
        "targets": targets,
    }
    return "CAPI=2:\n" + yaml.safe_dump(core, sort_keys=False, width=110)


def clock_text(clock_hz: Fraction) -> str:
    """The clock as a Tcl constraint, the same words in .xdc and .sdc."""
    return f"create_clock -name clk -period {float(10**9 / clock_hz):.3f} [get_ports clk]\n"


def write_project(tool: str, name: str, folder: Path, clock_hz: Fraction) -> Path:
    """Files of a `tool` project for `folder/name.v` in `folder/name.tool`, clock constraint included; returns it.

    No vendor tool is run or needed.
    raises: InputError for a tool that is none of `TOOLS`; MissingExtra without edalize.
    """
    if tool not in TOOLS:
        raise InputError(f"--tool {tool}: none of {', '.join(TOOLS)}{nearest(tool, TOOLS)}")
    try:
        from edalize.edatool import get_edatool
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "edalize":
            raise
        raise MissingExtra("projects for FPGA tools", "edalize", "fpga") from None
    # It warns that vendor tools are missing, and of its newer interface, which has no Quartus yet.
    logging.getLogger("edalize").setLevel(logging.ERROR)
    root = folder / f"{name}.{tool}"
    root.mkdir(parents=True, exist_ok=True)
    files = [{"name": f"../{name}.v", "file_type": "verilogSource"}]
    kind = {"vivado": "xdc", "quartus": "SDC"}.get(tool)
    suffix = "xdc" if tool == "vivado" else "sdc"
    (root / f"{name}.{suffix}").write_text(clock_text(clock_hz))
    if kind:
        files.append({"name": f"{name}.{suffix}", "file_type": kind})
    project = {"name": name, "toplevel": name, "files": files, "tool_options": {tool: TOOLS[tool]}}
    get_edatool(tool)(project, str(root)).configure()
    return root
