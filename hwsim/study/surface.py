"""The surface through the simulated points of a study, what it predicts, and how far off it may be.

A metric is predicted as exp(closed form + surface): the surface is a Gaussian process over the axes, numbers in their
logarithm and names as 0 and 1, fitted by scikit-learn to the simulated points' logarithms less the closed form's. The
stated error does not come from the fit, whose own intervals are too narrow, but from check points drawn at random and
kept out of it: of 59, the largest error is above the 95th percentile of all errors with a probability of
1 - 0.95^59 = 95.2 %.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.extras import missing

Array = NDArray[np.float64]

CHECKS = 59
"""The least number n with 1 - 0.95^n above 0.95."""
_FITTED = 400  # points that choose the lengths and weights of the kernel; its cost grows with their cube


@dataclass(frozen=True, slots=True)
class Stated:
    """What the check points say: with `confidence`, `quantile` of all errors are at most `relative_error`."""

    relative_error: float
    mean_error: float
    quantile: float = 0.95
    confidence: float = 0.95


def place(axes: Sequence[Sequence[float] | int], nodes: NDArray[np.intp]) -> Array:
    """Coordinates of the nodes of a grid, (nodes x coordinates), nodes numbered with the last axis fastest.

    axes: the numbers along an axis (their logarithms scaled to 0 .. 1; ranks where one is not positive), or the count
          of names on it (one coordinate per name, 1 at its own).
    """
    shape = [axis if isinstance(axis, int) else len(axis) for axis in axes]
    columns: list[Array] = []
    for axis, index in zip(axes, np.unravel_index(nodes, shape), strict=True):
        if isinstance(axis, int):
            if axis > 1:
                columns.append(np.eye(axis)[index])
        elif len(axis) > 1:
            numbers = np.asarray(axis, dtype=np.float64)
            along = np.log(numbers) if (numbers > 0).all() else np.argsort(np.argsort(numbers)).astype(np.float64)
            along = (along - along.min()) / np.ptp(along)
            columns.append(along[index][:, None])
    return np.concatenate(columns, 1) if columns else np.zeros((len(nodes), 1))


class Surface:
    """A Gaussian process through the values at the fitted nodes; `at` gives the values at any coordinates.

    coordinates: (fitted nodes x coordinates). values: one per fitted node, of any scale (logarithms here).
    lengths:     the correlation length along each coordinate, after the fit.
    raises:      InputError without scikit-learn.
    """

    def __init__(self, coordinates: Array, values: Array, seed: int = 0):
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.gaussian_process import GaussianProcessRegressor
            from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
        except ImportError:
            raise missing("sampled studies", "scikit-learn", "sample") from None
        self.constant = float(values[0]) if len(set(values.tolist())) == 1 else None
        self.lengths = np.ones(coordinates.shape[1])
        if self.constant is not None:
            return
        kernel = ConstantKernel(1.0, (1e-3, 1e4)) * Matern(self.lengths, (5e-2, 1e3), nu=1.5)
        kernel += WhiteKernel(1e-4, (1e-8, 1e-1))
        with warnings.catch_warnings():
            # A length at its upper bound is an axis on which nothing depends.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
            process.fit(coordinates[:_FITTED], values[:_FITTED])
        self.lengths = process.kernel_.k1.k2.length_scale
        if len(values) > _FITTED:
            process = GaussianProcessRegressor(process.kernel_, optimizer=None, normalize_y=True)
            process.fit(coordinates, values)
        self._process = process

    def at(self, coordinates: Array) -> Array:
        """The values at (nodes x coordinates), in parts that bound the memory."""
        if self.constant is not None:
            return np.full(len(coordinates), self.constant)
        parts = np.array_split(coordinates, max(1, math.ceil(len(coordinates) / 4096)))
        return np.concatenate([self._process.predict(part) for part in parts])


def stated(predicted: Sequence[float] | Array, simulated: Sequence[float] | Array) -> Stated:
    """The statement of check points that were drawn at random and not fitted.

    With n of them the largest error bounds the 95th percentile with the confidence 1 - 0.95^n; fewer than 59 are
    refused. raises: ValueError.
    """
    if len(predicted) != len(simulated) or len(simulated) < CHECKS:
        raise ValueError(f"{len(simulated)} check points for {len(predicted)} predictions: {CHECKS} or more are needed")
    errors = np.abs(np.asarray(predicted) / np.asarray(simulated) - 1)
    return Stated(float(errors.max()), float(errors.mean()))


def logarithms(values: Sequence[Any], metric: str) -> Array:
    """Natural logarithms. raises: InputError where a value is not a number above 0: its logarithm has no surface."""
    bad = [v for v in values if not isinstance(v, (int, float)) or not v > 0 or math.isinf(v)]
    if bad:
        raise InputError(
            f"metric: {metric} is {bad[0]!r} at a point; only a metric above 0 everywhere can be predicted"
        )
    return np.log(np.asarray(values, dtype=np.float64))
