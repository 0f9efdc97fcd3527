"""`make cost`: area and clock rate of the measured units, `hwsim/data/units.json`, as reports/cost.md and a figure.

This program measures nothing; a value that was not measured is shown as `-`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from hwsim.files.figure import pyplot, save
from hwsim.files.tables import table
from hwsim.files.whole import write_whole
from hwsim.formats.names import layout
from hwsim.pages.asic import Library, both_table, goal_text, libraries, measured_rows

TARGETS = {
    "block_dot_mxfp4_e2m1": (640, 180), "block_dot_mxfp6_e2m3": (1750, 180), "block_dot_mxfp6_e3m2": (1900, 150),
    "block_dot_mxint8": (1800, 180), "block_dot_mxfp8_e4m3": (3550, 150), "block_dot_mxfp8_e5m2": (5100, 150),
    "seed_decoder_seedlm4": (900, 180), "lfsr_block_seedlm4": (100, 200), "requantizer_seedlm4_mxint8": (None, 120),
    "requantizer_seedlm4_mxfp4_e2m1": (None, 120), "accumulator_mxfp8_e4m3": (None, 100),
    "accumulator_mxfp8_e5m2": (None, 100),
}  # fmt: skip
"""Targets of this project: most Xilinx 7 LUTs (LFSR block: ECP5 LUT4), least ECP5 MHz."""
PUBLISHED = {
    "block_dot_mxfp4_e2m1": 1343, "block_dot_mxfp6_e2m3": 2589, "block_dot_mxfp6_e3m2": 3013,
    "block_dot_mxint8": 5452, "block_dot_mxfp8_e4m3": 5593,
}  # fmt: skip
"""Xilinx 7 LUTs of ebby-s/MX-for-FPGA (arXiv 2407.01475), combinational, with the same synthesis."""
CLAIMS = {"mx9": "near 1", "mx6": "about 1/2", "mx4": "about 1/4"}
DUAL = "fp8_dual_64"
BDR_FORMATS = (
    "mx9", "mx6", "mx4", "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4_e2m1", "nvfp4", "mxint8",
)  # fmt: skip
ELEMENTS, TILE, TRANSFER = 64, 256, 64
TICKS = (0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.3)
LABELS = {
    "seedlm4 to mxfp4_e2m1": ("right", (-6, -3)), "mxfp8_e5m2": ("right", (-6, -3)), "mx9": ("right", (-6, 0)),
    "mxfp4_e2m1": ("left", (6, -10)),
}  # fmt: skip
"""Placement of figure labels that would overlap: (side, offset in typographic points)."""

Rows = Mapping[str, dict[str, Any]]


def read_rows() -> Rows:
    """The measured units, with their NAND2-equivalents."""
    return measured_rows()


def cell(value: float | None, digits: int = 0) -> str:
    """A number, or `-`."""
    return "-" if value is None else f"{value:,.{digits}f}"


def units_table(rows: Rows) -> str:
    """One line per unit: measured values and targets."""
    body = []
    for name, row in rows.items():
        xc7, ecp5, ice40, gates = (row[kind] or {} for kind in ("xc7", "ecp5", "ice40", "gates"))
        most, least = TARGETS.get(name, (None, None))
        body.append(
            [name, str(row["latency"]), cell(xc7.get("lut")), cell(most), cell(PUBLISHED.get(name))]
            + [cell(xc7.get(key)) for key in ("ff", "carry4", "muxf", "inv", "srl", "lutram")]
            + [cell(ecp5.get("lut4")), cell(ecp5.get("ccu2c")), cell(ecp5.get("fmax_mhz"), 1), cell(least)]
            + [cell(ice40.get("lut4")), cell(ice40.get("fmax_mhz"), 1), cell(gates.get("nand2"))]
        )
    header = ["unit", "latency", "LUT", "target", "peer", "FF", "CARRY4", "MUXF", "INV", "SRL", "LUTRAM"]
    header += ["ECP5 LUT4", "CCU2C", "MHz", "target", "iCE40 LUT4", "MHz", "NAND2"]
    return table(header, body)


def misses(rows: Rows) -> list[str]:
    """Targets that are missed or not measured; for a clock rate, with the slowest path."""
    found = []
    for name, (most, least) in TARGETS.items():
        row = rows.get(name)
        if not row:
            continue
        lut = (row["ecp5"] or {}).get("lut4") if name.startswith("lfsr") else (row["xc7"] or {}).get("lut")
        if most and lut and lut > most:
            found.append(f"- {name}: {lut:,} LUT, target {most:,}")
        ecp5 = row["ecp5"]
        if not ecp5:
            found.append(f"- {name}: MHz not measured, target {least}")
        elif ecp5["fmax_mhz"] < least:
            path = ecp5["critical"]
            found.append(
                f"- {name}: {ecp5['fmax_mhz']} MHz, target {least}; slowest path from {path['from']} to {path['to']}: "
                f"{path['logic_ns']} ns of logic in {path['levels']} levels, {path['routing_ns']} ns of routing"
            )
    return found


@dataclass(frozen=True, slots=True)
class Point:
    """A 64-element dot product per cycle in one format.

    nand2: dot units, and one accumulator per block result and cycle; None: a unit is not measured.
    transfers: transfers of 64 B for a tile of 256 elements.
    """

    format: str
    nand2: int | None
    transfers: int


def gates(rows: Rows, *names: str) -> int | None:
    """Sum of the NAND2-equivalents of units; None if one is not measured."""
    found: list[int] = [rows[name]["gates"]["nand2"] for name in names if name in rows and rows[name]["gates"]]
    return sum(found) if len(found) == len(names) else None


def point(rows: Rows, name: str) -> Point:
    """One format of the BDR cost table."""
    units = ELEMENTS // rows[f"block_dot_{name}"]["per_cycle"] if f"block_dot_{name}" in rows else 0
    one = gates(rows, f"block_dot_{name}", f"accumulator_{name}")
    nbytes = layout(name if name != DUAL else "fp8_e4m3").row_nbytes(TILE)
    return Point(name, one and units * one, ceil(nbytes / TRANSFER))


GEMV = {
    "mxfp4_e2m1 x mxfp4_e2m1, 1 dot unit": {"block_dot_mxfp4_e2m1": 1, "accumulator_mxfp4_e2m1": 1},
    "seedlm4 x mxint8, 16 decoders, 4 dot units": {
        "seed_decoder_seedlm4": 16, "requantizer_seedlm4_mxint8": 4, "block_dot_mxint8": 4, "accumulator_mxint8": 4,
    },
}  # fmt: skip
"""The GEMV units of reports/gemv_fpga.md, as counts of measured parts."""


def composites(rows: Rows) -> dict[str, dict[str, int]]:
    """MACs and GEMV units by name, as counts of measured parts."""
    dots = [name.removeprefix("block_dot_") for name in rows if name.startswith("block_dot_")]
    macs = {f"mx_mac_{name}": {f"block_dot_{name}": 1, f"accumulator_{name}": 1} for name in dots}
    return macs | {f"gemv, {name}": parts for name, parts in GEMV.items()}


def composite_table(rows: Rows) -> str:
    """One line per MAC and GEMV unit: sums over its parts, and the clock rate of the slowest one."""
    body = []
    for name, parts in composites(rows).items():
        found = [(rows[part], count) for part, count in parts.items() if part in rows]
        sums = []
        for kind, key in (("xc7", "lut"), ("xc7", "ff"), ("gates", "nand2")):
            each = [(n, count) for row, count in found if (n := (row[kind] or {}).get(key)) is not None]
            sums.append(cell(sum(n * count for n, count in each) if len(each) == len(parts) else None))
        rates = [row["ecp5"]["fmax_mhz"] for row, _ in found if row["ecp5"] and row["ecp5"]["fmax_mhz"]]
        slowest = min(rates) if len(rates) == len(parts) else None
        what = " + ".join(f"{count} {part}" if count > 1 else part for part, count in parts.items())
        body.append([name, *sums, cell(slowest, 1), what if name.startswith("gemv") else ""])
    return table(["unit", "LUT", "FF", "NAND2", "slowest part, MHz", "parts"], body)


def library_text(found: list[Library]) -> str:
    """Cell area beside the count without a library; empty where nothing was mapped."""
    if not any(library.units for library in found):
        return ""
    return f"""
