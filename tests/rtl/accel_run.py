"""Products on `hwsim_accel` behind the bench memory: cycles and counters predicted, then the RTL."""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from hwsim.sim.beats import run_gemv
from hwsim.specs import Accel
from rtl.accel import AccelUnit
from rtl.emit import emit
from tests.rtl.gemv_cases import Case
from tests.rtl.simulator import run_bench

TESTS = ("bench_memory", "random_ram")
"""Of `bench_accel`, which leave results."""
WAITS = ("fill", "waiting_input", "latency", "refresh", "row_miss", "turnaround")
"""Causes that the counter WAITING_INPUT is the sum of."""


class WriteQueue:
    """When results are taken: they fill beats of `lanes` words, of which `Accel.WRITES` wait for a memory that takes
    one at an edge where `sink` says so. Asked for ascending edges until it says yes, which takes the result."""

    def __init__(self, lanes: int, results: int, sink):
        self.lanes, self.results, self.sink = lanes, results, sink
        self.edge = self.taken = self.waiting = 0

    def __call__(self, edge: int) -> bool:
        while self.edge < edge:
            self._drain()
        if self.waiting == Accel.WRITES:
            return False
        self._drain()  # what waits at this edge may leave at it, the result joins after it
        self.taken += 1
        self.waiting += self.taken % self.lanes == 0 or self.taken == self.results
        return True

    def _drain(self) -> None:
        self.waiting -= bool(self.waiting and self.sink(self.edge))
        self.edge += 1


@dataclass(frozen=True)
class Product:
    """A case on the unit with bursts of that many beats."""

    case: Case
    burst: int | None = None

    @property
    def spec(self) -> Accel:
        """The unit."""
        return Accel(self.case.arch.gemv, self.burst)

    def padding(self) -> int:
        """Cycles of blocks of zero rows alone: turns of the last group beyond its rows, in all columns but the last
        one, whose turns come after the last row's last block."""
        spec, case = self.spec.gemv, self.case
        left = case.n % spec.group_rows
        turns = spec.interleave - -(-left // spec.dot_units) if left else 0
        return turns * (spec.columns(case.k) - 1)

    def predicted(self) -> dict[str, int]:
        """The counters, by the simulator; ELAPSED is not predicted."""
        case, spec = self.case, self.spec
        ready = None if case.p_ready == 1 else WriteQueue(spec.gemv.beat_bytes // 4, case.n * case.m, case.sink())
        run = run_gemv(spec.gemv, case.arch.dram, case.n, case.k, ready, case.m, spec.burst)
        lost = {cause: Fraction(ticks, run.ticks) for cause, ticks in run.lost["dot"].items()}
        shape = spec.gemv.shape(case.n, case.k)
        return {
            "CYCLES": run.cycles,
            "BUSY": int(lost["busy"] + lost["padding"]),
            "PADDING": self.padding(),
            "WAITING_INPUT": int(sum(lost[cause] for cause in WAITS if cause in lost)),
            "OUTPUT_BLOCKED": int(lost["output_blocked"]),
            "BEATS_READ": shape.groups * shape.group_beats + spec.x_beats(case.k, case.m),
            "BEATS_WRITTEN": spec.y_beats(case.n, case.m),
        }

    def plain(self) -> dict:
        """For a file."""
        return {"case": self.case.plain(), "burst": self.burst}


def predict(products: list[Product], folder: Path) -> list[dict[str, int]]:
    """Counters by the simulator, written to `folder/predicted.json` before any RTL is made."""
    found = [product.predicted() for product in products]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predicted.json").write_text(json.dumps(found))
    return found


def run_rtl(products: list[Product], folder: Path, monkeypatch, unit=None) -> dict[str, list[dict]]:
    """What `bench_accel` finds of products that share one unit, by test: counters, wrong rows.

    unit: other RTL in its place (a mutant).
    """
    (spec,) = {product.spec for product in products}
    folder.mkdir(parents=True, exist_ok=True)
    plain = folder / "products.json"
    plain.write_text(json.dumps([product.plain() for product in products]))
    sources = {"hwsim_accel": emit(unit or AccelUnit(spec), "hwsim_accel")}
    env = {"HWSIM_ACCEL_PRODUCTS": str(plain)}
    failed = run_bench("bench_accel", sources, "hwsim_accel", folder, monkeypatch, **env)
    assert failed == 0, "the bench failed; see above"
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in TESTS}
