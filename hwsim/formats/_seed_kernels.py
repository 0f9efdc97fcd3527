"""Compiled loops of the exact seed search: projected energies of 16 blocks at once, and exact evaluation.

The bound pass is written as vector instructions (LLVM's, of any processor): lanes are weight blocks, so that a
row of the seed table is read once for 16 of them. Only there are products contracted; the evaluation of a seed
is plain float64 in a fixed order, because its result is what *exact search* means.

Tuples `c_` and `p_` carry C and P as compile-time lengths; their contents are not used.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
BINS = 1024  # of sin^2 of the angle between a cell centre and a seed's subspace
SLACK = 4e-6  # of |w|^2: float32 rounding of the bound pass
_WARM = 256  # nearest seeds of a cell among which the first incumbent is looked for
_BATCH = 64  # seeds bounded before candidates among them are evaluated

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_I32 = ir.IntType(32)
_FUSE = ("contract",)


def _row(context, builder, table_type, table, index):
    """Pointer to row `index` of a C-ordered table."""
    array = context.make_array(table_type)(context, builder, table)
    return builder.gep(array.data, [builder.mul(index, cgutils.unpack_tuple(builder, array.shape, 2)[1])])


def _lanes(context, builder, array_type, array):
    """Pointer to the first vector of a float32 array."""
    return builder.bitcast(context.make_array(array_type)(context, builder, array).data, _VECTOR.as_pointer())


def _energy(context, builder, signature, args):
    """|Q w|^2 of LANES vectors w; Q is row args[1] of args[0], P x C; args[2] is float32[C, LANES]."""
    c, p = len(signature.args[-2]), len(signature.args[-1])
    row = _row(context, builder, signature.args[0], args[0], args[1])
    w = _lanes(context, builder, signature.args[2], args[2])
    undefined, every = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)

    def fused(a, b, total):
        product = builder.fmul(a, b, flags=_FUSE)
        return product if total is None else builder.fadd(product, total, flags=_FUSE)

    sums = [None] * p
    for i in range(c):
        column = builder.load(builder.gep(w, [_I32(i)]), align=4)
        for k in range(p):
            entry = builder.load(builder.gep(row, [_I32(k * c + i)]))
            spread = builder.shuffle_vector(builder.insert_element(undefined, entry, _I32(0)), undefined, every)
            sums[k] = fused(spread, column, sums[k])
    total = None
    for each in sums:
        total = fused(each, each, total)
    return total


@intrinsic
def energies(typingctx, table, index, w, out, c_, p_):
    """out[l] = |Q w_l|^2 for every lane; Q is row `index` of `table`."""

    def code(context, builder, signature, args):
        total = _energy(context, builder, signature, args)
        builder.store(total, _lanes(context, builder, signature.args[3], args[3]), align=4)
        return context.get_dummy_value()

    return types.void(table, types.int64, w, out, c_, p_), code


@intrinsic
def hits(typingctx, table, index, w, threshold, c_, p_):
    """Mask of the lanes whose energy is above their threshold."""

    def code(context, builder, signature, args):
        total = _energy(context, builder, signature, args)
        limit = builder.load(_lanes(context, builder, signature.args[3], args[3]), align=4)
        mask = builder.bitcast(builder.fcmp_ordered(">", total, limit), ir.IntType(LANES))
        return builder.zext(mask, ir.IntType(64))

    return types.int64(table, types.int64, w, threshold, c_, p_), code


@intrinsic
def prefetch(typingctx, table, index, c_, p_):
    """Ask for a row of P * C entries; the seeds of a cell are scattered over the tables."""

    def code(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        row = builder.bitcast(_row(context, builder, signature.args[0], args[0], args[1]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        entries = len(signature.args[2]) * len(signature.args[3])
        for at in range(0, entries * signature.args[0].dtype.bitwidth // 8, 64):
            builder.call(ask, [builder.gep(row, [_I32(at)]), _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(table, types.int64, c_, p_), code


@nb.njit(nogil=True, cache=True)
def evaluate(w, inverse, values, denominator, exponents, coefficients, refine, t, q):
    """The quantised fit of one seed: (error, exponent); t (unquantised) and q filled.

    w: float64[C]; inverse: float64[P * C], the pseudo-inverse of (V - centre) / denominator, row by row;
    values: int32[C * P], V - centre; exponents, coefficients: (least, largest).
    """
    c, p = len(w), len(t)
    largest = 0.0
    for k in range(p):
        total = 0.0
        for i in range(c):
            total += inverse[k * c + i] * w[i]
        t[k] = total
        largest = max(largest, abs(total))
    rule = (np.float64(largest).view(np.int64) >> 52) - 1023  # floor(log2); far below any exponent for 0
    top = coefficients[1]
    while top > 1:
        rule -= 1
        top >>= 1
    rule = min(max(rule, exponents[0]), exponents[1])
    error = _error(w, t, values, denominator, rule, coefficients, q)
    if not refine:
        return error, rule
    best = rule
    for e in range(max(rule - 1, exponents[0]), min(rule + 1, exponents[1]) + 1):
        other = _error(w, t, values, denominator, e, coefficients, q)
        if other < error:
            error, best = other, e
    return _error(w, t, values, denominator, best, coefficients, q), best


@nb.njit(nogil=True, cache=True)
def _power(e):
    """2.0 ** e, for exponents of normal numbers."""
    return np.int64((e + 1023) << 52).view(np.float64)


@nb.njit(nogil=True, cache=True)
def _error(w, t, values, denominator, e, coefficients, q):
    """Squared error of t rounded to q 2^e, from exact integer sums; q is filled."""
    p, scale, back = len(t), _power(e), _power(-e)
    for k in range(p):
        q[k] = np.int64(min(max(np.rint(t[k] * back), float(coefficients[0])), float(coefficients[1])))
    error = 0.0
    for i in range(len(w)):
        total = np.int64(0)
        for k in range(p):
            total += np.int64(values[i * p + k]) * q[k]
        miss = w[i] - scale * (float(total) / denominator)
        error += miss * miss
    return error


@nb.njit(nogil=True, cache=True)
def nearest_centre(unit, centres, first, last, cell, sine2, c_, one_):
    """For blocks first..last-1: the centre with the least angle to the block's line, and sin^2 of it.

    unit: float32[n, C], length 1 (or 0); centres: float32[cells, C], length 1.
    """
    c = len(c_)
    w = np.zeros((c, LANES), np.float32)
    best, energy = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for at in range(first, last, LANES):
        n = min(LANES, last - at)
        for lane in range(LANES):
            best[lane] = -1.0 if lane < n else np.inf
            for i in range(c):
                w[i, lane] = unit[at + lane, i] if lane < n else 0.0
        for centre in range(len(centres)):
            if hits(centres, centre, w, best, c_, one_):
                energies(centres, centre, w, energy, c_, one_)
                for lane in range(n):
                    if energy[lane] > best[lane]:
                        best[lane] = energy[lane]
                        cell[at + lane] = centre
        for lane in range(n):
            sine2[at + lane] = 1.0 - best[lane]


@nb.njit(nogil=True, cache=True)
def fill_cells(table, centres, order, offsets, c_, p_):
    """The list of each cell: seeds by growing angle to the centre, in bins of sin^2.

    order: uint[cells, capacity], as many whole bins as fit; offsets: int32[cells, BINS + 1], where each starts.
    """
    c, seeds = len(c_), len(table)
    w = np.zeros((c, LANES), np.float32)
    energy = np.empty(LANES, np.float32)
    bins = np.empty((LANES, seeds), np.uint16)
    at_bin = np.empty(BINS, np.int64)
    for at in range(0, len(centres), LANES):
        n = min(LANES, len(centres) - at)
        for lane in range(n):
            for i in range(c):
                w[i, lane] = centres[at + lane, i]
            offsets[at + lane] = 0
        for s in range(seeds):
            energies(table, s, w, energy, c_, p_)
            for lane in range(n):
                b = min(max(int((np.float32(1.0) - energy[lane]) * np.float32(BINS)), 0), BINS - 1)
                bins[lane, s] = b
                offsets[at + lane, b + 1] += 1
        for lane in range(n):
            for b in range(BINS):
                at_bin[b] = offsets[at + lane, b]
                offsets[at + lane, b + 1] += offsets[at + lane, b]
            for s in range(seeds):
                b = bins[lane, s]
                if offsets[at + lane, b + 1] <= order.shape[1]:
                    order[at + lane, at_bin[b]] = s
                    at_bin[b] += 1


@nb.njit(nogil=True, cache=True, inline="always")
def _reach(sine2_cell, sine2_search):
    """Number of bins that can hold a seed within the sum of two angles, given by their sin^2."""
    a, b = min(max(sine2_cell + 4e-6, 0.0), 1.0), min(max(sine2_search + 4e-6, 0.0), 1.0)
    if a + b >= 1.0:  # the angles sum to a right angle or more
        return BINS
    sine = math.sqrt(a * (1.0 - b)) + math.sqrt(b * (1.0 - a))
    return min(BINS, int((sine * sine + 4e-6) * BINS) + 2)


@nb.njit(nogil=True, cache=True)
def search(
    table, inverse, values, gain, denominator, exponents, coefficients, refine,
    w, unit, norm2, rank, first, last, cell, sine2, order, offsets, words, errors, c_, p_,
):  # fmt: skip
    """Exact search of blocks rank[first..last-1]; returns (seeds evaluated, bounds computed).

    table: float32[seeds, P * C]; inverse: float64[seeds, P * C]; values: int32[seeds, C * P];
    gain: float64[seeds], largest row norm of the pseudo-inverse.
    w: float64[n, C]; unit: float32[n, C], w / |w|; norm2: float64[n], |w|^2 (0: the block is skipped).
    order, offsets: lists of the cells, blocks of one cell adjacent in `rank`; no cells: every seed is bounded.
    words, errors: per block, seed | (exponent code) | q codes, and the squared error. Filled.
    """
    c, p, cells = len(c_), len(p_), len(offsets)
    vector = np.zeros((c, LANES), np.float32)
    limit, energy = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    nearest, best_seed = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    best, bins = np.empty(LANES), np.zeros(LANES, np.int64)
    t, q = np.zeros(p), np.zeros(p, np.int64)
    queue = np.empty(_BATCH, np.int64)
    evaluated = bounded = 0
    seeds = len(table)
    tiny = 0.499 * _power(exponents[0])
    at = first
    while at < last:
        home = cell[rank[at]] if cells else 0
        n = 1
        while n < LANES and at + n < last and (not cells or cell[rank[at + n]] == home):
            n += 1
        for lane in range(LANES):
            best[lane], best_seed[lane], nearest[lane] = np.inf, 0, -1
            limit[lane] = -1.0 if lane < n and norm2[rank[at + lane]] > 0.0 else np.inf
            for i in range(c):
                vector[i, lane] = unit[rank[at + lane], i] if lane < n else 0.0

        # First incumbents: the best projection among the nearest seeds.
        for k in range(min(_WARM, offsets[home, BINS] if cells else seeds)):
            s = np.int64(order[home, k]) if cells else k
            if cells and k >= order.shape[1]:
                break
            if cells:
                prefetch(table, np.int64(order[home, k + 8]), c_, p_)
            if hits(table, s, vector, limit, c_, p_):
                energies(table, s, vector, energy, c_, p_)
                for lane in range(n):
                    if energy[lane] > limit[lane]:
                        limit[lane], nearest[lane] = energy[lane], s
        last_bin = 0
        for lane in range(n):
            block, s = rank[at + lane], nearest[lane]
            if norm2[block] == 0.0:
                bins[lane] = 0
                continue
            if s < 0:
                s = 0
            best[lane], _ = evaluate(
                w[block], inverse[s], values[s], denominator, exponents, coefficients, refine, t, q
            )
            best_seed[lane] = s
            evaluated += 1
            share = best[lane] / norm2[block]
            limit[lane] = np.float32(1.0 - share - SLACK)
            bins[lane] = _reach(sine2[block], share) if cells else BINS
            last_bin = max(last_bin, bins[lane])

        # Two passes at most: the cell's list, then all seeds if some lane's reach goes beyond the list.
        listed = cells > 0
        while True:
            if listed:
                stop = offsets[home, last_bin]
                while stop > order.shape[1]:
                    last_bin -= 1
                    stop = offsets[home, last_bin]
            else:
                stop = seeds
            at_seed = 0
            while at_seed < stop:
                found = 0
                for k in range(at_seed, min(at_seed + _BATCH, stop)):
                    if listed:
                        s = np.int64(order[home, k])
                        prefetch(table, np.int64(order[home, min(k + 8, stop - 1)]), c_, p_)
                    else:
                        s = k
                    if hits(table, s, vector, limit, c_, p_):
                        prefetch(inverse, s, c_, p_)
                        prefetch(values, s, c_, p_)
                        queue[found] = s
                        found += 1
                at_seed += _BATCH
                moved = False
                for each in range(found):
                    s = queue[each]
                    mask = hits(table, s, vector, limit, c_, p_)  # again: limits have moved since
                    for lane in range(n):
                        if not mask >> lane & 1:
                            continue
                        block = rank[at + lane]
                        if gain[s] * math.sqrt(norm2[block]) < tiny and not refine:
                            error = 0.0  # every coefficient rounds to 0: the error is that of no weights at all
                            for i in range(c):
                                error += w[block, i] * w[block, i]
                        else:
                            error, _ = evaluate(
                                w[block], inverse[s], values[s], denominator, exponents, coefficients, refine, t, q
                            )
                            evaluated += 1
                        if error < best[lane] or (error == best[lane] and s < best_seed[lane]):
                            moved = moved or error < best[lane]
                            best[lane], best_seed[lane] = error, s
                            share = error / norm2[block]
                            limit[lane] = np.float32(1.0 - share - SLACK)
                            bins[lane] = _reach(sine2[block], share) if cells else BINS
                if moved and listed:
                    last_bin = 0
                    for lane in range(n):
                        last_bin = max(last_bin, bins[lane])
                    if offsets[home, last_bin] < stop:
                        stop = offsets[home, last_bin]
            bounded += stop * n
            if not listed:
                break
            again = False
            for lane in range(n):
                if offsets[home, bins[lane]] <= order.shape[1]:
                    limit[lane] = np.inf
                else:
                    again = True
            if not again:
                break
            listed = False

        for lane in range(n):
            block = rank[at + lane]
            if norm2[block] == 0.0:
                continue
            s = best_seed[lane]
            errors[block], e = evaluate(
                w[block], inverse[s], values[s], denominator, exponents, coefficients, refine, t, q
            )
            words[block] = pack(s + 1, e, q, len(gain), exponents, coefficients)
        at += n
    return evaluated, bounded


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
    """Exact S_i of every word, and its exponent. values: int32[seeds, C * P]; out: int64[n, C]."""
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
