"""The grid of a study as a graph: which points to simulate, and what the others are from those that were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError, nearest
from hwsim.study.grid import number
from hwsim.study.points import Axis
from hwsim.study.sampling import basis, greedy, named_axis, ordered_axis, randomised_greedy
from hwsim.study.surface import Surface, logarithms, place

Array = NDArray[np.float64]
Nodes = NDArray[np.intp]

NOISE = 1e-3
MODES = 0.75
"""Modes of the basis per point to choose."""
EXACT = 10**9
"""Nodes x modes x points up to which the greedy choice is exact unless a seed of the randomised one is asked for."""
_ENTRIES = 50_000_000  # of the basis: 400 MB
PICKS = ("greedy", "random-greedy", "uniform")


@dataclass(frozen=True, slots=True)
class Design:
    """axes: the numbers along each axis, or how many names are on it. Nodes are numbered in grid order."""

    axes: tuple[tuple[float, ...] | int, ...]

    @classmethod
    def of(cls, axes: Sequence[Axis]) -> Design:
        """The axes of a study; one with a value that is neither a number nor a quantity is an axis of names."""
        read = [[number(value) for value in axis.values] for axis in axes]
        return cls(
            tuple(len(values) if None in values else tuple(v for v in values if v is not None) for values in read)
        )

    @property
    def nodes(self) -> int:
        """Points of the grid."""
        return math.prod(axis if isinstance(axis, int) else len(axis) for axis in self.axes)

    def choose(
        self,
        points: int,
        pick: str | None = None,
        seed: int = 0,
        left_out: Sequence[int] | Nodes = (),
        known: Sequence[int] | Nodes = (),
        lengths: Sequence[float] | None = None,
    ) -> Nodes:
        """Nodes to simulate, the most useful first.

        pick:     one of `PICKS`; None is greedy, randomised where the exact choice would take long.
        left_out: nodes that are not to be chosen, though they say nothing: those of the check.
        known:    nodes simulated before; they are not chosen again.
        lengths:  the correlation length of each axis, as a share of its span, where a fit has found them.
        raises:   InputError for an unknown pick or too many points.
        """
        if pick is not None and pick not in PICKS:
            raise InputError(f"--pick: unknown {pick!r}{nearest(pick, PICKS)}")
        free = np.setdiff1d(np.arange(self.nodes), left_out)
        unknown = np.setdiff1d(free, known)
        if points > len(unknown):
            raise InputError(f"{points:,} points are asked for, and {len(unknown):,} are left")
        if pick == "uniform":
            return np.random.default_rng(seed).choice(unknown, points, replace=False)
        covariances = [
            named_axis(axis)
            if isinstance(axis, int)
            else ordered_axis(axis, **({} if lengths is None else {"length": lengths[i]}))
            for i, axis in enumerate(self.axes)
        ]
        every = points + len(known)
        modes = max(1, min(self.nodes, math.ceil(MODES * every), _ENTRIES // self.nodes))
        vectors, variances = basis(covariances, modes)
        before = np.searchsorted(free, known)
        if pick == "random-greedy" or (pick is None and self.nodes * modes * every > EXACT):
            chosen = randomised_greedy(vectors[free], variances, points, NOISE, seed=seed, known=before)
        else:
            chosen = greedy(vectors[free], variances, points, NOISE, known=before)
        return free[chosen]

    def predict(self, fitted: Nodes, values: Sequence[float], closed: Array | None, metric: str) -> Prediction:
        """A metric at every node, from its values at the fitted ones.

        closed: the closed form of the metric at every node; None where there is none.
        raises: InputError for a value that is not a number above 0.
        """
        base = np.zeros(self.nodes) if closed is None else np.log(closed)
        coordinates = place(self.axes, np.arange(self.nodes))
        surface = Surface(coordinates[fitted], logarithms(values, metric) - base[fitted])
        found = iter(surface.lengths)
        lengths = []
        for axis in self.axes:
            size = axis if isinstance(axis, int) else len(axis)
            along = [float(next(found)) for _ in range((size if isinstance(axis, int) else 1) if size > 1 else 0)]
            lengths.append(min(along, default=1.0))
        return Prediction(np.exp(base + surface.at(coordinates)), tuple(lengths))


@dataclass(frozen=True, slots=True)
class Prediction:
    """values: of the metric at every node; lengths: the correlation length of each axis, as a share of its span."""

    values: Array
    lengths: tuple[float, ...]
