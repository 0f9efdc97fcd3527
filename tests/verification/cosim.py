"""`make cosim`: GEMMs in RTL beside the cycles that the simulator predicted; reports/rtl_agreement.md.

All predictions are computed and written before the first RTL is made. Two grids of matrix-vector products are drawn,
from SEED and SEED + 1; the second one runs on the same RTL, and the page has its summary. A third is of GEMMs with
several rows of x. The page of another SEED goes to build/.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from hwsim.arch import arch_config, load_arch
from tests.rtl.gemv_cases import Case
from tests.verification.cosim_grid import GEMM_NUMBERS, grid
from tests.verification.cosim_jobs import SIMULATOR, Job, grid_jobs, in_order, mutants, run
from tests.verification.cosim_page import Grid, write_page

ROOT = Path(__file__).resolve().parents[2]

EXPERIMENT = (16, 15, 12, 8, 4)
"""Decoders of the SeedLM experiment in RTL; the paper's design has 16."""


def experiment(decoders: int, size: int = 2048) -> Case:
    """SeedLM's matrix-vector product on the shipped GEMV machine with that many decoders."""
    arch = load_arch("gemv-engine", [("gemv.decoders", str(decoders))])
    return Case(json.dumps(arch_config(arch)), size, size, seed=decoders)


def main() -> int:
    """The command. Status 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the grid")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="elaborations at once")
    options = parser.parse_args()
    folder = ROOT / "build" / "cosim"
    first, second = list(grid(options.seed)), list(grid(options.seed + 1))
    gemms = list(grid(options.seed, GEMM_NUMBERS))
    wrong, wrong_gemms = mutants(first), mutants(gemms, GEMM_NUMBERS[0])
    big = {decoders: Job(f"seedlm4_{decoders}", (experiment(decoders),)) for decoders in EXPERIMENT}
    jobs = [*big.values(), *grid_jobs(first + second + gemms)]
    jobs += dict.fromkeys(each.job for each in wrong + wrong_gemms)
    found = run(jobs, folder, options.jobs)
    both = in_order(first + second, found)
    grids = [
        Grid(options.seed, first, both[: len(first)]),
        Grid(options.seed + 1, second, both[len(first) :]),
    ]
    seen, seen_gemms = ([each.of(found) for each in each_wrong] for each_wrong in (wrong, wrong_gemms))
    several = Grid(options.seed, gemms, in_order(gemms, found))
    results = {decoders: found[job.name][0] for decoders, job in big.items()}
    out = ROOT / "reports" if options.seed == 0 else folder
    good = write_page(out, SIMULATOR, grids, several, seen, seen_gemms, results)
    print(f"{out / 'rtl_agreement.md'}: {'every figure is reached' if good else 'A FIGURE IS MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
