"""What FPGA toolchains read beside the Verilog: a FuseSoC description, and projects through edalize."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import yaml

from hwsim import __version__
from hwsim.errors import InputError, nearest
from hwsim.extras import missing

__all__ = ["CLOCK_HZ", "CLOCK_HZ_MAX", "TOOLS", "Project", "clock_text", "core_text"]

CLOCK_HZ = Fraction(150_000_000)
"""Of the constraints where none is asked for."""

CLOCK_HZ_MAX = Fraction(1_500_000_000)
"""Above the clock networks of all FPGAs."""

# What the beginning of a device's name says of its family, as Quartus calls it.
FAMILIES = {
    "10AX": "Arria 10", "10AS": "Arria 10", "10CL": "Cyclone 10 LP", "10CX": "Cyclone 10 GX", "10M": "MAX 10",
    "1S": "Stratix 10", "5A": "Arria V", "5C": "Cyclone V", "5S": "Stratix V", "EP4CE": "Cyclone IV E",
    "EP4CGX": "Cyclone IV GX", "AGF": "Agilex 7", "AGI": "Agilex 7", "AGM": "Agilex 7", "A5E": "Agilex 5",
}  # fmt: skip
ARCHITECTURES = ("ecp5", "ice40", "xilinx")


def _vivado(part: str) -> dict:
    if not re.match("x[ackq]", part, re.IGNORECASE):
        raise InputError(
            f"--part {part}: not a device of Vivado, whose names begin with xc, xa, xk or xq; write one "
            f"such as {TOOLS['vivado'].part}"
        )
    # Synthesis alone: a unit has more ports than a package has pins, and is meant to stand inside a design.
    return {"part": part, "pnr": "none"}


def _quartus(part: str) -> dict:
    found = [family for beginning, family in FAMILIES.items() if part.upper().startswith(beginning)]
    if not found:
        known = ", ".join(f"{beginning}... ({family})" for beginning, family in FAMILIES.items())
        raise InputError(f"--part {part}: not a device of Quartus whose family is known; write one of {known}")
    return {"family": found[0], "device": part, "pnr": "none"}


def _yosys(part: str) -> dict:
    if part not in ARCHITECTURES:
        raise InputError(f"--part {part}: Yosys maps to an architecture{nearest(part, ARCHITECTURES)}")
    more = {"ecp5": ["-nodsp"], "xilinx": ["-nodsp", "-noiopad"]}.get(part, [])
    return {"arch": part, "output_format": "json", "yosys_synth_options": more}


@dataclass(frozen=True)
class Tool:
    """A tool of `--tool`.

    part:    of a project that names none.
    options: what edalize is told for a part; raises InputError for one that the tool does not have.
    clock:   (suffix, file type) of the clock constraint; "" as the type where the tool reads none.
    alone:   lines of Tcl that place the unit without pins, for a name.
    """

    part: str
    options: Callable[[str], dict]
    clock: tuple[str, str]
    alone: Callable[[], str] | None = None


def _vivado_alone() -> str:
    run, option = "[get_runs synth_1]", "{STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS}"
    return f"set_property -name {option} -value {{-mode out_of_context}} -objects {run}\n"


def _quartus_alone() -> str:
    ports = ("rst*", "s_axis_*", "m_axis_*")
    return "".join(f"set_instance_assignment -name VIRTUAL_PIN ON -to {port}\n" for port in ports)


TOOLS = {
    "vivado": Tool("xc7k325tffg900-2", _vivado, ("xdc", "xdc"), _vivado_alone),
    "quartus": Tool("5CGXFC9E7F35C8", _quartus, ("sdc", "SDC"), _quartus_alone),
    "yosys": Tool("ecp5", _yosys, ("sdc", "")),
}
"""By name; the parts are examples."""


@dataclass(frozen=True)
class Project:
    """A project that `--tool` asks for. No vendor tool is run or needed.

    tool:           one of `TOOLS`.
    part:           device, for Yosys an architecture; "": the tool's example.
    out_of_context: synthesis for a place inside a design: no pin is used but the clock's.
    raises:         InputError for a tool or part that is not known; InputError without edalize. So a project that
                    was made can be written.
    """

    tool: str
    part: str = ""
    out_of_context: bool = False

    def __post_init__(self) -> None:
        if self.tool not in TOOLS:
            raise InputError(f"--tool {self.tool}: none of {', '.join(TOOLS)}{nearest(self.tool, TOOLS)}")
        if self.out_of_context and TOOLS[self.tool].alone is None:
            raise InputError("--out-of-context: of vivado and quartus; the netlist of yosys has no pins anyway")
        TOOLS[self.tool].options(self.device)
        try:
            import edalize.edatool  # noqa: F401
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "edalize":
                raise
            raise missing("projects for FPGA tools", "edalize", "rtl") from None

    @property
    def device(self) -> str:
        """The part that is asked for, or the tool's example."""
        return self.part or TOOLS[self.tool].part

    def write(self, name: str, folder: Path, clock_hz: Fraction) -> Path:
        """Write the files for `folder/name.v` into `folder/name.tool`, clock constraint included; return that.

        raises: OSError.
        """
        from edalize.edatool import get_edatool

        # It warns that vendor tools are missing, and of its newer interface, which has no Quartus yet.
        logging.getLogger("edalize").setLevel(logging.ERROR)
        tool = TOOLS[self.tool]
        root = folder / f"{name}.{self.tool}"
        root.mkdir(parents=True, exist_ok=True)
        files = [{"name": f"../{name}.v", "file_type": "verilogSource"}]
        suffix, kind = tool.clock
        (root / f"{name}.{suffix}").write_text(clock_text(clock_hz))
        if kind:
            files.append({"name": f"{name}.{suffix}", "file_type": kind})
        if self.out_of_context:
            assert tool.alone is not None
            (root / "out_of_context.tcl").write_text(tool.alone())
            files.append({"name": "out_of_context.tcl", "file_type": "tclSource"})
        options = tool.options(self.device)
        project = {"name": name, "toplevel": name, "files": files, "tool_options": {self.tool: options}}
        get_edatool(self.tool)(project, str(root)).configure()
        return root


