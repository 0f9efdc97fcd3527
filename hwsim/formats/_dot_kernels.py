"""Compiled loops of the accumulators; nothing compiles at import, and what compiles is cached on disk."""

from __future__ import annotations

import numba
import numpy as np

_jit = numba.njit(nogil=True, cache=True)
_inline = numba.njit(nogil=True, cache=True, inline="always")

_NONE = -(1 << 30)


@_inline
def _sum_to_float32(a, b):
    """float32 nearest even of the exact a + b (float64 each): the float64 sum is first rounded to odd."""
    s = a + b
    if not abs(s) < np.inf:
        return np.float32(s)
    t = s - a
    error = (a - (s - t)) + (b - t)
    if error != 0.0:
        bits = np.float64(s).view(np.int64)
        if bits & 1 == 0:
            bits += 1 if (error > 0.0) == (s > 0.0) else -1
        s = np.int64(bits).view(np.float64)
    return np.float32(s)


@_jit
def add_blocks(acc, dots, x_scales, w_scales, slack, doubt):
    """acc = float32(acc + dot * scales), rounded once, for one dot block of every output.

    acc: float32[m, n]. dots: float64[m, n]. slack: float64[m, n], bound of what `dots` lacks, or [0, 0]: exact.
    doubt[m, n] is set, and acc left alone, where the slack leaves the rounding undecided.
    """
    open_ = slack.size > 0
    for m in range(acc.shape[0]):
        for n in range(acc.shape[1]):
            scale = x_scales[m] * w_scales[n]
            block = dots[m, n] * scale
            before = np.float64(acc[m, n])
            if open_ and slack[m, n] > 0.0:
                off = slack[m, n] * abs(scale)
                low, high = _sum_to_float32(before, block - off), _sum_to_float32(before, block + off)
                doubt[m, n] = low != high and abs(block) < np.inf
                if not doubt[m, n]:
                    acc[m, n] = high if abs(block) < np.inf else np.float32(before + block)
            else:
                acc[m, n] = _sum_to_float32(before, block)


@_inline
def _sum_to_narrow(a, b, fraction_bits, emin, top):
    """The exact a + b rounded once to a float of `fraction_bits` from 2^emin to top, Inf beyond; as a float32."""
    s = a + b
    if not abs(s) < np.inf:
        return np.float32(s)
    t = s - a
    error = (a - (s - t)) + (b - t)
    if error != 0.0:
        bits = np.float64(s).view(np.int64)
        if bits & 1 == 0:
            bits += 1 if (error > 0.0) == (s > 0.0) else -1
        s = np.int64(bits).view(np.float64)
    exponent = max(((np.float64(s).view(np.int64) >> 52) & 0x7FF) - 1023, emin)
    unit = np.int64((exponent - fraction_bits + 1023) << 52).view(np.float64)
    near = np.rint(s / unit) * unit
    return np.float32(near) if abs(near) <= top else np.float32(np.copysign(np.inf, near))


@_jit
def add_blocks_narrow(acc, dots, x_scales, w_scales, slack, doubt, fraction_bits, emin, top):
    """`add_blocks` with an accumulator of fewer bits, which `acc` (float32) holds."""
    open_ = slack.size > 0
    for m in range(acc.shape[0]):
        for n in range(acc.shape[1]):
            scale = x_scales[m] * w_scales[n]
            block = dots[m, n] * scale
            before = np.float64(acc[m, n])
            if open_ and slack[m, n] > 0.0 and abs(block) < np.inf:
                off = slack[m, n] * abs(scale)
                low = _sum_to_narrow(before, block - off, fraction_bits, emin, top)
                high = _sum_to_narrow(before, block + off, fraction_bits, emin, top)
                doubt[m, n] = low != high
                if not doubt[m, n]:
                    acc[m, n] = high
            else:
                acc[m, n] = _sum_to_narrow(before, block, fraction_bits, emin, top)


@_inline
def _product(a, b):
    """(rounded product, what it lacks) of two float64, the second of at most 26 bits: exact without overflow."""
    p = a * b
    if not abs(p) < np.inf:
        return p, 0.0
    wide = a * 134217729.0  # 2^27 + 1: the upper and the lower half of the bits
    high = wide - (wide - a)
    return p, (high * b - p) + (a - high) * b


@_jit
def add_rounded_blocks(acc, dots, x_scales, w_scales, slack, doubt):
    """acc = float32(acc + float32(dot * scale)), scale = float32(x_scale * w_scale); arguments as `add_blocks`."""
    open_ = slack.size > 0
    for m in range(acc.shape[0]):
        for n in range(acc.shape[1]):
            scale = np.float64(np.float32(x_scales[m] * w_scales[n]))
            block, rest = _product(dots[m, n], scale)
            rounded = _sum_to_float32(block, rest)
            if open_ and slack[m, n] > 0.0 and abs(block) < np.inf:
                off = slack[m, n] * abs(scale)
                low, high = _sum_to_float32(block, rest - off), _sum_to_float32(block, rest + off)
                doubt[m, n] = low != high
                if doubt[m, n]:
                    continue
            acc[m, n] = _sum_to_float32(np.float64(acc[m, n]), np.float64(rounded))


@_inline
def _add_twice(high, low, slop, b):
    """(high + low) + b in twice the bits of float64, and slop plus a bound of what is lost."""
    s = high + b
    t = s - high
    error = (high - (s - t)) + (b - t)
    rest = low + error
    lost = (rest - low) - error
    slop += abs(rest) * 2.3e-16 if lost != 0.0 or (rest - error) - low != 0.0 else 0.0
    return s, rest, slop