## NAND2-equivalents and mapped area

NAND2: counted without a library, as above. Beside it cell area in real libraries, and that over the area of their
smallest NAND2; delay and power are in [asic](asic.md). {goal_text(found)}

```
{both_table(found)}
```
"""


def bdr_table(rows: Rows) -> str:
    """Area, memory and their product relative to the dual FP8 unit, with the paper's claims."""
    base = point(rows, DUAL)
    body = []
    for name in (DUAL, *BDR_FORMATS):
        one = point(rows, name)
        area = one.nand2 / base.nand2 if one.nand2 and base.nand2 else None
        memory = one.transfers / base.transfers
        product = area and area * memory
        label = "fp8 E4M3 + E5M2" if name == DUAL else name
        body.append(
            [label, cell(one.nand2), str(one.transfers), cell(area, 2), f"{memory:.2f}", cell(product, 2)]
            + [CLAIMS.get(name, "1" if name == DUAL else "")]
        )
    return table(["format", "NAND2", "transfers", "area", "memory", "area x memory", "paper"], body)


def seed_points(rows: Rows) -> list[Point]:
    """Weights as seeds: decoders and requantizers for 64 weights per cycle, and the dot units that they feed."""
    found = []
    for target in ("mxint8", "mxfp4_e2m1"):
        dot = point(rows, target)
        decoder, requantizer = (gates(rows, n) for n in ("seed_decoder_seedlm4", f"requantizer_seedlm4_{target}"))
        whole = None
        if dot.nand2 is not None and decoder is not None and requantizer is not None:
            whole = dot.nand2 + ELEMENTS // 8 * decoder + ELEMENTS // 32 * requantizer
        transfers = ceil(layout("seedlm4").row_nbytes(TILE) / TRANSFER)
        found.append(Point(f"seedlm4 to {target}", whole, transfers))
    return found


