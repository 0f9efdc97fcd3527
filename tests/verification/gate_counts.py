"""`make gates`: NAND2-equivalents of the units, counted without a library; `hwsim/data/gates.json`, written after each.

A unit is mapped as `rtl.asic` maps it to a library, for the least area, but to cells whose areas are published ones.
INV, NAND2, NOR2, AND2, OR2, MUX2, XOR2 and the register are those of UMCL18G212T3, a library of UMC's 180 nm
(A. Poschmann, Lightweight Cryptography, thesis, Bochum 2009, IACR ePrint 2009/516, table 2.1). XNOR2 is as XOR2. The
others follow the rule that the published ones except XOR2 and the register keep: a cell is as wide as its pairs of
transistors and one gap, and a NAND2, with its two pairs, is three of these. Nothing is fitted to the libraries that the
counts are held against (reports/asic.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from hwsim.errors import InputError
from rtl.asic import chosen
from rtl.catalog import LEAF_UNITS, build
from rtl.emit import netlist
from rtl.identity import netlist_sha256
from rtl.synthesis import cells, read, tools, yosys

ROOT = Path(__file__).parents[2]
DATA = ROOT / "hwsim" / "data" / "gates.json"
ABOUT = "written by `make gates`, nothing by hand; NAND2-equivalents in all and of registers, cells, hash of netlist"

THIRDS = {
    "INV": 2, "BUF": 3, "NAND2": 3, "NOR2": 3, "AND2": 4, "OR2": 4, "NAND3": 4, "NOR3": 4, "NAND4": 5, "NOR4": 5,
    "AOI21": 4, "OAI21": 4, "AOI22": 5, "OAI22": 5, "MUX2": 7, "XOR2": 8, "XNOR2": 8, "$_DFF_P_": 16,
}  # fmt: skip
"""Thirds of a NAND2 by cell; the last is Yosys's name of a register without reset and enable."""

FUNCTIONS = {
    "INV": "!A", "BUF": "A", "NAND2": "!(A*B)", "NOR2": "!(A+B)", "AND2": "A*B", "OR2": "A+B", "NAND3": "!(A*B*C)",
    "NOR3": "!(A+B+C)", "NAND4": "!(A*B*C*D)", "NOR4": "!(A+B+C+D)", "AOI21": "!((A*B)+C)", "OAI21": "!((A+B)*C)",
    "AOI22": "!((A*B)+(C*D))", "OAI22": "!((A+B)*(C+D))", "MUX2": "(A*!S)+(B*S)", "XOR2": "(A*!B)+(!A*B)",
    "XNOR2": "(A*B)+(!A*!B)",
}  # fmt: skip


def genlib() -> str:
    """The cells as ABC reads them, each as fast as the others. A constant is a wire."""
    wires = ["GATE ZERO 0 Y=CONST0;", "GATE ONE 0 Y=CONST1;"]
    gates = [f"GATE {name} {THIRDS[name]} Y={f}; PIN * UNKNOWN 1 999 1 0 1 0" for name, f in FUNCTIONS.items()]
    return "\n".join([*wires, *gates]) + "\n"


def nand2(found: Mapping[str, int]) -> float:
    """NAND2-equivalents of cells by type. raises: KeyError for a cell without an area."""
    return sum(({**THIRDS, "ZERO": 0, "ONE": 0})[kind] * n for kind, n in found.items()) / 3


def made_by() -> dict[str, str]:
    """What a count depends on beside the netlist: Yosys, and the areas by a hash."""
    areas = sha256(f"{genlib()}{THIRDS['$_DFF_P_']}".encode()).hexdigest()[:8]
    return {**tools("xc7"), "areas of cells": areas}


def counted(name: str, text: str, folder: Path) -> dict[str, int]:
    """{NAND2-equivalents, those of them of registers, cells}, from the unit's RTLIL.

    An enable is a multiplexer before its register; memories are registers.
    """
    (folder / f"{name}.il").write_text(text)
    (folder / "cells.genlib").write_text(genlib())
    yosys(
        f"{read(name)}synth -flatten -top {name}; dfflegalize -cell $_DFF_P_ 01; abc -genlib cells.genlib; "
        f"opt_clean -purge; tee -q -o {name}.gates.json stat -json",
        folder,
    )
    found = cells(folder / f"{name}.gates.json")
    registers = {"$_DFF_P_": found.get("$_DFF_P_", 0)}
    return {"nand2": round(nand2(found)), "registers": round(nand2(registers)), "cells": sum(found.values())}


def update(names: list[str], folder: Path) -> None:
    """Count the units whose row is of another netlist, or made by others."""
    for name in names:
        text = netlist(build(LEAF_UNITS[name]), name)
        about = {"netlist_sha256": netlist_sha256(text), "tools": made_by()}
        rows = json.loads(DATA.read_text())["units"] if DATA.exists() else {}
        if about.items() <= rows.get(name, {}).items():
            continue
        rows[name] = {**counted(name, text, folder), **about}
        print(f"{name}: {rows[name]['nand2']:,} NAND2, {rows[name]['registers']:,} of them registers", flush=True)
        data = {"about": ABOUT, "units": {each: rows[each] for each in LEAF_UNITS if each in rows}}
        part = DATA.with_suffix(".part")
        part.write_text(json.dumps(data, indent=1) + "\n")
        part.replace(DATA)


def main() -> int:
    """Parse, count."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.verification.gate_counts", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", nargs="*", default=[], help="units, or words in their names; default: all")
    # Inside the checkout: the tools do not see the system's temporary folder.
    Path("build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="build") as folder:
        try:
            update(chosen(parser.parse_args().only), Path(folder))
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
