"""Cases of GEMV and GEMM units: a machine, a shape, a sink, and the data with the y that must come out."""

import random
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from hwsim import formats
from hwsim.arch import load_arch_text
from hwsim.formats import get_format
from hwsim.formats.format import Encoded
from hwsim.sim.beats import run_gemv


@dataclass(frozen=True)
class Case:
    """One GEMM. machine: the text of a GEMV or GEMM machine; seed: of the data and the sink; m: rows of x.

    p_ready: chance that the sink takes a result at an edge, in spells of a few edges; 1: always.
    late, phase: a mutant's memory: cycles of latency too many, edges by which its refresh comes late.
    """

    machine: str
    n: int
    k: int
    seed: int = 0
    p_ready: float = 1.0
    late: int = 0
    phase: int = 0
    m: int = 1

    @cached_property
    def arch(self):
        """The machine."""
        return load_arch_text(self.machine)

    def sink(self):
        """A function of the edge, asked in ascending order: whether the sink takes a result there."""
        draw, spell, state = random.Random(f"sink {self.seed}"), [0], [True]
        known: list[bool] = []

        def ready(edge: int) -> bool:
            while len(known) <= edge:
                if not spell[0]:
                    state[0], spell[0] = draw.random() < self.p_ready, draw.randint(1, 6)
                known.append(state[0])
                spell[0] -= 1
            return known[edge]

        return ready

    def predicted(self) -> int:
        """Cycles by the simulator, which knows nothing of `late` and `phase`."""
        ready = None if self.p_ready == 1 else self.sink()
        return run_gemv(self.arch.gemv, self.arch.dram, self.n, self.k, ready, self.m).cycles

    @property
    def tiles(self) -> list[int]:
        """Rows of x in each tile."""
        whole, rest = divmod(self.m, self.arch.gemv.tile)
        return [self.arch.gemv.tile] * whole + [rest] * bool(rest)

    def plain(self) -> dict:
        """For a file."""
        return asdict(self)


@dataclass(frozen=True)
class Data:
    """x: the records of each row. beats: the weight stream in beats. y: float32 bits in the order of leaving."""

    x: list[list[int]]
    beats: list[int]
    y: list[int]


def data_of(case: Case) -> Data:
    """Random data: magnitudes over many powers of two, zeros, now and then NaN."""
    spec, draw = case.arch.gemv, np.random.default_rng(case.seed)
    padded = spec.columns(case.k) * spec.dot.lanes
    x = np.zeros((case.m, padded))
    x[:, : case.k] = draw.normal(size=(case.m, case.k)) * 2.0 ** draw.integers(-4, 4, (case.m, case.k))
    x_code = get_format(spec.activations).encode(x.astype(np.float32))
    w_code, w_dot = _seeds(case, draw, padded) if spec.codec else _blocks(case, draw, padded)
    y = formats.matmul(x_code, w_dot, tensor_scale=False)
    if spec.weights == "int8":
        y = np.ldexp(y, spec.dot.b.quantum_exponent)  # see `Gemv`
    stream = formats.stream(w_code, spec.dot_units, spec.interleave, spec.beat_bytes)
    records = _words(x_code.to_bytes(), x_code.format.layout.record_bits // 8)
    each, first, leaving = len(records) // case.m, 0, []
    for rows in case.tiles:  # of a tile: row of W by row of W, for each the rows of x
        leaving += [int(bits) for column in y[first : first + rows].T.copy() for bits in column.view(np.uint32)]
        first += rows
    return Data([records[i : i + each] for i in range(0, len(records), each)], _words(stream, spec.beat_bytes), leaving)


def _words(stored: bytes, size: int) -> list[int]:
    return [int.from_bytes(stored[i : i + size], "little") for i in range(0, len(stored), size)]


def _blocks(case: Case, draw, padded: int):
    """W of a block format: as stored, and with K padded as the engine sees it."""
    w = draw.normal(size=(case.n, case.k)) * 2.0 ** draw.integers(-6, 6, (case.n, 1))
    w[draw.random(w.shape) < 0.05] = 0
    if "mx" in case.arch.gemv.weights and draw.random() < 0.3:
        w[draw.integers(case.n), draw.integers(case.k)] = np.nan
    form = get_format(case.arch.gemv.weights)
    whole = np.zeros((case.n, padded), np.float32)
    whole[:, : case.k] = w
    return form.encode(w.astype(np.float32)), form.encode(whole)


def _seeds(case: Case, draw, padded: int):
    """W of seeds, any records: as stored, and requantised with what fills the last block of a row."""
    spec, codec = case.arch.gemv, case.arch.gemv.codec
    records = -(-case.k // codec.C)
    shape = (case.n, records)
    words = draw.integers(1, 1 << codec.K, shape, dtype=np.uint64)
    rest = draw.integers(0, 1 << (codec.block_bits - codec.K), shape, dtype=np.uint64)
    form = get_format(spec.weights)
    w = Encoded(form, (case.n, case.k), 1, words | rest << np.uint64(codec.K), tensor_scale=0)
    sums, powers = form.integers(w)
    values = np.ldexp(sums.reshape(*shape, codec.C).astype(np.float64), powers.reshape(*shape, 1))
    whole = np.zeros((case.n, padded), np.float32)
    whole[:, : records * codec.C] = values.reshape(case.n, -1)
    return w, get_format(spec.target).encode(whole)