def pareto(rows: Rows, vectors: int) -> list[tuple[Point, float]]:
    """(point, QSNR in dB) of every format, on vectors of 1024 values from N(0,1)."""
    from hwsim.formats.quality import qsnr_table

    found = []
    for name, at in [(n, point(rows, n)) for n in BDR_FORMATS] + [("seedlm4", p) for p in seed_points(rows)]:
        (one,) = qsnr_table([name], ["normal"], vectors=vectors)
        found.append((at, one.db))
    return found


def draw(found: list[tuple[Point, float]], base: Point, path: Path) -> None:
    """QSNR over area x memory, without the points whose area is not measured."""
    plt = pyplot()
    figure, plane = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    assert base.nand2, "the caller draws only if the unit that all are compared with is measured"
    shown = [(p, db, p.nand2 / base.nand2 * p.transfers / base.transfers) for p, db in found if p.nand2]
    for p, db, x in shown:
        plane.plot(x, db, "o", color="C3" if p.format.startswith("seedlm") else "C0", markersize=5)
        side, place = LABELS.get(p.format, ("left", (6, -3)))
        plane.annotate(p.format, (x, db), xytext=place, textcoords="offset points", fontsize=7, ha=side)
    best, edge = -1.0, []
    for _, db, x in sorted(shown, key=lambda each: (each[2], -each[1])):
        if db > best:
            best = db
            edge.append((x, db))
    plane.plot(*zip(*edge, strict=True), color="0.6", linewidth=1, zorder=0)
    plane.set_xscale("log")
    plane.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    plane.minorticks_off()
    plane.set_xlabel("area x memory, FP8 E4M3 + E5M2 unit = 1 (lower is better)")
    plane.set_ylabel("QSNR on N(0,1), dB (higher is better)")
    plane.grid(alpha=0.3)
    save(figure, path)


