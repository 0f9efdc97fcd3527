"""`python -m hwsim.pages.asic`: the units in standard-cell libraries, `hwsim/data/asic.json`, as reports/asic.md.

`make asic` maps them (`rtl.asic`); this program measures nothing. A unit that was mapped for another netlist than that
of `units.json` is left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from hwsim.files.tables import table
from hwsim.files.whole import write_whole

NEAR, LIBRARIES = 0.10, 3
"""Of mapped area: what NAND2-equivalents are held to, and in how many libraries."""
SEEN = (
    "lfsr_block_seedlm4", "lfsr_block_seedlm3", "seed_decoder_seedlm4", "requantizer_seedlm4_mxint8",
    "requantizer_seedlm4_mxfp4_e2m1", "block_dot_mxfp4_e2m1", "block_dot_mxfp6_e2m3", "block_dot_nvfp4",
    "block_dot_mx6", "block_dot_mx4", "accumulator_mxfp4_e2m1",
)  # fmt: skip
"""Units mapped in one library at least when the way to count was chosen of three; all others are held-out."""
REGISTER = 16 / 3
"""NAND2-equivalents of a register in the count, `tests.verification.gate_counts`."""


def measured_rows() -> dict[str, dict[str, Any]]:
    """Rows of `units.json`, each with its count of `gates.json` in place of `gates`: `nand2`, `registers`, `tools`.

    `by_transistors` is beside them what `units.json` has: NAND2-equivalents of 4 transistors each. `gates` is None
    where the netlist is not counted.
    """
    data = files("hwsim") / "data"
    rows, counts = (
        json.loads((data / name).read_text(encoding="utf-8"))["units"] for name in ("units.json", "gates.json")
    )
    for name, row in rows.items():
        count, old = counts.get(name), row["gates"]
        same = count and count["netlist_sha256"] == row["netlist_sha256"]
        row["gates"] = {**count, "by_transistors": old and old["nand2"]} if same else None
    return rows


@dataclass(frozen=True, slots=True)
class Mapped:
    """A unit in a library. nand2: its NAND2-equivalents; area_um2, in_nand2: mapped for area; the rest: for speed.

    by_transistors: NAND2-equivalents of 4 transistors each, None where not counted; registers: those of `nand2` that
    are registers; register: NAND2 that one takes in the library, None where there is none. pj: of one operation at the
    shortest period; None without OpenSTA, as ns and mw.
    """

    unit: str
    nand2: int
    by_transistors: int | None
    registers: int
    register: float | None
    area_um2: float
    in_nand2: float
    fast_um2: float
    ns: float | None
    mw: float | None
    pj: float | None

    @property
    def off(self) -> float:
        """NAND2-equivalents over mapped area, less 1."""
        return self.nand2 / self.in_nand2 - 1

    @property
    def off_with_register(self) -> float:
        """As `off`, of a count with the library's register in place of the published one."""
        more = self.registers * (self.register / REGISTER - 1) if self.register else 0.0
        return (self.nand2 + more) / self.in_nand2 - 1

    @property
    def off_by_transistors(self) -> float | None:
        """As `off`, of the other count."""
        return self.by_transistors and self.by_transistors / self.in_nand2 - 1


@dataclass(frozen=True, slots=True)
class Library:
    """A library's units, and what it is."""

    name: str
    source: str
    volts: float
    nand2: str
    nand2_um2: float
    units: tuple[Mapped, ...]

    @property
    def near(self) -> int:
        """Units whose NAND2-equivalents are within `NEAR` of mapped area."""
        return within([unit.off for unit in self.units])


def within(off: list[float]) -> int:
    """How many are within `NEAR`."""
    return sum(round(abs(each), 6) <= NEAR for each in off)


def libraries(rows: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> list[Library]:
    """What was mapped. rows: those of `units.json`, whose NAND2-equivalents stand beside it. data: of `asic.json`."""
    if data is None:
        path = files("hwsim") / "data" / "asic.json"
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"libraries": {}}
    found = []
    for name, library in data["libraries"].items():
        nand2, units = library["nand2_um2"], []
        for unit, row in library["units"].items():
            known = rows.get(unit)
            if not known or not known["gates"] or known["netlist_sha256"] != row["netlist_sha256"]:
                continue
            ns, mw = row["delay_ns"], row["mw"]
            pj = None if ns is None else ns * mw / known["per_cycle"]
            gates, area = known["gates"], row["area_um2"]
            registers = gates["registers"]
            register = REGISTER * row["register_um2"] / nand2 / registers if registers else None
            counts = gates["nand2"], gates["by_transistors"], registers, register
            units.append(Mapped(unit, *counts, area, area / nand2, row["fast_um2"], ns, mw, pj))
        found.append(Library(name, library["source"], library["volts"], library["nand2"], nand2, tuple(units)))
    return found


def cell(value: float | None, digits: int = 0) -> str:
    """A number, or `-`."""
    return "-" if value is None else f"{value:,.{digits}f}"


def library_table(library: Library) -> str:
    """A line per unit."""
    body = [
        [unit.unit, cell(unit.nand2), cell(unit.area_um2, 0 if library.nand2_um2 > 0.5 else 1), cell(unit.in_nand2)]
        + [
            f"{unit.off:+.0%}",
            cell(unit.fast_um2 / unit.area_um2, 2),
            cell(unit.ns, 2),
            cell(1000 / unit.ns if unit.ns else None),
        ]
        + [cell(unit.mw, 1), cell(unit.pj, 3)]
        for unit in library.units
    ]
    header = ["unit", "NAND2", "um2", "in NAND2", "off", "fast/small", "ns", "MHz", "mW", "pJ"]
    return table(header, body)


