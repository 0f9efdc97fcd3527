"""`make cost`: what the measured units weigh, from `hwsim/data/units.json`: reports/cost.md and its figure.

Nothing is measured here; a cell whose measure is null is `-`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from pathlib import Path

from hwsim.files.figure import pyplot, save
from hwsim.files.tables import table
from hwsim.files.whole import write_whole
from hwsim.formats.names import layout

ASKED = {
    "block_dot_mxfp4_e2m1": (640, 180), "block_dot_mxfp6_e2m3": (1750, 180), "block_dot_mxfp6_e3m2": (1900, 150),
    "block_dot_mxint8": (1800, 180), "block_dot_mxfp8_e4m3": (3550, 150), "block_dot_mxfp8_e5m2": (5100, 150),
    "seed_decoder_seedlm4": (900, 180), "lfsr_block_seedlm4": (100, 200), "requantizer_seedlm4_mxint8": (None, 120),
    "requantizer_seedlm4_mxfp4_e2m1": (None, 120), "accumulator_mxfp8_e4m3": (None, 100),
    "accumulator_mxfp8_e5m2": (None, 100),
}  # fmt: skip
"""Project's lines: Xilinx 7 LUTs at most (LFSR block: ECP5 LUT4), ECP5 MHz at least."""
PUBLISHED = {
    "block_dot_mxfp4_e2m1": 1343, "block_dot_mxfp6_e2m3": 2589, "block_dot_mxfp6_e3m2": 3013,
    "block_dot_mxint8": 5452, "block_dot_mxfp8_e4m3": 5593,
}  # fmt: skip
"""Xilinx 7 LUTs of ebby-s/MX-for-FPGA (arXiv 2407.01475), combinational, by the same synthesis."""
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
"""Where labels of the figure stand that would run into others: (side, offset in points)."""

Rows = Mapping[str, dict]


def read_rows() -> Rows:
    """The measured units."""
    return json.loads((files("hwsim") / "data" / "units.json").read_text(encoding="utf-8"))["units"]


def cell(value: float | None, digits: int = 0) -> str:
    """A number, or `-`."""
    return "-" if value is None else f"{value:,.{digits}f}"


def units_table(rows: Rows) -> str:
    """One line a unit: measured beside asked."""
    body = []
    for name, row in rows.items():
        xc7, ecp5, ice40, gates = (row[kind] or {} for kind in ("xc7", "ecp5", "ice40", "gates"))
        most, least = ASKED.get(name, (None, None))
        body.append(
            [name, str(row["latency"]), cell(xc7.get("lut")), cell(most), cell(PUBLISHED.get(name))]
            + [cell(xc7.get(key)) for key in ("ff", "carry4", "muxf", "inv", "srl", "lutram")]
            + [cell(ecp5.get("lut4")), cell(ecp5.get("ccu2c")), cell(ecp5.get("fmax_mhz"), 1), cell(least)]
            + [cell(ice40.get("lut4")), cell(ice40.get("fmax_mhz"), 1), cell(gates.get("nand2"))]
        )
    header = ["unit", "latency", "LUT", "asked", "peer", "FF", "CARRY4", "MUXF", "INV", "SRL", "LUTRAM"]
    header += ["ECP5 LUT4", "CCU2C", "MHz", "asked", "iCE40 LUT4", "MHz", "NAND2"]
    return table(header, body)


def misses(rows: Rows) -> list[str]:
    """Every line that is not met, with the slowest path where it is one of time, or not measured."""
    found = []
    for name, (most, least) in ASKED.items():
        row = rows.get(name)
        if not row:
            continue
        lut = (row["ecp5"] or {}).get("lut4") if name.startswith("lfsr") else (row["xc7"] or {}).get("lut")
        if most and lut and lut > most:
            found.append(f"- {name}: {lut:,} LUT, asked {most:,}")
        ecp5 = row["ecp5"]
        if not ecp5:
            found.append(f"- {name}: MHz not measured, asked {least}")
        elif ecp5["fmax_mhz"] < least:
            path = ecp5["critical"]
            found.append(
                f"- {name}: {ecp5['fmax_mhz']} MHz, asked {least}; slowest path from {path['from']} to {path['to']}: "
                f"{path['logic_ns']} ns of logic in {path['levels']} levels, {path['routing_ns']} ns of routing"
            )
    return found


@dataclass(frozen=True, slots=True)
class Point:
    """A 64-element dot product a cycle in one format.

    nand2: dot units and an accumulator for each block result a cycle; None: not all measured.
    transfers: of 64 B, that a tile of 256 elements takes.
    """

    format: str
    nand2: int | None
    transfers: int


def gates(rows: Rows, *names: str) -> int | None:
    """NAND2-equivalents of units together; None where one is not measured."""
    found = [rows[name]["gates"]["nand2"] if name in rows and rows[name]["gates"] else None for name in names]
    return None if None in found else sum(found)


