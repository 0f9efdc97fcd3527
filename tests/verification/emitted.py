"""The suite `verilog`: every measured unit's netlist has the hash that `hwsim/data/units.json` holds."""

import json

from rtl.catalog import LEAF_UNITS, build
from rtl.emit import netlist
from rtl.fpga import UNITS
from rtl.identity import netlist_sha256
from tests.verification.formal.sby import cpu_seconds
from tests.verification.suite import Row, Suite

ROWS = json.loads(UNITS.read_text())["units"]


def wrong(name: str) -> str:
    """What is wrong with a unit's row; empty where nothing is."""
    spec, found = LEAF_UNITS[name], ROWS[name]
    if found["netlist_sha256"] != netlist_sha256(netlist(build(spec), name)):
        return f"{name} has changed: run `make fpga ONLY={name}`"
    return "" if found["latency"] == spec.timing.latency else f"{name}: latency {spec.timing.latency}"


def emitted(name: str) -> Row:
    """One unit."""
    start = cpu_seconds()
    said = wrong(name)
    return Row((name, said or "as measured"), not said, cpu_seconds() - start)


SUITE = Suite(
    "verilog",
    "the netlist of every measured unit is that which was measured",
    emitted,
    tuple(ROWS),
    __name__,
    data=("hwsim/data/units.json",),
    packages=("amaranth",),
)