def page_text(rows: Rows, found: list[tuple[Point, float]], vectors: int, mapped: list[Library] | None = None) -> str:
    """The committed page. mapped: units in standard-cell libraries."""
    from hwsim import __version__

    measures = [each for row in rows.values() for each in row.values() if isinstance(each, dict)]
    tools = sorted({f"{name} {version}" for each in measures for name, version in each["tools"].items()})
    missed = misses(rows)
    quality = table(
        ["format", "QSNR, dB", "NAND2", "transfers"],
        [[p.format, f"{db:.2f}", cell(p.nand2), str(p.transfers)] for p, db in found],
    )
    return f"""# Area and clock rate of the units

    make fpga      # measures the units (hours): hwsim/data/units.json
    make gates     # counts their NAND2-equivalents: hwsim/data/gates.json
    make cost      # hwsim {__version__}, writes this page; {", ".join(tools)}; seeds 1 to 5; QSNR seed 0

`-`: not measured. LUT: LUT1 to LUT6 after `synth_xilinx -family xc7 -nodsp -noiopad -flatten`; other cells that
implement logic have columns of their own. All flows read the RTLIL from which the Verilog is written, and first remove
duplicate names of signals (`opt_clean -purge`), because with them Yosys's ABC9 fails an assertion on the requantizers.
ECP5-85F: `synth_ecp5 -nodsp`; counts are those of the unit alone, and MHz is the median of five nextpnr seeds in a
shift-register harness. iCE40: HX8K. NAND2: `make gates`, `synth` and `abc` to cells of published areas
([asic](asic.md)); a register counts as 5.33, its enable as one more multiplexer, and memories as registers. Dot units
deliver a magnitude and a separate sign (integers: two's complement). Peer: MX-for-FPGA (arXiv 2407.01475), 32 elements,
combinational, two's complement, with the same synthesis. Target: the targets of this project.

```
{units_table(rows)}
```

Targets not met{":" if missed else ": none."}
{"".join(f"{chr(10)}{each}" for each in missed)}{chr(10) if missed else ""}
## MACs and GEMV units

Sums over the measured parts, which are wired together without further logic in a MAC. A GEMV unit has FIFO, unpacker,
the memory of x and counters besides; [gemv_fpga](gemv_fpga.md) has whole units, placed and routed.

```
{composite_table(rows)}
```
{library_text(mapped or [])}
## A 64-element dot product: area x memory

Relative to one FP8 unit for E4M3 and E5M2 (64 elements of 5 exponent and 3 fraction bits, exact). Area: NAND2 of the
dot units for 64 elements per cycle and one FP32 accumulator per block result. Memory: transfers of 64 B for a tile
of {TILE} elements. Paper: BDR, arXiv 2302.08007. Its units align, keep at most 25 bits, and have one accumulator and no
pipeline. Ours are exact and have one accumulator per block, which costs most for the short blocks of MX9, MX6, MX4 and
NVFP4. Sums of more than 64 bits, those of E5M2 and of the FP8 unit, are added in two stages: faster, and larger.

```
{bdr_table(rows)}
```

## QSNR against cost

![QSNR over area x memory](cost.svg)

{vectors:,} vectors of 1024 values from N(0,1); fewer for seed formats, as `hwsim format --qsnr` reports. Seed points:
decoders and requantizers for 64 weights per cycle, with the dot units of the format that they feed; the QSNR is that of
the decoded weights.

```
{quality}
```
"""


def main(vectors: int = 10_000) -> None:
    """Write the page and the figure."""
    rows = read_rows()
    found = pareto(rows, vectors)
    base = point(rows, DUAL)
    if base.nand2:
        draw(found, base, Path("reports") / "cost.svg")
    path = Path("reports") / "cost.md"
    write_whole(path, page_text(rows, found, vectors, libraries(rows)))
    print(f"written: {path}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()  # no options: anything else is an error
    main()
