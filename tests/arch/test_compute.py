"""Compute units: systolic arrays against a grid simulated cell by cell, native tiles against counting."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim import gemm
from hwsim.arch import load_arch
from hwsim.arch.compute import DATAFLOWS, DotArray, DotRate, SystolicArray, TensorCores
from hwsim.arch.memory import Buffers
from hwsim.errors import InputError

RATES = (DotRate("int8", "int8", Fraction(1)),)


class Cell:
    """Two registers: one is used, the other is a link of the chain down its column."""

    def __init__(self):
        self.reg, self.out = [0, 0], (0, 0, 0, 0)

    def step(self, dataflow, a, v, d, use):
        """Inputs: from the left; partial sum or operand, chain and choice of register from above."""
        chain = self.reg[1 - use]
        if dataflow == "weight_stationary":
            v += a * self.reg[use]
        else:
            self.reg[use] += a * v
        self.reg[1 - use] = d
        self.out = (a, v, chain, use)


def grid(dataflow, rows, columns, lefts, tops):
    """Clock a grid: what enters row r is r cycles late, column c is c cycles late; yields the lower edge."""
    cells = [[Cell() for _ in range(columns)] for _ in range(rows)]
    for t in range(len(lefts) + rows + columns):
        before = [[cell.out for cell in row] for row in cells]
        for r in range(rows):
            for c in range(columns):
                a = before[r][c - 1][0] if c else lefts[t - r][r] if 0 <= t - r < len(lefts) else 0
                above = before[r - 1][c][1:] if r else tops(c, t - c)
                cells[r][c].step(dataflow, a, *above)
        yield t, [cell.out for cell in cells[-1]]


def multiply(dataflow, rows, columns, xs, ws):
    """All X[m,k] W[n,k]^T of the folds one behind the other; products and the cycle after the last result."""
    held = dataflow == "weight_stationary"
    streamed = len(xs[0]) if held else len(xs[0][0])
    window, blank = max(streamed, rows), [0] * rows
    lefts = [blank] * (rows if held else 0)  # the first weights enter by themselves
    for x in xs:
        steps = x if held else [list(step) for step in zip(*x, strict=True)]
        lefts += steps + [blank] * (window - streamed)

    def tops(c, t):
        f, u = divmod(t - (rows if held else 0), window)
        if not held:
            v = ws[f][c][u] if 0 <= f < len(ws) and u < streamed else 0
            return v, 0, f % 2
        ahead = u - window + rows  # the last steps of a window bring the next fold's weights, lowest row first
        d = ws[f + 1][c][rows - 1 - ahead] if ahead >= 0 and 0 <= f + 1 < len(ws) else 0
        return 0, d, f % 2

    results = [[[None] * columns for _ in range(len(xs[0]))] for _ in xs]
    last = 0
    for t, edge in grid(dataflow, rows, columns, lefts + [blank] * (0 if held else rows), tops):
        for c in range(columns):
            f, u = divmod(t - (rows if held else 0) - (rows - 1) - c, window)
            f, u = (f, u) if held else (f - 1, rows - 1 - u)
            if 0 <= f < len(xs) and 0 <= u < len(xs[0]):
                results[f][u][c] = edge[c][1] if held else edge[c][2]
                last = t + 1
    return results, last


sizes = st.integers(1, 5)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DATAFLOWS), sizes, sizes, st.integers(1, 12), st.integers(1, 4), st.randoms())
def test_cycles_are_those_of_a_grid_that_multiplies(dataflow, rows, columns, streamed, folds, random):
    m, k = (streamed, rows) if dataflow == "weight_stationary" else (rows, streamed)
    xs = [[[random.randint(-9, 9) for _ in range(k)] for _ in range(m)] for _ in range(folds)]
    ws = [[[random.randint(-9, 9) for _ in range(k)] for _ in range(columns)] for _ in range(folds)]
    found, cycles = multiply(dataflow, rows, columns, xs, ws)
    assert found == [
        [[sum(a * b for a, b in zip(u, v, strict=True)) for v in w] for u in x] for x, w in zip(xs, ws, strict=True)
    ]
    unit = SystolicArray(0, RATES, rows=rows, columns=columns, dataflow=dataflow, double_buffered=True)
    held = (m, columns * folds, k)  # the folds side by side in N
    idle = max(0, rows - streamed) if dataflow == "weight_stationary" else 0  # behind the last fold nothing shifts in
    assert unit.cycles(*held) + unit.fill_cycles - idle == cycles
    if folds == 1:
        alone = replace(unit, double_buffered=False)
        assert alone.fill_cycles == 0
        window = 0 if dataflow == "weight_stationary" else max(0, rows - streamed)
        assert alone.cycles(*held) == cycles - window


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("m, n, k", [(128, 512, 512), (64, 1024, 1024), (1, 300, 4096), (77, 33, 129)])
def test_one_fold_after_the_other_is_the_published_formula(dataflow, m, n, k):
    """(2 R + C + T - 2) ceil(S_R / R) ceil(S_C / C), ISPASS 2020; SCALE-Sim 3 prints one less, from 0."""
    unit = SystolicArray(0, RATES, rows=128, columns=64, dataflow=dataflow, double_buffered=False)
    s_r, t = (k, m) if dataflow == "weight_stationary" else (m, k)
    assert unit.cycles(m, n, k) == (2 * 128 + 64 + t - 2) * -(-s_r // 128) * -(-n // 64)


def test_a_run_of_scale_sim_comes_out():
    """SCALE-Sim 3.0.0, 128 x 512 x 512 on 128 x 128, weight-stationary: 8,159 compute cycles, counted from 0."""
    unit = SystolicArray(0, RATES, rows=128, columns=128, dataflow="weight_stationary", double_buffered=False)
    assert unit.cycles(128, 512, 512) == 8160


@pytest.mark.parametrize("double_buffered", [True, False])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("arrays, per_cell", [(1, 1), (4, 1), (4, 2)])
def test_a_whole_product_takes_its_folds(dataflow, double_buffered, arrays, per_cell):
    """Memory out of the way, the run is the array's cycles, its latency, and one for the first beat."""
    base = load_arch("tpu-v4i")
    rate = Fraction(arrays * 32 * 32 * per_cell)
    unit = SystolicArray(
        7,
        (DotRate("int8", "int8", rate),),
        rows=32,
        columns=32,
        dataflow=dataflow,
        double_buffered=double_buffered,
        arrays=arrays,
    )
    dram = replace(base.dram, bytes_per_cycle=Fraction(10**9), latency_cycles=0, refresh=type(base.dram.refresh)())
    buffers = Buffers(1 << 30, 1 << 30, 1 << 30)
    arch = replace(base, dot=unit, vector=None, dram=dram, buffers=buffers, tiles=((4096, 4096, 4096),))
    result = gemm(arch, 100, 200, 300, "int8", engine="walk")
    held, streamed = (-(-300 // per_cell), 100) if dataflow == "weight_stationary" else (100, -(-300 // per_cell))
    folds = -(-(-(-held // 32) * -(-200 // 32)) // arrays)
    fold = max(streamed, 32) if double_buffered else 2 * 32 + 32 + streamed - 2
    fill = 2 * 32 + 32 - 2 if double_buffered else 0
    assert abs(result.cycles - (folds * fold + fill + 7)) <= 1
    assert sum(result.stalls.values()) == result.cycles
    assert result.limited_by == "dot"
    assert result.bound_cycles == folds * fold
    assert abs(result.stalls["busy"] - folds * fold) <= 1
    assert result.stalls["padding"] == 0
    idle = 1 - Fraction(100 * 200 * 300) / (rate * folds * fold)
    assert any(f"the {round(100 * idle)} % of the array" in note for note in result.notes)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_native_tiles_are_counted_whole(m, n, k):
    cores = TensorCores(0, RATES, shape=(16, 8, 32))
    tiles = len(range(0, m, 16)) * len(range(0, n, 8)) * len(range(0, k, 32))
    assert cores.slots(m, n, k, Fraction(1)) == tiles * 16 * 8 * 32
    assert DotArray(0, RATES).slots(m, n, k, Fraction(1)) == m * n * k


def test_the_kind_of_unit_is_chosen_in_the_file():
    kinds = {name: type(load_arch(name).dot) for name in ("m0", "tpu-v4i", "gemmini")}
    assert kinds == {"m0": DotArray, "tpu-v4i": SystolicArray, "gemmini": SystolicArray}
    native = [("dot.kind", "tensor_cores"), ("dot.shape", "64x16x32")]
    assert load_arch("m0", native).dot == TensorCores(
        128, (DotRate("int8", "int8", Fraction(16384)),), shape=(64, 16, 32)
    )
    turned = load_arch("tpu-v4i", [("dot.dataflow", "output_stationary")])
    assert turned.dot.dataflow == "output_stationary"


def test_a_systolic_rate_must_be_whole_multiply_adds_per_cell():
    with pytest.raises(InputError, match="not a whole number of multiply-adds per cell; write 65536 MAC/cycle"):
        load_arch("tpu-v4i", [("dot.rates.1.rate", "65000 MAC/cycle")])
    assert load_arch("tpu-v4i", [("dot.rates.1.rate", "131072 MAC/cycle")]).dot.rate("int8", "int8") == 2 * 65536
