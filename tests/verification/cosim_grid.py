"""The random GEMMs of `make cosim`: GEMV and GEMM units, and cases of three kinds on each."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction

from hwsim.specs import Gemm, Gemv
from tests.rtl.gemv_cases import Case

CASES_EACH = 4  # of a kind and GEMV unit

ENGINES = (
    Gemv("mxint8", "mxint8", 64, fifo=64, k_max=512),
    Gemv("mxfp4_e2m1", "mxfp4_e2m1", 32, fifo=12, results=15, k_max=512),
    Gemv("nvfp4", "mxfp8_e4m3", 16, fifo=40, k_max=512),
    Gemv("mxfp6_e2m3", "mxint8", 4, fifo=64, interleave=16, k_max=512),
    Gemv("mx9", "mxint8", 64, dot_units=2, fifo=9, results=20, k_max=512),
    Gemv("int8", "mxfp8_e5m2", 8, fifo=16, k_max=512),
    Gemv("seedlm4", "mxint8", 32, decoders=3, fifo=48, k_max=512),
    Gemv("seedlm3", "mxint8", 32, decoders=4, fifo=18, k_max=512),
    Gemv("seedlm4", "mxfp8_e4m3", 16, dot_units=2, decoders=2, target="mxfp4_e2m1", fifo=32, k_max=512),
)
"""One elaboration each: formats, beats of 4 to 64 bytes, one or two dot units, deep and shallow FIFOs."""

GEMMS = (
    Gemm("mxfp4_e2m1", "mxfp4_e2m1", 32, fifo=12, results=15, k_max=512, tile=4),
    Gemm("mxfp6_e2m3", "mxfp8_e4m3", 64, dot_units=2, fifo=9, results=20, k_max=512, tile=2),
    Gemm("nvfp4", "mxint8", 16, fifo=6, k_max=512, tile=3),
    Gemm("seedlm4", "mxfp4_e2m1", 32, decoders=3, target="mxfp4_e2m1", fifo=24, k_max=512, tile=3),
    Gemm("seedlm3", "mxfp4_e2m1", 32, decoders=3, target="mxfp4_e2m1", fifo=7, k_max=512, tile=2),
)
"""Units of several rows of x, numbered behind `ENGINES`."""

SPECS = (*ENGINES, *GEMMS)
GEMM_NUMBERS = range(len(ENGINES), len(SPECS))

MUTATED = 4
"""The unit with cases that wait for the sink, and of which mutants are made: little FIFO, two dot units."""

RATIOS = {"starved": (1.2, 3), "balanced": (0.93, 1.07), "compute": (0.4, 0.85)}
"""Work of the memory over work of decoders or dot units, as drawn."""


@dataclass(frozen=True)
class Drawn:
    """A case of the grid. engine: the number of its unit in `SPECS`."""

    engine: int
    case: Case

    @property
    def memory(self) -> Fraction:
        """Cycles that the memory alone needs: by its rate less refresh, by the FIFO's credits, a beat a cycle."""
        spec, dram = self.case.arch.gemv, self.case.arch.dram
        shape = spec.shape(self.case.n, self.case.k)
        round_trip = dram.latency_cycles + spec.beat_bytes / dram.bytes_per_cycle + spec.FIFO_LATENCY
        beat = max(Fraction(1), spec.beat_bytes * (1 + refresh_share(dram)) / dram.bytes_per_cycle)
        return len(self.case.tiles) * shape.groups * shape.group_beats * max(beat, round_trip / spec.fifo)

    @property
    def compute(self) -> Fraction:
        """Cycles that decoders or dot units alone need, the slower of the two."""
        spec, case = self.case.arch.gemv, self.case
        steps = spec.interleave * spec.columns(case.k)
        words = Fraction(steps * spec.step_bits, spec.parts * spec.unpack.bits_out)
        return len(case.tiles) * spec.shape(case.n, case.k).groups * max(Fraction(steps), words)

    @property
    def results(self) -> int:
        """Elements of y."""
        return self.case.m * self.case.n

    @property
    def sink(self) -> float:
        """Cycles that the sink needs, on average."""
        return self.results / self.case.p_ready

    @property
    def ratio(self) -> Fraction:
        """Work of the memory over work of decoders and dot units."""
        return self.memory / self.compute

    @property
    def kind(self) -> str:
        """What sets the speed."""
        if self.sink > max(self.memory, self.compute):
            return "sink"
        if self.ratio > Fraction(11, 10):
            return "starved"
        return "balanced" if self.ratio >= Fraction(9, 10) else "compute"

    @property
    def uneven(self) -> bool:
        """Whether zero rows or zeros at the end of K fill a group, a block or a tile."""
        spec, case = self.case.arch.gemv, self.case
        return bool(case.n % spec.group_rows or case.k % (spec.dot.lanes * spec.parts) or case.m % spec.tile)

    @property
    def disturbed(self) -> bool:
        """Whether there are refresh windows or a sink that stalls."""
        return self.case.p_ready < 1 or self.case.arch.dram.refresh.kind != "none"


