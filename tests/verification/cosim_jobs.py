"""GEMMs on GEMV and GEMM units as RTL, and the cycles predicted for each; mutants of both."""

import json
import multiprocessing
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pytest

from hwsim.specs import Gemv
from rtl.gemv import GemvUnit
from tests.rtl.gemv_cases import Case
from tests.rtl.gemv_run import run_rtl
from tests.verification.cosim_grid import MUTATED, SPECS, Drawn

SIMULATOR = os.environ.get("HWSIM_RTL_SIM", "verilator")
"""For so many cycles four times as fast as Icarus."""


class Mutant(NamedTuple):
    """What is wrong, the numbers of the cases it ran, and what the RTL took."""

    name: str
    numbers: list[int]
    found: list[dict]

    def seen(self) -> dict[int, int]:
        """Cycles off, by number of the cases that see it."""
        errors = {i: f["cycles"] - f["predicted"] for i, f in zip(self.numbers, self.found, strict=True)}
        return {i: error for i, error in errors.items() if error}


@dataclass(frozen=True)
class Job:
    """GEMMs on one elaboration. built: the spec of the RTL; None: that of the cases' machine."""

    name: str
    cases: tuple[Case, ...]
    built: Gemv | None = None

    def run(self, folder: Path) -> tuple[list[dict], float]:
        """(what the bench found, seconds)."""
        begin, unit = time.monotonic(), GemvUnit(self.built) if self.built else None
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("HWSIM_RTL_SIM", SIMULATOR)
            found = run_rtl(list(self.cases), fresh(folder / self.name), monkeypatch, unit, folder)
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
        """What the bench found of it."""
        return Mutant(self.name, self.numbers, found[self.job.name][self.first :][: len(self.numbers)])


def mutants(drawn: list[Drawn], number: int = MUTATED) -> list[Wrong]:
    """The cases of the grid on unit `number`, each time with one thing wrong beside the simulator.

    Refresh that comes late is run where there is refresh.
    """
    spec, mine = SPECS[number], [i for i, d in enumerate(drawn) if d.engine == number]
    cases = {i: drawn[i].case for i in mine}
    refreshed = [i for i in mine if cases[i].arch.dram.refresh.kind != "none"]
    late = [replace(cases[i], late=1) for i in mine] + [replace(cases[i], phase=1) for i in refreshed]
    memory = Job(f"mutant_memory{number}", tuple(late))
    fifo = Job(f"mutant_fifo{number}", tuple(cases.values()), replace(spec, fifo=spec.fifo - 1))
    return [
        Wrong("memory latency 1 cycle longer", mine, memory),
        Wrong("refresh 1 cycle later", refreshed, memory, len(mine)),
        Wrong(f"FIFO of {fifo.built.fifo} beats for {spec.fifo}", mine, fifo),
    ]


def run(jobs: list[Job], folder: Path, workers: int) -> dict[str, list[dict]]:
    """What the bench found, by job: each result with what was predicted. The predictions are on disk before."""
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
            shown = f"{len(results)} GEMMs, {cycles:,} cycles, largest error {max(errors)}, {seconds:.0f} s"
            print(f"{job.name}: {shown}", flush=True)
            (folder / "found.json").write_text(json.dumps(found))
    return found


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def grid_jobs(drawn: list[Drawn]) -> list[Job]:
    """One per unit."""
    return [
        Job(f"engine{number}", tuple(d.case for d in drawn if d.engine == number))
        for number in sorted({d.engine for d in drawn})
    ]


def in_order(drawn: list[Drawn], found: dict[str, list[dict]]) -> list[dict]:
    """What `grid_jobs` found, in the order of the cases."""
    by_engine = {d.engine: iter(found[f"engine{d.engine}"]) for d in drawn}
    return [next(by_engine[d.engine]) for d in drawn]
