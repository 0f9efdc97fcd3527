"""`make cosim`: products on engines in gates beside the cycles that the simulator predicted; reports/rtl_agreement.md.

All predictions are computed and written before the first gate is made. SEED draws another grid.
"""

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator
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


def seen(case: Case, predicted: int, result: dict) -> dict:
    """What the gates found, beside the prediction. raises: AssertionError where beats were lost."""
    assert result["beats"] == result["beats_stored"], (case, result)
    return {"predicted": predicted, **result}


def run_grid(drawn: list[Drawn], predicted: list[int], folder: Path, monkeypatch) -> list[dict]:
    """What the gates found, in the order of the cases; one elaboration an engine."""
    found: dict[int, dict] = {}
    for number in sorted({d.engine for d in drawn}):
        mine = [i for i, d in enumerate(drawn) if d.engine == number]
        begin = time.monotonic()
        results = run_gates([drawn[i].case for i in mine], fresh(folder / f"engine{number}"), monkeypatch)
        found |= {i: seen(drawn[i].case, predicted[i], r) for i, r in zip(mine, results, strict=True)}
        worst = max(abs(found[i]["cycles"] - predicted[i]) for i in mine)
        print(
            f"engine {number}: {len(mine)} products, {sum(r['cycles'] for r in results):,} cycles, "
            f"largest error {worst}, {time.monotonic() - begin:.0f} s",
            flush=True,
        )
    return [found[i] for i in range(len(drawn))]


def run_mutants(drawn: list[Drawn], folder: Path, monkeypatch) -> list[tuple[str, str, int]]:
    """(what is wrong, shape, error in cycles) of products on engine 1, each with one thing wrong."""
    spec = ENGINES[1]
    refresh = {"kind": "all_bank", "period": "200 cycle", "stall": "40 cycle"}
    near = Case(machine_text(spec, Fraction(32), 30, refresh), 26, 320, 1)
    far = Case(machine_text(spec, Fraction(32), 60, {"kind": "none"}), 26, 320, 2)
    predicted = {case: case.predicted() for case in (near, far)}
    wrong = {"memory latency 1 cycle longer": replace(far, late=1), "refresh 1 cycle later": replace(near, phase=1)}
    results = run_gates(list(wrong.values()), fresh(folder / "mutant_memory"), monkeypatch)
    shallow = GemvUnit(replace(spec, fifo=spec.fifo - 1))
    wrong[f"FIFO of {spec.fifo - 1} entries for {spec.fifo}"] = far
    results += run_gates([far], fresh(folder / "mutant_fifo"), monkeypatch, shallow)
    return [
        (name, f"{case.n} x {case.k}", result["cycles"] - predicted[replace(case, late=0, phase=0)])
        for (name, case), result in zip(wrong.items(), results, strict=True)
    ]


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def main() -> int:
    """The command. Status 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the grid")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder of the page")
    parser.add_argument("--decoders", type=int, nargs="*", default=EXPERIMENT, help="of the experiment")
    options = parser.parse_args()
    folder = fresh(ROOT / "build" / "cosim")
    drawn = list(grid(options.seed))
    big = {decoders: experiment(decoders) for decoders in options.decoders}
    predicted = [d.case.predicted() for d in drawn]
    predicted_big = {decoders: case.predicted() for decoders, case in big.items()}
    (folder / "predicted.json").write_text(json.dumps({"grid": predicted, "experiment": predicted_big}, indent=1))
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = run_grid(drawn, predicted, folder, monkeypatch)
        mutants = run_mutants(drawn, folder, monkeypatch)
        simulator = choose()
        monkeypatch.setenv("HWSIM_RTL_SIM", "verilator")
        found_big = {}
        for decoders, case in big.items():
            (result,) = run_gates([case], fresh(folder / f"seedlm4_{decoders}"), monkeypatch)
            found_big[decoders] = seen(case, predicted_big[decoders], result)
            print(f"{decoders} decoders: {result['cycles']:,}, predicted {predicted_big[decoders]:,}", flush=True)
    good = write_page(options.out, options.seed, simulator, ENGINES, drawn, found, mutants, found_big)
    print(f"{options.out / 'rtl_agreement.md'}: {'every figure is reached' if good else 'A FIGURE IS MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
