"""Every seed, every pair of element codes and random blocks in plain Verilog: no mismatch in data, none in cycles."""

import re
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.verification import exhaustive
from tests.verification.formal.proofs import PROOFS
from tests.verification.mutants import MUTANTS


@pytest.mark.slow
@pytest.mark.parametrize(("simulator", "group"), exhaustive.RUNS)
def test_every_seed_every_pair_and_random_blocks(simulator, group, tmp_path, monkeypatch, counted):
    if why := exhaustive.missing(simulator):
        pytest.skip(why)
    found = exhaustive.run(simulator, group, tmp_path, monkeypatch)
    sums = exhaustive.total(found.values())
    counted += [f"{simulator}: {name}: {count}" for name, count in found.items()]
    counted.append(f"{simulator}: {group}: {len(found)} units, {sums}")
    assert sums.inputs and (sums.data, sums.cycles_wrong) == (0, 0)


def test_readme_states_the_page():
    """Its counts are those of reports/verification.md, which has every proof and every mutant of the tables."""
    root = Path(__file__).parents[2]
    page, readme = ((root / name).read_text() for name in ("reports/verification.md", "README.md"))
    assert f"\n{len(PROOFS)} of {len(PROOFS)} proofs close while their twins fail; " in page
    assert f"; {len(MUTANTS)} of {len(MUTANTS)} mutants are killed;\n" in page
    assert f"{len(MUTANTS)} mutants are killed, {len(PROOFS)} proofs close and their twins fail" in readme
    sums = re.search(r"^Verilator .*: (.*) inputs, .*, (.*) cycles: 0 mismatches in data, 0 in cycles.$", page, re.M)
    assert f"{sums[1]} inputs, {sums[2]} cycles, 0 mismatches" in readme
