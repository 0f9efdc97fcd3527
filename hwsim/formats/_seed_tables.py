"""The tables of a seed codec, compiled: every seed's pseudo-inverse and orthonormal basis."""

from __future__ import annotations

import math

import numba as nb
import numpy as np


@nb.njit(nogil=True, cache=True)
def orthogonal(values, denominator, rank, inverse, gain, basis, whole, c_, p_):
    """The tables of every seed of full rank by modified Gram-Schmidt in float64, each column cleaned twice.

    values: int[seeds, >= C * P], V - centre. rank: a column whose remainder is below this share of the largest one
    makes the matrix dependent. inverse: float64[seeds, P * C], pseudo-inverse of values / denominator. gain: largest
    row norm of it. basis: float64[seeds, P, C]. All filled, with whole[s] = False where the matrix is dependent.
    """
    c, p = len(c_), len(p_)
    v, r = np.empty((p, c)), np.zeros((p, p))
    for s in range(len(values)):
        for k in range(p):
            for i in range(c):
                v[k, i] = values[s, i * p + k] / denominator
        most, fine = 0.0, True
        for k in range(p):
            for again in range(2):
                for j in range(k):
                    along = 0.0
                    for i in range(c):
                        along += v[j, i] * v[k, i]
                    for i in range(c):
                        v[k, i] -= along * v[j, i]
                    r[j, k] = along if again == 0 else r[j, k] + along
            size = 0.0
            for i in range(c):
                size += v[k, i] * v[k, i]
            size = math.sqrt(size)
            most = max(most, size)
            if size <= rank * most:
                fine = False
                break
            r[k, k] = size
            for i in range(c):
                v[k, i] /= size
        whole[s] = fine
        if not fine:
            continue
        largest = 0.0
        for k in range(p - 1, -1, -1):
            norm2 = 0.0
            for i in range(c):
                total = v[k, i]
                for j in range(k + 1, p):
                    total -= r[k, j] * inverse[s, j * c + i]
                total /= r[k, k]
                inverse[s, k * c + i] = total
                norm2 += total * total
                basis[s, k, i] = v[k, i]
            largest = max(largest, norm2)
        gain[s] = math.sqrt(largest)
