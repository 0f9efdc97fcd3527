"""docs/validation.md states what reports/verification.md found when `make verification` ran last."""

import re
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl.units import MUTANTS, PROOFS


def test_the_page_of_trust_states_the_report():
    """Proofs and mutants that are newer than the page run in `make formal` and `make test-all` until it is renewed."""
    root = Path(__file__).parents[2]
    page, trust = ((root / name).read_text() for name in ("reports/verification.md", "docs/validation.md"))
    proofs = re.search(r"^(\d+) of \1 proofs close", page, re.M)
    mutants = re.search(r"^(\d+) of \1 mutants are killed;", page, re.M)
    assert f"all {mutants[1]} mutants are killed; all {proofs[1]} properties are proven" in trust
    assert int(proofs[1]) <= len(PROOFS) and int(mutants[1]) <= len(MUTANTS)
    sums = re.search(r"^Verilator .*: (.*) inputs, .*, (.*) cycles: 0 mismatches in data, 0 in cycles.$", page, re.M)
    assert f"{sums[1]} inputs, {sums[2]} cycles, 0 mismatches" in trust