@_jit
def add_products(high, low, slop, dots, x_scales, w_scales, slack):
    """`add_exactly` with scale = float32(x_scale * w_scale), whose products with dots need more bits than a float64."""
    for m in range(high.shape[0]):
        for n in range(high.shape[1]):
            scale = np.float64(np.float32(x_scales[m] * w_scales[n]))
            for part in _product(dots[m, n], scale):
                sums = _add_twice(high[m, n], low[m, n], slop[m, n], part)
                high[m, n], low[m, n], slop[m, n] = sums
            if slack.size > 0:
                slop[m, n] += slack[m, n] * abs(scale)


@_jit
def add_exactly(high, low, slop, dots, x_scales, w_scales, slack):
    """high + low += dot * scales, in twice the bits of float64; slop bounds what is lost. float64[m, n] each."""
    for m in range(high.shape[0]):
        for n in range(high.shape[1]):
            b = dots[m, n] * (x_scales[m] * w_scales[n])
            high[m, n], low[m, n], slop[m, n] = _add_twice(high[m, n], low[m, n], slop[m, n], b)
        if slack.size > 0:
            for n in range(high.shape[1]):
                slop[m, n] += slack[m, n] * abs(x_scales[m] * w_scales[n])


@_jit
def round_totals(high, low, slop, y, doubt):
    """y = float32 of high + low, once; doubt where slop leaves it open."""
    for m in range(y.shape[0]):
        for n in range(y.shape[1]):
            h, w, off = high[m, n], low[m, n], slop[m, n]
            if not abs(h) < np.inf:
                y[m, n] = h
            elif off > 0.0:
                off += abs(w) * 2.3e-16
                least, most = _sum_to_float32(h, w - off), _sum_to_float32(h, w + off)
                doubt[m, n] = least != most
                y[m, n] = most
            else:
                y[m, n] = _sum_to_float32(h, w)


@_inline
def _pow2(exponent):
    return np.int64((np.int64(exponent) + 1023) << 52).view(np.float64)


@_inline
def _shifted(value, places):
    """value * 2^places, cut toward zero; branch-free, so that it vectorises."""
    left, right = min(max(places, np.int64(0)), np.int64(62)), min(max(-places, np.int64(0)), np.int64(62))
    size = (abs(value) << left) >> right
    return size if value >= 0 else -size


@_inline
def _cut(total, exponent, fraction_bits):
    """total * 2^exponent as a float64, cut toward zero to a float32 of `fraction_bits` (at most 23). |total| < 2^53."""
    if total == 0:
        return 0.0
    size = abs(total)
    length = ((np.float64(size).view(np.int64) >> 52) & 0x7FF) - 1022
    last = max(exponent + length - 1, -126) - fraction_bits  # exponent of the last kept bit
    drop = min(max(last - exponent, 0), 62)
    value = min(np.float64((size >> drop) << drop) * _pow2(exponent), 3.4028234663852886e38)
    return value if total > 0 else -value


@_jit
def aligned_rows(xs, xe, ws, we, fraction, keep, out_bits, k, group, promotion, y, first, last):
    """Dots as tensor cores add: align to the largest exponent, cut below `keep` bits, cut the sum to float32.

    xs, ws: int64[m or n, k_padded], significands times those of their scales. xe, we: int32, exponents plus those of
    their scales; far below all others where a significand is 0; one for a whole group where group > 1.
    fraction: fraction bits of a product. k: elements of an instruction; group: elements summed exactly before
    aligning; promotion: elements after which the sum is added to y in float32 and starts again, 0 for never.
    y: float32[m, n], what the sums begin with, and the results.
    """
    length = xs.shape[1]
    for m in range(first, last):
        for n in range(ws.shape[0]):
            acc, promoted = np.float64(y[m, n]), np.float32(0.0)
            for start in range(0, length, k):
                # the accumulator as significand * 2^(exponent - 23)
                c, c_exponent = np.int64(0), np.int64(_NONE)
                if acc != 0.0:
                    c_exponent = max(((np.float64(acc).view(np.int64) >> 52) & 0x7FF) - 1023, np.int64(-126))
                    c = np.int64(acc * _pow2(23 - c_exponent))
                top32 = np.int32(max(c_exponent, _NONE))
                if group == 1:
                    for i in range(start, start + k):
                        top32 = max(top32, np.int32(xe[m, i] + we[n, i]))
                else:
                    for i in range(start, start + k, group):
                        top32 = max(top32, np.int32(xe[m, i] + we[n, i]))
                top = np.int64(top32)
                if top < -100000:
                    continue
                total = _shifted(c, keep - 23 + c_exponent - top)
                base = keep - fraction - top
                if group == 1:
                    for i in range(start, start + k):
                        total += _shifted(xs[m, i] * ws[n, i], base + np.int64(np.int32(xe[m, i] + we[n, i])))
                else:
                    for i in range(start, start + k, group):
                        inner = np.int64(0)
                        for j in range(i, i + group):
                            inner += xs[m, j] * ws[n, j]
                        total += _shifted(inner, base + np.int64(xe[m, i]) + np.int64(we[n, i]))
                acc = _cut(total, top - keep, out_bits)
                if promotion > 0 and (start + k) % promotion == 0:
                    promoted = np.float32(promoted + np.float32(acc))
                    acc = 0.0
            y[m, n] = np.float32(promoted + np.float32(acc)) if promotion > 0 else np.float32(acc)
