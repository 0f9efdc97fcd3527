"""`make cosim`: products on engines in gates beside the cycles that the simulator predicted; reports/rtl_agreement.md.

All predictions are computed and written before the first gate is made. SEED draws another grid.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest
from cosim_page import write_page
from gemv_cases import Case
from gemv_run import run_gates
from simulator import choose

from hwsim.arch import arch_config, load_arch
from hwsim.specs import Gemv
from rtl.gemv import GemvUnit

ROOT = Path(__file__).resolve().parents[2]
CASES_EACH = 4  # of a kind and engine

ENGINES = (
    Gemv("mxint8", "mxint8", 64, fifo=24, k_max=512),
    Gemv("mxfp4_e2m1", "mxfp4_e2m1", 32, fifo=12, results=15, k_max=512),
    Gemv("nvfp4", "mxfp8_e4m3", 16, fifo=20, k_max=512),
    Gemv("mxfp6_e2m3", "mxint8", 4, fifo=64, interleave=16, k_max=512),
    Gemv("mx9", "mxint8", 64, dot_units=2, fifo=9, results=20, k_max=512),
    Gemv("int8", "mxfp8_e5m2", 8, fifo=16, k_max=512),
    Gemv("seedlm4", "mxint8", 32, decoders=3, fifo=16, k_max=512),
    Gemv("seedlm3", "mxint8", 32, decoders=4, fifo=18, k_max=512),
    Gemv("seedlm4", "mxfp8_e4m3", 16, dot_units=2, decoders=2, target="mxfp4_e2m1", fifo=32, k_max=512),
)
"""One elaboration each: formats, beats of 4 to 64 bytes, one or two dot units, deep and shallow FIFOs."""


@dataclass(frozen=True)
class Drawn:
    """A case of the grid. engine: its number; ratio: work of the memory over work of decoders and dot units."""

    engine: int
    case: Case
    ratio: Fraction

    @property
    def kind(self) -> str:
        """What sets the speed."""
        if self.ratio > Fraction(11, 10):
            return "starved"
        return "balanced" if self.ratio >= Fraction(9, 10) else "compute"

    @property
    def uneven(self) -> bool:
        """Whether zero rows or zeros at the end of K fill a group or a block."""
        spec = self.case.arch.engine
        return bool(self.case.n % spec.group_rows or self.case.k % (spec.dot.lanes * spec.parts))

    @property
    def disturbed(self) -> bool:
        """Whether there are refresh windows or a sink that stalls."""
        return self.case.p_ready < 1 or self.case.arch.dram.refresh.kind != "none"


def beat_cycles(spec: Gemv) -> Fraction:
    """Cycles that decoders or dot units need for a beat: the slower of the two."""
    return spec.beat_bits / min(Fraction(spec.step_bits, spec.parts), Fraction(spec.unpack.bits_out))


def machine_text(spec: Gemv, bandwidth: Fraction, latency: int, refresh: dict) -> str:
    """An engine machine around `spec`."""
    fields = "weights activations dot_units interleave decoders target fifo results k_max"
    engine = {name: getattr(spec, name) for name in fields.split()}
    dram = {"bandwidth": f"{float(bandwidth)} B/cycle", "latency": f"{latency} cycle", "beat": f"{spec.beat_bytes} B"}
    dram |= {"capacity": "1 GB", "refresh": refresh}
    return json.dumps({"name": "grid", "description": "drawn", "clock": "100 MHz", "dram": dram, "engine": engine})


def grid(seed: int, engines=ENGINES, each: int = CASES_EACH) -> Iterator[Drawn]:
    """`each` cases of a kind and engine: starved; where the beat is wide enough for that, balanced and bound by
    compute too. A third has refresh, a quarter a sink that stalls."""
    draw = random.Random(seed)
    for number, spec in enumerate(engines):
        need = beat_cycles(spec)
        kinds = ["starved", "balanced", "compute"] if need > Fraction(5, 4) else ["starved"]
        for i in range(each * len(kinds)):
            low, high = {"starved": (1.2, 3), "balanced": (0.93, 1.07), "compute": (0.4, 0.85)}[kinds[i % len(kinds)]]
            bandwidth = round(Fraction(spec.beat_bytes) / need / Fraction(draw.uniform(low, high)), 3)
            refresh = {"kind": "none"}
            if i % 3 == 2 - number % 3:
                stall = draw.randint(5, 60)
                period = stall * draw.randint(3, 12)
                refresh = {"kind": "all_bank", "period": f"{period} cycle", "stall": f"{stall} cycle"}
            latency = draw.choice([1, draw.randint(2, 40), draw.randint(40, 150)])
            n = draw.randint(1, 3) * spec.group_rows - draw.choice([0, draw.randint(0, spec.group_rows - 1)])
            k = draw.choice([32 * draw.randint(1, 12), draw.randint(1, 400)])
            p_ready = draw.choice([0.3, 0.6, 0.9]) if draw.random() < 0.25 else 1.0
            case = Case(machine_text(spec, bandwidth, latency, refresh), n, k, draw.getrandbits(30), p_ready)
            # The beat port carries one beat a cycle, however fast the memory.
            yield Drawn(number, case, max(Fraction(spec.beat_bytes) / bandwidth, Fraction(1)) / need)


EXPERIMENT = (16, 15, 12, 8, 4)
"""Decoders of the SeedLM experiment in gates; the paper's design has 16."""