def both_table(found: list[Library]) -> str:
    """NAND2-equivalents beside mapped area: a line per unit, um2 and NAND2 of each library."""
    units = {unit.unit: unit.nand2 for library in found for unit in library.units}
    body = []
    for name, nand2 in units.items():
        line = [name, cell(nand2)]
        for library in found:
            one = next((unit for unit in library.units if unit.unit == name), None)
            line += [cell(one.area_um2 if one else None, 0 if library.nand2_um2 > 0.5 else 1)]
            line.append(cell(one.in_nand2 if one else None))
        body.append(line)
    header = ["unit", "NAND2"]
    for library in found:
        header += [f"{library.name} um2", "in NAND2"]
    return table(header, body)


def held_table(found: list[Library]) -> str:
    """A line per library: how near the count is, of all units and of the held-out ones, and how near two others are."""
    body = []
    for library in found:
        out = [unit.off for unit in library.units if unit.unit not in SEEN]
        old = [unit.off_by_transistors for unit in library.units if unit.off_by_transistors is not None]
        register = max(((unit.nand2, unit.register) for unit in library.units if unit.register), default=(0, None))[1]
        line = [library.name, cell(register, 2)]
        with_register = [unit.off_with_register for unit in library.units]
        for off in ([unit.off for unit in library.units], out, with_register, old):
            worst = max(off, key=abs, default=None)
            line += [f"{within(off)} of {len(off)}", "-" if worst is None else f"{worst:+.1%}"]
        body.append(line)
    header = ["library", "register", "within 10 %", "worst", "held-out", "worst", "its register", "worst"]
    header += ["transistors", "worst"]
    return table(header, body)


def goal_text(found: list[Library]) -> str:
    """Whether the goal is met, in words."""
    whole = [library.name for library in found if library.units and library.near == len(library.units)]
    near, every = sum(library.near for library in found), sum(len(library.units) for library in found)
    return (
        f"Goal: every count within {NEAR:.0%} of mapped area in {LIBRARIES} libraries. It is in "
        f"{len(whole)} of {len(found)}{': ' if whole else ''}{', '.join(whole)}; of all {every} areas {near} are."
    )


def page_text(rows: Mapping[str, Any], found: list[Library], data: Mapping[str, Any]) -> str:
    """The committed page."""
    made_by = sorted(
        {
            f"{k} {v}"
            for library in data["libraries"].values()
            for row in library["units"].values()
            for k, v in row["tools"].items()
        }
    )
    parts = []
    for library in found:
        worst = max((abs(unit.off) for unit in library.units), default=0)
        parts.append(f"""
## {library.name}

{library.source}; {library.volts:g} V; its NAND2 is {library.nand2}, {library.nand2_um2:g} um2.
Of {len(library.units)} units {library.near} are within 10 %, the worst is {worst:.0%} off.

```
{library_table(library)}
```
""")
    return f"""# Area, delay and power in standard-cell libraries

    python -m rtl.asic --liberty FILE.lib --only block_dot_nvfp4    # any library: one unit
    make asic LIBERTY="FILE.lib ..."    # one library's units into hwsim/data/asic.json, then this page
    make gates    # the count without a library: hwsim/data/gates.json

{", ".join(made_by)}. No library is part of this project: each has its public home, named below, and its licence. The
library's own file is all that the command needs.

NAND2: the NAND2-equivalents of `hwsim/data/gates.json`, counted without a library: mapped as to a library, to cells of
published areas (UMC 180 nm: IACR ePrint 2009/516, table 2.1; a NAND2 is 1, XOR2 2.67, MUX2 2.33, a register 5.33).
um2: cell area, mapped by Yosys (`synth`, `dfflibmap`, `abc -liberty`) for area; in NAND2: that over the library's
smallest NAND2; off: by how much the count without a library is too high. Fast: mapped again for speed, with every net
of more than 16 loads buffered, among them the enable that a whole pipeline shares, and sized cells; fast/small is its
area over the first.
ns: the shortest period of the fast one by OpenSTA, from inputs and to outputs too, every input driven by a buffer of
the library. mW: at that period, every net changing {data["activity"]:g} times per cycle, the clock ideal. pJ: that
energy per operation: a multiply-add of a dot unit, a sum of an accumulator, a weight of a decoder or requantizer, a
state of an LFSR.

No wires, no clock tree, no placement: a placed unit is slower, larger by its utilisation, and takes more.

## How near the count is

{goal_text(found)}
Nothing in the count is fitted to these libraries. It was chosen of three ways when {len(SEEN)} of the units had been
mapped; held-out: the others. Register: NAND2 that one takes in the library; {REGISTER:.2f} in the count. Its register:
how near the count would be with that one; the logic is counted high, so both are off in part. Transistors: how near the
count before was, `gates` of `hwsim/data/units.json`, four transistors to a NAND2.

```
{held_table(found)}
```
{"".join(parts)}"""


def main() -> None:
    """Write the page."""
    rows = measured_rows()
    data = json.loads((files("hwsim") / "data" / "asic.json").read_text(encoding="utf-8"))
    path = Path("reports") / "asic.md"
    write_whole(path, page_text(rows, libraries(rows, data), data))
    print(f"written: {path}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
