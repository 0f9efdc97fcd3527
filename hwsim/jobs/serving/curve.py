"""A function between knots: straight lines, refined where they are used until the middle of a cell is close enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Cell(NamedTuple):
    """A straight line from (low, at_low) to (high, at_high)."""

    low: int
    high: int
    at_low: float
    at_high: float

    @property
    def slope(self) -> float:
        """Per unit of x."""
        return (self.at_high - self.at_low) / (self.high - self.low) if self.high > self.low else 0.0

    def at(self, x: float) -> float:
        """The line at x."""
        return self.at_low + self.slope * (x - self.low)


class Curve:
    """`value` between whole numbers, evaluated where a cell needs it; a cell depends on no other query.

    tolerance: how far the middle of a cell may be from its line. least: width below which cells are not divided.
    """

    def __init__(self, value: Callable[[int], float], tolerance: float, least: int = 16, start: int = 256):
        self.value, self.tolerance, self.least, self.start = value, tolerance, least, start
        self.known: dict[int, float] = {}
        self.off: dict[tuple[int, int], float] = {}

    def __call__(self, x: int) -> float:
        """The value at x by the cell that holds it."""
        return self.cell(x).at(x)

    def exact(self, x: int) -> float:
        """The value itself."""
        if x not in self.known:
            self.known[x] = self.value(x)
        return self.known[x]

    def cell(self, x: float) -> Cell:
        """The cell of x."""
        low, high = self._ends(x)
        return Cell(low, high, self.exact(low), self.exact(high))

    def _ends(self, x: float) -> tuple[int, int]:
        """The knots around x: first by powers of two, then by halves."""
        low, high = 0, self.start
        while x >= high:
            low, high = high, 2 * high
        while self._divided(low, high):
            middle = (low + high) // 2
            low, high = (low, middle) if x < middle else (middle, high)
        return low, high

    def _divided(self, low: int, high: int) -> bool:
        """Whether the middle is farther from the line than the tolerance, and the cell is wide enough."""
        return high - low > self.least and self._off(low, high) > self.tolerance

    def _off(self, low: int, high: int) -> float:
        if (low, high) not in self.off:
            middle = self.exact((low + high) // 2)
            self.off[low, high] = abs(middle - (self.exact(low) + self.exact(high)) / 2)
        return self.off[low, high]


class Stairs(Curve):
    """A function that jumps behind multiples of a tile's rows: cells are 1 to 128, 129 to 256 and so on, or halves."""

    #: Rows of the largest tile of most libraries' kernels.
    ROWS = 128

    def cell(self, x: float) -> Cell:
        """The cell of x."""
        low = max(0, int(x) - 1) // self.ROWS * self.ROWS + 1
        high = low + self.ROWS - 1
        while self._divided(low, high):
            middle = (low + high) // 2
            low, high = (low, middle) if x <= middle else (middle + 1, high)
        return Cell(low, high, self.exact(low), self.exact(high))

    def _off(self, low: int, high: int) -> float:
        if (low, high) not in self.off:
            middle = (low + high) // 2
            line = Cell(low, high, self.exact(low), self.exact(high)).at(middle)
            self.off[low, high] = abs(self.exact(middle) - line)
        return self.off[low, high]


class Ramps(Curve):
    """A function that rises between multiples of a power of two and jumps at them: cells are 0 to 255, 256 to 511, ...

    A line goes from the first to the last number of its cell, so that a jump is between two cells and within none. It
    holds for all x below the next cell.
    """

    def cell(self, x: float) -> Cell:
        """The cell of x."""
        return self._line(*self._ends(x))

    def _line(self, low: int, high: int) -> Cell:
        line = Cell(low, high - 1, self.exact(low), self.exact(high - 1))
        return Cell(low, high, line.at_low, line.at(high))

    def _off(self, low: int, high: int) -> float:
        if (low, high) not in self.off:
            middle, line = (low + high) // 2, self._line(low, high)
            self.off[low, high] = max(abs(self.exact(at) - line.at(at)) for at in (middle - 1, middle))
        return self.off[low, high]
