"""Rows that find errors: the whole exponent range, ties, subnormals, maxima next to powers of two, Inf, NaN."""

from __future__ import annotations

import numpy as np

_POINTS = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.5, 3.5, 5.0, 6.0, 7.0, 1.0625, 1.1875, 1.9375])
_TOPS = np.array([1.0, 1.5, 1.75, 1.875, 1.984375, 2.0, 1.25])


def hard_rows(rng: np.random.Generator, rows: int, k: int, dtype, special: bool = True) -> np.ndarray:
    """[rows, k]: blocks of 16 drawn from different kinds; `special` allows Inf and NaN."""
    low, high = (-149, 127) if dtype == np.float32 else (-300, 300)
    x = np.empty((rows, k), np.float64)
    for r in range(rows):
        for at in range(0, k, 16):
            x[r, at : at + 16] = _block(rng, low, high)[: k - at]
    with np.errstate(over="ignore"):
        x = np.clip(x, -np.finfo(dtype).max, np.finfo(dtype).max).astype(dtype)
    # One ulp to either side of where it was, for a third of the values.
    most = np.finfo(dtype).max
    moved = np.nextafter(x, np.where(np.signbit(x), -most, most))
    back = np.nextafter(x, dtype(0))
    pick = rng.integers(0, 6, x.shape)
    x = np.where(pick == 0, moved, np.where(pick == 1, back, x)).astype(dtype)
    if special:
        for value in (np.inf, -np.inf, np.nan):
            if rng.random() < 0.7:
                x[rng.integers(rows), rng.integers(k)] = value
    return x


def held(x: np.ndarray) -> np.ndarray:
    """Rows whose largest magnitude a float16 scale of int4 can hold: the larger ones moved by a power of two."""
    top = np.abs(x).max()
    return x if top <= 458000 else np.ldexp(x, 18 - int(np.frexp(top)[1])).astype(x.dtype)


def _block(rng: np.random.Generator, low: int, high: int) -> np.ndarray:
    kind = rng.integers(0, 6)
    sign = rng.choice([-1.0, 1.0], 16)
    e = int(rng.integers(low, high + 1))
    if kind == 0:  # ordinary numbers at any exponent
        return np.ldexp(rng.standard_normal(16), e)
    if kind == 1:  # ties and codes of every element, under a maximum that fixes the scale
        x = np.ldexp(rng.choice(_POINTS, 16), rng.integers(-9, 1, 16))
        x[rng.integers(16)] = 8.0
        return np.ldexp(x * sign, e)
    if kind == 2:  # maxima at powers of two and at largest values
        x = rng.random(16)
        x[rng.integers(16)] = rng.choice(_TOPS)
        return np.ldexp(x * sign, e)
    if kind == 3:  # wide spread inside the block
        return np.ldexp(rng.standard_normal(16), e + rng.integers(-20, 1, 16))
    if kind == 4:  # at the bottom of the float32 range
        return np.ldexp(rng.integers(0, 1 << rng.choice([4, 12, 22, 23, 24]), 16) * sign, int(rng.choice([-149, -148])))
    return np.where(rng.random(16) < 0.8, 0.0, rng.standard_normal(16)) * sign  # mostly zeros, of both signs


def maxima(dtype) -> np.ndarray:
    """[n, 8]: a (partial) block for each maximum at, and one ulp next to, the places where a scale rule may change."""
    turns = [1.0, 1.5, 1.75, 1.875, 1.9375, 1.96875, 1.984375, 1.9921875, 1.998046875, 1.25, 1.03125]
    tops = [t * 2.0**e for t in turns for e in (-149, -130, -127, -126, -120, -3, 0, 4, 119, 126, 127)]
    tops = np.array(tops).astype(dtype)
    tops = np.concatenate([tops, np.nextafter(tops, dtype(0)), np.nextafter(tops, np.finfo(dtype).max)])
    x = np.random.default_rng(1).uniform(-0.99, 0.99, (len(tops), 8)).astype(dtype) * tops[:, None]
    x[np.arange(len(tops)), np.arange(len(tops)) % 8] = -tops
    return x
