"""`python -m rtl.asic --liberty FILE.lib`: area, delay and power of the units in a standard-cell library.

Yosys (of the extra `fpga`) maps a unit to the library's cells twice. Small: the fewest um2, which NAND2-equivalents are
held against. Fast: ABC buffers nets of more than 16 loads, the enable of a pipeline above all, and sizes the cells for
the shortest delay. Delay and power of the fast one need OpenSTA, the program `sta`; without it they are left out.
No wires and no clock tree: what is placed and routed is slower and takes more.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import InputError

from .catalog import LEAF_UNITS, build, row
from .emit import netlist
from .identity import netlist_sha256
from .liberty import Library, load
from .synthesis import read, tools, yosys

__all__ = ["ACTIVITY", "Mapped", "main", "mapped"]

DATA = Path(__file__).parents[1] / "hwsim" / "data" / "asic.json"
ABOUT = "written by `make asic`, nothing by hand; um2, ns, mW at the shortest period, and the hash of the netlist"
ACTIVITY = 0.2
"""Changes of every net per cycle, for power. OpenSTA's own propagation from the inputs adds up the changes of all
inputs of an XOR, which after a tree of adders is more than a wire can do."""

# The public home of each library, by what the file calls itself.
HOMES = {
    "NangateOpenCellLibrary": ("Nangate45", "Nangate 45 nm Open Cell Library, typical corner"),
    "sky130_fd_sc_hd__tt": ("SKY130 hd", "github.com/google/skywater-pdk-libs-sky130_fd_sc_hd, typical corner"),
    "sg13g2_stdcell_typ": ("SG13G2", "github.com/IHP-GmbH/IHP-Open-PDK, typical corner"),
    "asap7sc7p5t": ("ASAP7", "github.com/The-OpenROAD-Project/asap7sc7p5t_28, RVT, slow corner"),
}

MAP = "strash;&get -n;&fraig -x;&put;scorr;dc2;dch -f;map -B 0.9;topo;buffer -c -N 16;upsize;dnsize"
"""Of ABC: as Yosys's own script for a library, and no net with more than 16 loads."""


@dataclass(frozen=True)
class Mapped:
    """A unit in a library. area_um2, register_um2: small; fast_um2: fast.

    delay_ns: the shortest period of the fast one; mw: its power at that period; None without OpenSTA.
    """

    area_um2: float
    register_um2: float
    fast_um2: float
    delay_ns: float | None = None
    mw: float | None = None


def mapped(unit, name: str, library: Library, folder: Path, activity: float = ACTIVITY) -> Mapped:
    """Map a unit in `folder`, which holds the library's files; with OpenSTA, time it and measure its power.

    raises: InputError with the tool's last lines where one fails.
    """
    (folder / f"{name}.il").write_text(netlist(unit, name))
    (folder / "map.abc").write_text(MAP.replace(";", "\n") + "\n")
    (folder / "drive.constr").write_text(f"set_driving_cell {library.buffer.name}\n")
    files = " ".join(f"-liberty {path.name}" for path in library.files)
    unused = "".join(f" -dont_use {cell}" for cell in library.special)
    yosys(
        f"{read(name)}synth -flatten -top {name}; dfflegalize -cell $_DFF_P_ 01; dfflibmap {files}; opt -full; "
        f"design -save unmapped; abc {files}{unused}; opt_clean -purge; "
        f"tee -q -o {name}.small.json stat {files} -json; "
        f"design -load unmapped; abc {files}{unused} -constr drive.constr -script map.abc; setundef -zero; "
        f"opt_clean -purge; tee -q -o {name}.fast.json stat {files} -json; "
        # OpenSTA reads one bit at a time, and no name of a signal inside is needed.
        f"splitnets -ports; rename -hide w:*; opt_clean -purge; "
        f"write_verilog -noattr -noexpr -nohex -nodec {name}.cells.v",
        folder,
    )
    small, fast = (json.loads((folder / f"{name}.{kind}.json").read_text())["design"] for kind in ("small", "fast"))
    unmapped = [kind for kind in small["num_cells_by_type"] if kind.startswith("$")]
    if unmapped:
        raise InputError(f"{name}: the library has no cell for {', '.join(unmapped)}; write all files of the library")
    areas = float(small["area"]), float(small["sequential_area"]), float(fast["area"])
    return Mapped(*areas) if shutil.which("sta") is None else Mapped(*areas, *timed(name, library, folder, activity))


def timed(name: str, library: Library, folder: Path, activity: float) -> tuple[float, float]:
    """(shortest period in ns, power in mW at it) of `name`.cells.v by OpenSTA."""
    period, _ = _sta(name, library, folder, activity, 1000.0)
    return period, _sta(name, library, folder, activity, period)[1]


