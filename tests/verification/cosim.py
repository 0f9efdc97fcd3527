"""`make cosim`: products on engines in gates beside the cycles that the simulator predicted; reports/rtl_agreement.md.

All predictions are computed and written before the first gate is made. Two grids are drawn, from SEED and SEED + 1; the
second one runs on the same gates and stands in the page by its summary. The page of another SEED goes to build/.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hwsim.arch import arch_config, load_arch
from hwsim.specs import Gemv
from rtl.gemv import GemvUnit
from tests.rtl.gemv_cases import Case
from tests.rtl.gemv_run import run_gates
from tests.verification.cosim_grid import ENGINES, MUTATED, Drawn, grid
from tests.verification.cosim_page import Grid, Mutant, write_page

ROOT = Path(__file__).resolve().parents[2]

SIMULATOR = os.environ.get("HWSIM_RTL_SIM", "verilator")
"""For so many cycles four times as fast as Icarus."""

EXPERIMENT = (16, 15, 12, 8, 4)
"""Decoders of the SeedLM experiment in gates; the paper's design has 16."""


def experiment(decoders: int, size: int = 2048) -> Case:
    """SeedLM's matrix-vector product on the shipped engine with that many decoders."""
    arch = load_arch("gemv-engine", [("gemv.decoders", str(decoders))])
    return Case(json.dumps(arch_config(arch)), size, size, seed=decoders)


@dataclass(frozen=True)
class Job:
    """Products on one elaboration. gates: the spec that is built; None: that of the cases' machine."""

    name: str
    cases: tuple[Case, ...]
    gates: Gemv | None = None

    def run(self, folder: Path) -> tuple[list[dict], float]:
        """(what the gates found, seconds)."""
        begin, unit = time.monotonic(), GemvUnit(self.gates) if self.gates else None
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("HWSIM_RTL_SIM", SIMULATOR)
            found = run_gates(list(self.cases), fresh(folder / self.name), monkeypatch, unit, folder)
        for case, result in zip(self.cases, found, strict=True):
            assert result["beats"] == result["beats_stored"], (case, result)
        return found, time.monotonic() - begin


@dataclass(frozen=True)
class Wrong:
    """A mutant: what is wrong; the numbers of the cases that it runs; the job they are in, from its case `first` on."""

    name: str
    numbers: list[int]
    job: Job
    first: int = 0

    def of(self, found: dict[str, list[dict]]) -> Mutant:
        """What the gates found of it."""
        return Mutant(self.name, self.numbers, found[self.job.name][self.first :][: len(self.numbers)])


def mutants(drawn: list[Drawn]) -> list[Wrong]:
    """The cases of the grid on one engine, each time with one thing wrong beside the simulator.

    Refresh that comes late is run where there is refresh.
    """
    spec, mine = ENGINES[MUTATED], [i for i, d in enumerate(drawn) if d.engine == MUTATED]
    cases = {i: drawn[i].case for i in mine}
    refreshed = [i for i in mine if cases[i].arch.dram.refresh.kind != "none"]
    late = [replace(cases[i], late=1) for i in mine] + [replace(cases[i], phase=1) for i in refreshed]
    memory = Job("mutant_memory", tuple(late))
    fifo = Job("mutant_fifo", tuple(cases.values()), replace(spec, fifo=spec.fifo - 1))
    return [
        Wrong("memory latency 1 cycle longer", mine, memory),
        Wrong("refresh 1 cycle later", refreshed, memory, len(mine)),
        Wrong(f"FIFO of {fifo.gates.fifo} beats for {spec.fifo}", mine, fifo),
    ]


def run(jobs: list[Job], folder: Path, workers: int) -> dict[str, list[dict]]:
    """What the gates found, by job: each result with what was predicted. The predictions are on disk before."""
    predicted = {job.name: [case.predicted() for case in job.cases] for job in jobs}
    fresh(folder)
    (folder / "predicted.json").write_text(json.dumps(predicted, indent=1))
    found = {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(job.run, folder): job for job in jobs}
        for done in as_completed(running):
            job, (results, seconds) = running[done], done.result()
            found[job.name] = [{"predicted": p, **r} for p, r in zip(predicted[job.name], results, strict=True)]
            errors = [abs(one["cycles"] - one["predicted"]) for one in found[job.name]]
            cycles = sum(one["cycles"] for one in results)
            shown = f"{len(results)} products, {cycles:,} cycles, largest error {max(errors)}, {seconds:.0f} s"
            print(f"{job.name}: {shown}", flush=True)
            (folder / "found.json").write_text(json.dumps(found))
    return found


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def grid_jobs(drawn: list[Drawn]) -> list[Job]:
    """One for each engine."""
    return [
        Job(f"engine{number}", tuple(d.case for d in drawn if d.engine == number))
        for number in sorted({d.engine for d in drawn})
    ]


def in_order(drawn: list[Drawn], found: dict[str, list[dict]]) -> list[dict]:
    """What `grid_jobs` found, in the order of the cases."""
    by_engine = {d.engine: iter(found[f"engine{d.engine}"]) for d in drawn}
    return [next(by_engine[d.engine]) for d in drawn]


def main() -> int:
    """The command. Status 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the grid")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="elaborations at once")
    options = parser.parse_args()
    folder = ROOT / "build" / "cosim"
    first, second = list(grid(options.seed)), list(grid(options.seed + 1))
    wrong = mutants(first)
    big = {decoders: Job(f"seedlm4_{decoders}", (experiment(decoders),)) for decoders in EXPERIMENT}
    jobs = [*big.values(), *grid_jobs(first + second), *dict.fromkeys(each.job for each in wrong)]
    found = run(jobs, folder, options.jobs)
    both = in_order(first + second, found)
    grids = [
        Grid(options.seed, first, both[: len(first)]),
        Grid(options.seed + 1, second, both[len(first) :]),
    ]
    seen = [each.of(found) for each in wrong]
    results = {decoders: found[job.name][0] for decoders, job in big.items()}
    out = ROOT / "reports" if options.seed == 0 else folder
    good = write_page(out, SIMULATOR, grids, seen, results)
    print(f"{out / 'rtl_agreement.md'}: {'every figure is reached' if good else 'A FIGURE IS MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
