"""docs/validation.md states what reports/verification.md found, and the page has every proof and every mutant."""

import re
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl.independent.kinds import KINDS
from tests.rtl.units import MUTANTS, PROOFS
from tests.verification import independent


def test_the_page_of_trust_states_the_report():
    root = Path(__file__).parents[2]
    page, trust = ((root / name).read_text() for name in ("reports/verification.md", "docs/validation.md"))
    assert f"\n{len(PROOFS)} of {len(PROOFS)} proofs close" in page
    assert f"{len(MUTANTS)} of {len(MUTANTS)} mutants are killed;" in page
    assert f"all {len(MUTANTS)} mutants are killed; all {len(PROOFS)} properties are proven" in trust
    sums = re.search(r"^Verilator .*: (.*) inputs, .*, (.*) cycles: 0 mismatches in data, 0 in cycles.$", page, re.M)
    assert f"{sums[1]} inputs, {sums[2]} cycles, 0 mismatches" in trust


def test_the_second_reference_has_answered_for_every_unit():
    """100,000 inputs or more each, no mismatch; the page has these rows and is written from them alone."""
    rows, page = independent.read(), independent.PAGE.read_text()
    assert list(rows) == [kind.command for kind in KINDS]
    assert all(row["inputs"] >= 100_000 and row["mismatches"] == 0 for row in rows.values())
    table = independent.section(rows, []).split("| --- |")[1]
    assert page.endswith(f"{table}\n")
    trust = independent.PAGE.parents[1].joinpath("docs", "validation.md").read_text()
    assert (
        f"{len(rows)} units | " in trust and f"{sum(row['inputs'] for row in rows.values()):,} inputs, seed 0" in trust
    )


def test_the_section_names_what_is_newer():
    row = {"inputs": 5, "outputs": 5, "mismatches": 0, "with": "Verilator 1"}
    assert "**Newer" not in independent.section({"scale": row}, [])
    assert "**Newer than these rows** is the Verilog of `scale`." in independent.section({"scale": row}, ["scale"])
    assert independent.renew("# A\n\nb\n", "## A second reference\nc") == "# A\n\nb\n\n## A second reference\nc\n"
    once = independent.renew("# A\n", "## A second reference\nc")
    assert independent.renew(once, "## A second reference\nd") == "# A\n\n## A second reference\nd\n"