def _sta(name: str, library: Library, folder: Path, activity: float, period_ns: float) -> tuple[float, float]:
    """(shortest period in ns, power in mW at `period_ns`)."""
    period = period_ns / library.ns
    script = "\n".join(
        [
            *(f"read_liberty {path.name}" for path in library.files),
            f"read_verilog {name}.cells.v",
            f"link_design {name}",
            f"create_clock -name clk -period {period:.9f} [get_ports clk]",
            # All inputs but the clock, which is ideal: a buffer that drove every register would have no edges left.
            "set given {}",
            'foreach port [all_inputs] { if {[get_full_name $port] != "clk"} { lappend given $port } }',
            "set_input_delay 0 -clock clk $given",
            "set_output_delay 0 -clock clk [all_outputs]",
            f"set_driving_cell -lib_cell {library.buffer.name} $given",
            f"set_power_activity -global -activity {activity}",
            'puts "slack [worst_slack]"',
            "report_power -digits 6",
        ]
    )
    (folder / f"{name}.tcl").write_text(script + "\n")
    command = ["sta", "-no_splash", "-exit", f"{name}.tcl"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    slack = re.search(r"^slack (\S+)", said, re.M)
    power = re.search(r"^Total +\S+ +\S+ +\S+ +(\S+)", said, re.M)
    if not slack or not power or "Error" in said:
        last = "\n".join(said.splitlines()[-5:])
        raise InputError(f"sta {name}: {last}")
    return (period - float(slack[1])) * library.ns, float(power[1]) * 1000


def named(library: Library) -> tuple[str, str]:
    """A library's short name and where it is from; that of its file where it is none of `HOMES`."""
    for beginning, known in HOMES.items():
        if library.names[0].startswith(beginning):
            return known
    return library.names[0], "a file of your own"


def versions() -> dict[str, str]:
    """The tools of a row."""
    found = tools("gates")
    if shutil.which("sta"):
        said = subprocess.run(["sta", "-version"], capture_output=True, text=True, check=False).stdout
        found["opensta"] = said.strip()
    return found


def chosen(words: Sequence[str]) -> list[str]:
    """Names of units that are one of the words, or hold one.

    raises: InputError where there is none.
    """
    parts = [word for word in words if word not in LEAF_UNITS]
    names = [name for name in LEAF_UNITS if not words or name in words or any(word in name for word in parts)]
    if not names:
        raise InputError(f"--only {' '.join(words)}: no unit's name holds that; `python -m rtl units` lists them")
    return names


def rows(library: Library, names: Sequence[str], folder: Path, known: dict[str, dict]) -> Iterator[tuple[str, dict]]:
    """(unit, row) one after another; a row of `known` with the netlist's hash and the tools' versions is kept."""
    made_by = versions()
    for name in names:
        unit = build(LEAF_UNITS[name])
        sha = netlist_sha256(netlist(unit, name))
        found = known.get(name)
        if not (found and found["netlist_sha256"] == sha and found["tools"] == made_by):
            one = mapped(unit, name, library, folder)
            found = (
                {"netlist_sha256": sha} | {key: _short(value) for key, value in vars(one).items()} | {"tools": made_by}
            )
        yield name, found


def _short(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.5g}")


def line(name: str, found: dict, library: Library) -> str:
    """A unit's row in words."""
    text = f"{name}: {found['area_um2']:,.5g} um2, {found['area_um2'] / library.nand2.area:,.0f} NAND2"
    if found["delay_ns"] is None:
        return text
    energy = found["mw"] * found["delay_ns"] / row(LEAF_UNITS[name]).per_cycle(LEAF_UNITS[name])
    fast = f"fast {found['fast_um2']:,.5g} um2, {found['delay_ns']:.3f} ns"
    return f"{text}, {fast}, {found['mw']:.3g} mW at that period, {energy:.3g} pJ per operation"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, map, print; with --keep, write hwsim/data/asic.json after each unit."""
    parser = argparse.ArgumentParser(prog="python -m rtl.asic", description=__doc__.split("\n")[0])
    parser.add_argument("--liberty", type=Path, nargs="+", required=True, help="files of one library, .lib or .lib.gz")
    parser.add_argument("--only", nargs="*", default=[], help="units, or words in their names; default: all")
    parser.add_argument(
        "--keep", action="store_true", help="note the rows in hwsim/data/asic.json, for reports/asic.md"
    )
    asked = parser.parse_args(arguments)
    # Inside the checkout: the tools do not see the system's temporary folder.
    Path("build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="build") as made:
        try:
            names = chosen(asked.only)
            library = load(asked.liberty, Path(made))
            short, home = named(library)
            noted = json.loads(DATA.read_text())["libraries"] if DATA.exists() else {}
            units = noted.get(short, {}).get("units", {})
            print(f"{short} ({home}): {library.volts:g} V, {library.nand2.name} {library.nand2.area:g} um2")
            if shutil.which("sta") is None:
                print("no delay and no power: OpenSTA (`sta`) is not on the PATH")
            for name, found in rows(library, names, Path(made), units if asked.keep else {}):
                print(line(name, found, library), flush=True)
                if asked.keep:
                    units = {**units, name: found}
                    keep(short, home, library, units)
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


def keep(short: str, home: str, library: Library, units: dict[str, dict]) -> None:
    """Write a library's rows beside those of the others."""
    noted = json.loads(DATA.read_text())["libraries"] if DATA.exists() else {}
    about = {"source": home, "volts": library.volts, "nand2": library.nand2.name, "nand2_um2": library.nand2.area}
    noted[short] = {**about, "units": {name: units[name] for name in LEAF_UNITS if name in units}}
    part = DATA.with_suffix(".part")
    part.write_text(json.dumps({"about": ABOUT, "activity": ACTIVITY, "libraries": noted}, indent=1) + "\n")
    part.replace(DATA)


if __name__ == "__main__":
    sys.exit(main())
