"""`make fpga`: measure the published units; `hwsim/data/units.json` is written after each measure.

A row holds the hash of the unit's netlist (`rtl.identity`) and the tools' versions; what both have been measured for
is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from hwsim.errors import InputError

from .catalog import LEAF_UNITS, row
from .emit import netlist
from .identity import netlist_sha256
from .synthesis import MEASURES, measure, tools

UNITS = Path(__file__).parents[1] / "hwsim" / "data" / "units.json"
ABOUT = "written by `make fpga`, nothing by hand; what is null was not measured"


def read_rows() -> dict[str, dict]:
    """The rows as they are."""
    return json.loads(UNITS.read_text())["units"] if UNITS.exists() else {}


def save(rows: dict[str, dict]) -> None:
    """Write all rows, in the catalogue's order."""
    UNITS.parent.mkdir(exist_ok=True)
    data = {"about": ABOUT, "units": {name: rows[name] for name in LEAF_UNITS if name in rows}}
    part = UNITS.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    part.replace(UNITS)


def row_of(name: str, about: dict) -> dict:
    """A unit's row; all measures null where it was made for another netlist."""
    row = read_rows().get(name)
    if row is None or row["netlist_sha256"] != about["netlist_sha256"]:
        row = dict.fromkeys(MEASURES)
    return {**about, **{kind: row[kind] for kind in MEASURES}}


def update(only: list[str], kinds: list[str], folder: Path) -> None:
    """Bring the named units' rows up to date, kind by kind: the cheap measures of all units come first."""
    words = [word for word in only if word not in LEAF_UNITS]
    names = [name for name in LEAF_UNITS if not only or name in only or any(word in name for word in words)]
    if not names:
        raise InputError(f"ONLY={' '.join(only)}: no unit's name holds that; `python -m rtl all` lists them")
    current: dict[str, str] = {}
    for kind in kinds:
        for name in names:
            spec = LEAF_UNITS[name]
            unit = row(spec).component(spec)
            if name not in current:
                current[name] = netlist_sha256(netlist(unit, name))
            about = {"netlist_sha256": current[name], "latency": spec.timing.latency}
            about["per_cycle"] = row(spec).per_cycle(spec)
            found = row_of(name, about)[kind]
            if found and found["tools"] == tools(kind):
                continue
            start = time.monotonic()
            try:
                found = measure(kind, unit, name, folder)
                said = ", ".join(f"{key} {value}" for key, value in found.items() if key != "tools")
            except InputError as error:
                said = f"failed: {error}"
            print(f"{name} {kind}: {said} ({time.monotonic() - start:.0f} s)", flush=True)
            # Read again: another process may have measured another kind meanwhile.
            save({**read_rows(), name: {**row_of(name, about), kind: found}})


def main() -> int:
    """Parse, measure."""
    parser = argparse.ArgumentParser(prog="python -m rtl.fpga", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="units, or words in their names; default: all")
    parser.add_argument("--kind", nargs="*", default=list(MEASURES), choices=list(MEASURES), help="default: all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=_build()) as folder:
        try:
            update(arguments.only, arguments.kind, Path(folder))
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


def _build() -> Path:
    """Inside the checkout: the tools see the system's temporary folder not at all."""
    folder = Path("build/fpga")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
