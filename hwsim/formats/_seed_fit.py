"""The quantised fit of one seed to a block of weights, and its record, compiled.

Plain float64 in a fixed order, because its result is what *exact search* means. Tuples `c_` and `p_` carry C and P as
compile-time lengths; their contents are not used.
"""

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(nogil=True, cache=True)
def evaluate(w, block, inverse, values, s, denominator, exponents, coefficients, refine, t, q, c_, p_):
    """The quantised fit of one seed to w[block]: (error, exponent); t (unquantised) and q filled.

    w: float64[n, C]; inverse: float64[seeds, P * C], pseudo-inverse of (V - centre) / denominator, row by row;
    values: int[seeds, >= C * P], V - centre; exponents, coefficients: (least, largest).
    """
    c, p = len(c_), len(p_)
    largest = 0.0
    for k in range(p):
        total = 0.0
        for i in range(c):
            total += inverse[s, k * c + i] * w[block, i]
        t[k] = total
        largest = max(largest, abs(total))
    rule = (np.float64(largest).view(np.int64) >> 52) - 1023  # floor(log2); far below any exponent for 0
    top = coefficients[1]
    while top > 1:
        rule -= 1
        top >>= 1
    rule = min(max(rule, exponents[0]), exponents[1])
    error = _error(w, block, t, values, s, denominator, rule, coefficients, q, c_, p_)
    if not refine:
        return error, rule
    best = rule
    for e in range(max(rule - 1, exponents[0]), min(rule + 1, exponents[1]) + 1):
        other = _error(w, block, t, values, s, denominator, e, coefficients, q, c_, p_)
        if other < error:
            error, best = other, e
    return _error(w, block, t, values, s, denominator, best, coefficients, q, c_, p_), best


@nb.njit(nogil=True, cache=True)
def power(e):
    """2.0 ** e, for exponents of normal numbers."""
    return np.int64((e + 1023) << 52).view(np.float64)


@nb.njit(nogil=True, cache=True)
def _error(w, block, t, values, s, denominator, e, coefficients, q, c_, p_):
    """Squared error of t rounded to q 2^e, from exact integer sums; q is filled."""
    c, p = len(c_), len(p_)
    scale, back = power(e), power(-e)
    for k in range(p):
        q[k] = np.int64(min(max(np.rint(t[k] * back), float(coefficients[0])), float(coefficients[1])))
    error = 0.0
    for i in range(c):
        total = np.int64(0)
        for k in range(p):
            total += np.int64(values[s, i * p + k]) * q[k]
        miss = w[block, i] - scale * (float(total) / denominator)
        error += miss * miss
    return error


@nb.njit(nogil=True, cache=True)
def pack(seed, e, q, seeds, exponents, coefficients):
    """`SeedCodec.pack` of one block; `seeds` = 2^K - 1."""
    word, at = np.uint64(seed), np.uint64(0)
    while seeds > 0:
        at += np.uint64(1)
        seeds >>= 1
    span = exponents[1] - exponents[0]  # 2^bits - 1
    word |= np.uint64(e & span) << at
    while span > 0:
        at += np.uint64(1)
        span >>= 1
    for k in range(len(q)):
        span = coefficients[1] - coefficients[0]
        word |= np.uint64(q[k] & span) << at
        while span > 0:
            at += np.uint64(1)
            span >>= 1
    return word


@nb.njit(nogil=True, cache=True)
def integers(words, values, width, exponent_bits, coefficient_bits, out, exponents):
    """Exact S_i of every word, and its exponent. values: int[seeds, >= C * P]; out: int64[n, C]."""
    c = out.shape[1]
    p = values.shape[1] // c
    q = np.zeros(p, np.int64)
    for n in range(len(words)):
        word = np.int64(words[n])
        s = (word & ((1 << width) - 1)) - 1
        e = word >> width & ((1 << exponent_bits) - 1)
        exponents[n] = e - ((e >> (exponent_bits - 1)) << exponent_bits)
        for k in range(p):
            code = word >> (width + exponent_bits + k * coefficient_bits) & ((1 << coefficient_bits) - 1)
            q[k] = code - ((code >> (coefficient_bits - 1)) << coefficient_bits)
        for i in range(c):
            total = np.int64(0)
            for k in range(p):
                total += np.int64(values[s, i * p + k]) * q[k]
            out[n, i] = total
