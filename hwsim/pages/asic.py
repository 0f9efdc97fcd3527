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

NEAR = 0.10
"""Of mapped area: what NAND2-equivalents are held to."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A unit in a library. nand2: its NAND2-equivalents; area_um2, in_nand2: mapped for area; the rest: for speed.

    pj: of one operation at the shortest period; None without OpenSTA, as ns and mw.
    """

    unit: str
    nand2: int
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
        return sum(round(abs(unit.off), 6) <= NEAR for unit in self.units)


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
            gates, area = known["gates"]["nand2"], row["area_um2"]
            units.append(Mapped(unit, gates, area, area / nand2, row["fast_um2"], ns, mw, pj))
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

{", ".join(made_by)}. No library is part of this project: each has its public home, named below, and its licence. The
library's own file is all that the command needs.

NAND2: the NAND2-equivalents of `hwsim/data/units.json`, counted without a library ([cost](cost.md)). um2: cell area,
mapped by Yosys (`synth`, `dfflibmap`, `abc -liberty`) for area; in NAND2: that over the library's smallest NAND2; off:
by how much the count without a library is too high. Fast: mapped again for speed, with every net of more than 16 loads
buffered, among them the enable that a whole pipeline shares, and sized cells; fast/small is its area over the first.
ns: the shortest period of the fast one by OpenSTA, from inputs and to outputs too, every input driven by a buffer of
the library. mW: at that period, every net changing {data["activity"]:g} times per cycle, the clock ideal. pJ: that
energy per operation: a multiply-add of a dot unit, a sum of an accumulator, a weight of a decoder or requantizer, a
state of an LFSR.

No wires, no clock tree, no placement: a placed unit is slower, larger by its utilisation, and takes more.
{"".join(parts)}"""


def main() -> None:
    """Write the page."""
    rows = json.loads((files("hwsim") / "data" / "units.json").read_text(encoding="utf-8"))["units"]
    data = json.loads((files("hwsim") / "data" / "asic.json").read_text(encoding="utf-8"))
    path = Path("reports") / "asic.md"
    write_whole(path, page_text(rows, libraries(rows, data), data))
    print(f"written: {path}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