def point(rows: Rows, name: str) -> Point:
    """One format of the BDR cost table."""
    units = ELEMENTS // rows[f"block_dot_{name}"]["per_cycle"] if f"block_dot_{name}" in rows else 0
    one = gates(rows, f"block_dot_{name}", f"accumulator_{name}")
    nbytes = layout(name if name != DUAL else "fp8_e4m3").row_nbytes(TILE)
    return Point(name, one and units * one, ceil(nbytes / TRANSFER))


def bdr_table(rows: Rows) -> str:
    """Area, memory and their product relative to the dual FP8 unit, beside the paper's claims."""
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
    """Weights as seeds: decoders and requantizer for 64 weights a cycle in front of the dot units of the target."""
    found = []
    for target in ("mxint8", "mxfp4_e2m1"):
        dot = point(rows, target)
        decoder, requantizer = (gates(rows, n) for n in ("seed_decoder_seedlm4", f"requantizer_seedlm4_{target}"))
        parts = (dot.nand2, decoder, requantizer)
        whole = None if None in parts else dot.nand2 + ELEMENTS // 8 * decoder + ELEMENTS // 32 * requantizer
        transfers = ceil(layout("seedlm4").row_nbytes(TILE) / TRANSFER)
        found.append(Point(f"seedlm4 to {target}", whole, transfers))
    return found


def pareto(rows: Rows, vectors: int) -> list[tuple[Point, float]]:
    """(point, QSNR in dB) of every format: N(0,1), vectors of 1024."""
    from hwsim.formats.quality import qsnr_table

    found = []
    for name, at in [(n, point(rows, n)) for n in BDR_FORMATS] + [("seedlm4", p) for p in seed_points(rows)]:
        (one,) = qsnr_table([name], ["normal"], vectors=vectors)
        found.append((at, one.db))
    return found


def draw(found: list[tuple[Point, float]], base: Point, path: Path) -> None:
    """QSNR over area x memory; points without an area are left out."""
    plt = pyplot()
    figure, plane = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
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


def page_text(rows: Rows, found: list[tuple[Point, float]], vectors: int) -> str:
    """The committed page."""
    from hwsim import __version__

    measures = [each for row in rows.values() for each in row.values() if isinstance(each, dict)]
    tools = sorted({f"{name} {version}" for each in measures for name, version in each["tools"].items()})
    missed = misses(rows)
    quality = table(
        ["format", "QSNR, dB", "NAND2", "transfers"],
        [[p.format, f"{db:.2f}", cell(p.nand2), str(p.transfers)] for p, db in found],
    )
    return f"""# What the units weigh

    make fpga      # measures, hours: hwsim/data/units.json
    make cost      # hwsim {__version__}: this page; {", ".join(tools)}; seeds 1 to 5; QSNR seed 0

`-` was not measured. LUT: LUT1 to LUT6 after `synth_xilinx -family xc7 -nodsp -noiopad -flatten`, what else holds a
table beside it. All flows read the RTLIL that the Verilog is written from, and drop second names of signals first
(`opt_clean -purge`): with them, Yosys's ABC9 ends in an assertion on the requantizers.
ECP5-85F: `synth_ecp5 -nodsp`, counts of the unit alone, MHz the median of five seeds of nextpnr in a shift-register
harness. iCE40: HX8K. NAND2: `synth`, `abc` to simple gates, transistors by `stat -tech cmos` over 4; a register counts
4, its enable a multiplexer more, memories registers. Dot units deliver the sum up to a sign beside it (integers: two's
complement). The peer: MX-for-FPGA (arXiv 2407.01475), 32 elements, combinational, two's complement, by the same
synthesis. Asked: the project's lines.

```
{units_table(rows)}
```

Lines not met{":" if missed else ": none."}
{"".join(f"{chr(10)}{each}" for each in missed)}{chr(10) if missed else ""}
## A 64-element dot product: area x memory

Relative to one FP8 unit for E4M3 and E5M2 (64 elements of 5 exponent and 3 fraction bits, exact). Area: NAND2 of the
dot units for 64 elements a cycle and one FP32 accumulator for each block result. Memory: transfers of 64 B for a tile
of {TILE} elements. Paper: BDR, arXiv 2302.08007; its units align, keep at most 25 bits, have one accumulator and no
pipeline. Ours are exact, with one accumulator for each block: it weighs on the short blocks of MX9, MX6, MX4, NVFP4.
Sums of more than 64 bits, those of E5M2 and the FP8 unit, are added in two stages: faster, and larger.

```
{bdr_table(rows)}
```

## QSNR against cost

![QSNR over area x memory](cost.svg)

N(0,1), {vectors:,} vectors of 1024 (seed formats: fewer, as `hwsim format --qsnr` says). Seed points: decoders and
requantizers for 64 weights a cycle in front of the target's dot units; the QSNR is that of the weights as decoded.

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
    write_whole(path, page_text(rows, found, vectors))
    print(f"written: {path}")


if __name__ == "__main__":
    main()
