"""Compute units: which pairs of formats are multiplied, how fast, and how much of a tile's time is idle slots.

A machine has one of the classes, chosen by `dot.kind` in its file. All share `slots`: the multiply-adds that the
unit could have done in the time that a tile occupies it. What a tile does not fill (native shapes, the edges of a
systolic array, its fill and drain) is in that number and not in the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

DATAFLOWS = ("weight_stationary", "output_stationary")


@dataclass(frozen=True, slots=True)
class DotRate:
    """Multiply-adds a cycle for one (weights, activations) format pair, the whole chip."""

    weights: str
    activations: str
    macs_per_cycle: Fraction


@dataclass(frozen=True, slots=True)
class DotArray:
    """Dot-product units that any tile fills."""

    latency_cycles: int
    rates: tuple[DotRate, ...]
    accumulator_bytes: int = 4

    def rate(self, weights: str, activations: str) -> Fraction | None:
        """MACs a cycle for the pair, or None where the machine lacks it."""
        for r in self.rates:
            if (r.weights, r.activations) == (weights, activations):
                return r.macs_per_cycle
        return None

    @property
    def fill_cycles(self) -> int:
        """Latency of the unit's own geometry, beside `latency_cycles`."""
        return 0

    def slots(self, m: int, n: int, k: int, rate: Fraction) -> int:
        """MACs at `rate` in the time of an m x n x k tile, idle ones included."""
        return m * n * k


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorCores(DotArray):
    """Tiles of one native shape (M, N, K): every tile is filled up to whole ones."""

    shape: tuple[int, int, int]

    def slots(self, m: int, n: int, k: int, rate: Fraction) -> int:
        """The tile's sides rounded up to the native shape's."""
        a, b, c = self.shape
        return -(-m // a) * a * -(-n // b) * b * -(-k // c) * c


@dataclass(frozen=True, slots=True, kw_only=True)
class SystolicArray(DotArray):
    """`arrays` grids of rows x columns multipliers; operands enter at two edges, one step a cycle.

    weight_stationary: a fold holds K in its rows and N in its columns, and M rows stream through.
    output_stationary: a fold holds M in its rows and N in its columns, and K steps stream through.
    double_buffered:   the next fold's weights shift in (or the last one's results out) while this one streams.
    shift_exposed:     double buffered cells, but the array takes either weights or a stream at its edge: folds follow
                       each other after T + rows.

    With T what streams, one fold by itself takes 2 rows + columns + T - 2 cycles: rows to shift in or out, T
    steps, rows + columns - 2 for the last to cross the grid (Samajdar et al., ISPASS 2020, equation 3). Double
    buffered, folds follow each other after max(T, rows), and the rest is latency.
    """

    rows: int
    columns: int
    dataflow: str
    double_buffered: bool
    arrays: int = 1
    shift_exposed: bool = False

    @property
    def macs_per_cycle(self) -> int:
        """Multipliers of all grids."""
        return self.arrays * self.rows * self.columns

    @property
    def fill_cycles(self) -> int:
        """Where folds follow each other, what one takes beside its stream; else it is in `cycles`."""
        return 2 * self.rows + self.columns - 2 if self.double_buffered else 0

    def cycles(self, m: int, n: int, k: int, per_cell: int = 1) -> int:
        """Cycles from a tile's first step to the next tile's; per_cell: products along K that a cell adds a cycle."""
        k = -(-k // per_cell)
        held, streamed = (k, m) if self.dataflow == "weight_stationary" else (m, k)
        folds = -(-(-(-held // self.rows) * -(-n // self.columns)) // self.arrays)
        return folds * self._fold(streamed)

    def slots(self, m: int, n: int, k: int, rate: Fraction) -> int:
        """The tile's cycles, each with every multiplier."""
        return self.cycles(m, n, k, int(rate / self.macs_per_cycle)) * int(rate)

    def _fold(self, streamed: int) -> int:
        if self.double_buffered:
            return streamed + self.rows if self.shift_exposed else max(streamed, self.rows)
        return 2 * self.rows + self.columns + streamed - 2
