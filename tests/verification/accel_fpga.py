"""`make fpga-accel`: `hwsim_accel` counted for Xilinx 7; reports/accel_fpga.md.

Counts made of the same netlist by the same tools are taken from build/accel_fpga.
"""

import sys
from pathlib import Path

import hwsim
from hwsim.files.whole import write_whole
from hwsim.specs import Accel, Gemm, Gemv
from rtl.accel import AccelUnit
from rtl.synthesis import cells, tools, yosys
from rtl.synthesis import read as read_netlist
from tests.verification.cosim_page import markdown
from tests.verification.gemv_fpga import ROOT, built, described, xilinx_sums, xilinx_units

ACCELS = {
    "ulx3s": Accel(Gemv("mxfp4_e2m1", "mxfp4_e2m1", 16, fifo=16, k_max=1024)),
    "layer": Accel(Gemm("mxfp4_e2m1", "mxint8", 32, dot_units=2, fifo=32, k_max=1536, tile=3)),
}
"""The accelerator of `rtl.ulx3s`, and the one that runs a layer of MiniLM in `tests/rtl/bench_layer.py`."""


def on_xilinx(name: str, spec: Accel, folder: Path) -> Path:
    """Yosys's `stat -json`, as `gemv_fpga` counts: no DSP, the hierarchy stays."""
    place = built(AccelUnit(spec), name, "xc7", folder)
    if not (place / "stat.json").exists():
        script = "synth_xilinx -family xc7 -noiopad -nodsp -top top; tee -q -o part.json stat -json"
        yosys(f"{read_netlist('top')}{script}", place)
        (place / "part.json").rename(place / "stat.json")
    return place / "stat.json"


def words(spec: Accel) -> str:
    """A configuration in words."""
    tile = f", a tile of {spec.gemv.tile} rows" if spec.gemv.tile > 1 else ""
    return f"{described(spec.gemv)}{tile}, bursts of {spec.burst}"


def page(stats: dict[str, Path], made_by: dict[str, str]) -> str:
    """reports/accel_fpga.md. made_by: tools and their versions."""
    sums = {name: xilinx_sums(cells(stat)) for name, stat in stats.items()}
    kinds = next(iter(sums.values()))
    counts = markdown(["cells", *sums], [[kind, *(each[kind] for each in sums.values())] for kind in kinds])
    units = "\n".join(
        f"\n{name}:\n\n{markdown(['unit', 'LUT of each', 'number'], xilinx_units(stat))}"
        for name, stat in stats.items()
    )
    return f"""# The accelerator counted for Xilinx 7

`make fpga-accel`, hwsim {hwsim.__version__}, {", ".join(f"{name} {number}" for name, number in made_by.items())}.

`hwsim_accel` with its AXI4 master and its registers: `synth_xilinx -family xc7 -noiopad -nodsp`, hierarchy kept, no
place and route. [gemv_fpga](gemv_fpga.md) has the GEMV unit without the buses, [cost](cost.md) the parts.

{chr(10).join(f"- {name}: {words(ACCELS[name])}" for name in stats)}

{counts}
{units}
"""


def main() -> int:
    """Count, write the page."""
    folder, stats = ROOT / "build" / "accel_fpga", {}
    for name, spec in ACCELS.items():
        stats[name] = on_xilinx(name, spec, folder)
        print(f"{name}: {xilinx_sums(cells(stats[name]))}", flush=True)
    write_whole(ROOT / "reports" / "accel_fpga.md", page(stats, tools("xc7")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