def experiment(decoders: int, size: int = 2048) -> Case:
    """SeedLM's matrix-vector product on the shipped engine with that many decoders."""
    arch = load_arch("gemv-engine", [("engine.decoders", str(decoders))])
    return Case(json.dumps(arch_config(arch)), size, size, seed=decoders)


@dataclass(frozen=True)
class Job:
    """Products on one elaboration. simulator: None: the machine's; shallower: entries that the gates' FIFO lacks."""

    name: str
    cases: tuple[Case, ...]
    simulator: str | None = None
    shallower: int = 0

    def run(self, folder: Path) -> tuple[list[dict], float]:
        """(what the gates found, seconds)."""
        begin, unit, spec = time.monotonic(), None, self.cases[0].arch.engine
        if self.shallower:
            unit = GemvUnit(replace(spec, fifo=spec.fifo - self.shallower))
        with pytest.MonkeyPatch.context() as monkeypatch:
            if self.simulator:
                monkeypatch.setenv("HWSIM_RTL_SIM", self.simulator)
            found = run_gates(list(self.cases), fresh(folder / self.name), monkeypatch, unit)
        for case, result in zip(self.cases, found, strict=True):
            assert result["beats"] == result["beats_stored"], (case, result)
        return found, time.monotonic() - begin


def mutants() -> dict[str, tuple[Job, int]]:
    """Job and number of products on engine 1, each with one thing wrong on the side of the gates."""
    spec = ENGINES[1]
    refresh = {"kind": "all_bank", "period": "200 cycle", "stall": "40 cycle"}
    near = Case(machine_text(spec, Fraction(32), 30, refresh), 26, 320, 1)
    far = Case(machine_text(spec, Fraction(32), 60, {"kind": "none"}), 26, 320, 2)
    memory = Job("mutant_memory", (replace(far, late=1), replace(near, phase=1)))
    fifo = Job("mutant_fifo", (far,), shallower=1)
    return {
        "memory latency 1 cycle longer": (memory, 0),
        "refresh 1 cycle later": (memory, 1),
        f"FIFO of {spec.fifo - 1} entries for {spec.fifo}": (fifo, 0),
    }


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


def main() -> int:
    """The command. Status 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the grid")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder of the page")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="elaborations at once")
    options = parser.parse_args()
    drawn, wrong = list(grid(options.seed)), mutants()
    big = {decoders: Job(f"seedlm4_{decoders}", (experiment(decoders),), "verilator") for decoders in EXPERIMENT}
    first, *rest = big.values()
    jobs = [first, *grid_jobs(drawn), *dict.fromkeys(job for job, _ in wrong.values()), *rest]
    found = run(jobs, ROOT / "build" / "cosim", options.jobs)
    in_order = [one for job in grid_jobs(drawn) for one in found[job.name]]
    mutant_rows = []
    for name, (job, i) in wrong.items():
        case, one = job.cases[i], found[job.name][i]
        mutant_rows.append((name, f"{case.n} x {case.k}", one["cycles"] - one["predicted"]))
    results = {decoders: found[job.name][0] for decoders, job in big.items()}
    good = write_page(options.out, options.seed, choose(), ENGINES, drawn, in_order, mutant_rows, results)
    print(f"{options.out / 'rtl_agreement.md'}: {'every figure is reached' if good else 'A FIGURE IS MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