def core_text(name: str, bench: bool = False, project: Project | None = None) -> str:
    """The FuseSoC core (CAPI2) of a unit: its Verilog, a target for each of `TOOLS` with the clock, lint and, where
    the unit has a bench beside it, simulation in Icarus. A project's part is its tool's here too."""
    filesets = {
        "rtl": {"files": [f"{name}.v", {f"{name}.vh": {"is_include_file": True}}], "file_type": "verilogSource"},
        "xdc": {"files": [f"{name}.xdc"], "file_type": "xdc"},
        "sdc": {"files": [f"{name}.sdc"], "file_type": "SDC"},
    }
    targets = {"default": {"filesets": ["rtl"], "toplevel": name}}
    for key, tool in TOOLS.items():
        files = ["rtl", *([tool.clock[0]] if tool.clock[1] else [])]
        part = project.device if project and project.tool == key else tool.part
        tools = {key: tool.options(part)}
        targets[key] = {"filesets": files, "toplevel": name, "default_tool": key, "tools": tools}
    lint = {"mode": "lint-only"}
    targets["lint"] = {"filesets": ["rtl"], "toplevel": name, "default_tool": "verilator", "tools": {"verilator": lint}}
    if bench:
        # The bench reads its vectors from the folder that it runs in.
        vectors = [f"{name}_{kind}.hex" for kind in ("stimulus", "expected")]
        filesets["bench"] = {
            "files": [f"{name}_tb.v", *({hex: {"file_type": "user", "copyto": hex}} for hex in vectors)],
            "file_type": "verilogSource",
        }
        tools = {"icarus": {"iverilog_options": ["-g2001"]}}
        top = f"{name}_tb"
        targets["sim"] = {"filesets": ["rtl", "bench"], "toplevel": top, "default_tool": "icarus", "tools": tools}
    core = {
        "name": f"hwsim:units:{name}:{__version__}",
        "description": f"hwsim unit {name}: AXI4-Stream, one clock `clk`, synchronous reset",
        "filesets": filesets,
        "targets": targets,
    }
    return "CAPI=2:\n" + yaml.safe_dump(core, sort_keys=False, width=110)


def clock_text(clock_hz: Fraction) -> str:
    """The clock as a Tcl constraint, the same words in .xdc and .sdc."""
    return f"create_clock -name clk -period {float(10**9 / clock_hz):.3f} [get_ports clk]\n"
