"""docs/validation.md states what reports/verification.md found, and the page has every proof and every mutant."""

import re
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl.units import MUTANTS, PROOFS


def test_the_page_of_trust_states_the_report():
    root = Path(__file__).parents[2]
    page, trust = ((root / name).read_text() for name in ("reports/verification.md", "docs/validation.md"))
    assert f"\n{len(PROOFS)} of {len(PROOFS)} proofs close" in page
    assert f"{len(MUTANTS)} of {len(MUTANTS)} mutants are killed;" in page
    assert f"all {len(MUTANTS)} mutants are killed; all {len(PROOFS)} properties are proven" in trust
    sums = re.search(r"^Verilator .*: (.*) inputs, .*, (.*) cycles: 0 mismatches in data, 0 in cycles.$", page, re.M)
    assert f"{sums[1]} inputs, {sums[2]} cycles, 0 mismatches" in trust