def refresh_share(dram) -> Fraction:
    """Cycles of refresh for each of service."""
    if dram.refresh.kind == "none":
        return Fraction(0)
    return dram.refresh.stall_cycles / (dram.refresh.period_cycles - dram.refresh.stall_cycles)


def beat_cycles(spec: Gemv) -> Fraction:
    """Cycles that decoders or dot units need for a beat: the slower of the two."""
    return spec.beat_bits / min(Fraction(spec.step_bits, spec.parts), Fraction(spec.unpack.bits_out))


def machine_text(spec: Gemv, bandwidth: Fraction, latency: int, refresh: dict) -> str:
    """A GEMV or GEMM machine around `spec`."""
    engine = {field.name: getattr(spec, field.name) for field in fields(spec) if field.name != "beat_bytes"}
    dram = {"bandwidth": f"{float(bandwidth)} B/cycle", "latency": f"{latency} cycle", "beat": f"{spec.beat_bytes} B"}
    dram |= {"capacity": "1 GB", "refresh": refresh}
    part = spec.kind.lower()
    return json.dumps({"name": "grid", "description": "drawn", "clock": "100 MHz", "dram": dram, part: engine})


def drawn_machine(draw: random.Random, spec: Gemv, kind: str) -> str:
    """A memory of the kind: where it is slow, by its rate or by a latency that the FIFO does not cover."""
    beat = max(Fraction(1), beat_cycles(spec) * Fraction(draw.uniform(*RATIOS[kind])))
    refresh, use = {"kind": "none"}, Fraction(1)
    if draw.random() < 1 / 3:
        stall, times = draw.randint(5, 60), draw.randint(4, 12)
        refresh = {"kind": "all_bank", "period": f"{stall * times} cycle", "stall": f"{stall} cycle"}
        use = 1 - Fraction(1, times)
    if kind == "starved" and draw.random() < 0.5:
        return machine_text(spec, Fraction(2 * spec.beat_bytes), round(beat * spec.fifo), refresh)
    covered = int(0.9 * beat * spec.fifo - beat - spec.FIFO_LATENCY)
    latency = draw.choice([1, draw.randint(1, max(1, covered)), max(1, covered)])
    return machine_text(spec, round(spec.beat_bytes / (beat * use), 3), latency, refresh)


def drawn_case(draw: random.Random, number: int, kind: str) -> Drawn:
    """A case of the kind. One to four groups of rows, up to 512 elements per row, up to three tiles of x."""
    spec = SPECS[number]
    while True:
        machine = drawn_machine(draw, spec, "compute" if kind == "sink" else kind)
        n = draw.randint(1, 4) * spec.group_rows - draw.choice([0, draw.randint(0, spec.group_rows - 1)])
        k = draw.choice([32 * draw.randint(1, 16), draw.randint(1, 512)])
        p_ready = draw.choice([0.3, 0.6, 0.9]) if draw.random() < 0.25 else 1.0
        seed, m = draw.getrandbits(30), 1
        if spec.tile > 1:
            m = spec.tile if draw.random() < 0.2 else draw.randint(1, 3 * spec.tile)
        drawn = Drawn(number, Case(machine, n, k, seed, p_ready, m=m))
        if drawn.kind == kind:
            return drawn


def grid(seed: int, engines: Iterable[int] | None = None, each: int = CASES_EACH) -> Iterator[Drawn]:
    """`each` cases of a kind and unit: starved; where the beat is wide enough for that, balanced and bound by
    compute too. About a third has refresh, a quarter a sink that stalls. Last, `each` that wait for the sink."""
    draw = random.Random(seed)
    for number in range(len(ENGINES)) if engines is None else engines:
        kinds = list(RATIOS) if beat_cycles(SPECS[number]) > Fraction(5, 4) else ["starved"]
        for i in range(each * len(kinds)):
            yield drawn_case(draw, number, kinds[i % len(kinds)])
        if number in (MUTATED, GEMM_NUMBERS[0]):
            apart = random.Random(f"sink {seed}")
            yield from (drawn_case(apart, number, "sink") for _ in range(each))
