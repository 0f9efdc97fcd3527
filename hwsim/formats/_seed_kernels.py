"""Compiled loops of the exact seed search.

Blocks are grouped by direction (`_seed_cells`), again and again, until a list of seeds is shared by a cell of about 64.
The bounds of a list's seeds are computed for 16 blocks at once (`_seed_vectors`), nearest seeds to the cell first; a
seed whose bound allows it is evaluated (`_seed_fit`), best bound first.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from hwsim.formats._seed_cells import BINS, CELL, by_angle, divide, narrow, prefix
from hwsim.formats._seed_fit import evaluate, pack, power
from hwsim.formats._seed_vectors import AHEAD, LANES, above, four_energies, lowest
from hwsim.formats._seed_vectors import prefetch as ask

_DEPTH = 3  # times that blocks are grouped
_ROWS = 384  # seeds bounded before candidates among them are evaluated
_WAITING = 48  # candidates of a block that wait for their evaluation


@nb.njit(nogil=True, cache=True)
def search(
    table, inverse, values, gain, least, denominator, exponents, coefficients, refine, slack,
    w, unit, norm2, rank, first, last, look, words, errors, c_, p_,
):  # fmt: skip
    """Search blocks rank[first..last-1], which are reordered; returns (seeds evaluated, bounds computed).

    table: int16[seeds, >= P * even C]; inverse: float64[seeds, P * C]; values: int[seeds, >= C * P];
    gain: float64[seeds], largest row norm of the pseudo-inverse; least: of them all. slack: of |w|^2, of bounds.
    w: float64[n, C]; unit: int16[n, even C], w / |w|; norm2: float64[n], |w|^2, not 0.
    look: float64[n]; a seed whose angle to the block has a sin^2 above it may be left out, so that the record found is
    the best of all only if its error is at most look |w|^2.
    words, errors: per block, seed | (exponent code) | q codes, and the squared error (infinite: no seed was near).
    Filled.
    """
    c, seeds = len(c_), len(table)
    lists, counts = np.empty((_DEPTH, LANES, seeds), np.uint32), np.zeros((_DEPTH, LANES), np.int64)
    edges, vectors = np.zeros((_DEPTH, LANES + 1), np.int64), np.zeros(((c + 1) // 2, LANES, 2), np.int16)
    fan, child, sine2 = np.zeros(_DEPTH, np.int64), np.zeros(_DEPTH, np.int64), np.empty(len(unit), np.float32)
    order, offsets = np.zeros(seeds + 4 + AHEAD, np.uint32), np.empty(BINS + 1, np.int64)
    evaluated = bounded = 0
    listed, count, depth, a, b = np.arange(seeds).astype(np.uint32), seeds, 0, first, last
    while True:
        fan[depth], child[depth] = divide(unit, rank, a, b, sine2, edges[depth], vectors, c_), 0
        narrow(
            table, rank, look, slack, sine2, edges[depth], vectors, listed, count, lists[depth], counts[depth], c_, p_
        )
        # The next group that is worth dividing; cells on the way are searched.
        while True:
            while depth >= 0 and child[depth] == fan[depth]:
                depth -= 1
            if depth < 0:
                return evaluated, bounded
            lane = child[depth]
            child[depth] += 1
            a, b = edges[depth, lane], edges[depth, lane + 1]
            listed, count = lists[depth, lane], counts[depth, lane]
            if b - a > 4 * CELL and depth + 1 < _DEPTH:
                depth += 1
                break
            if a < b:
                by_angle(listed, count, order, offsets)
                more, bounds = _cell(
                    table, inverse, values, gain, least, denominator, exponents, coefficients, refine, slack,
                    w, unit, norm2, rank[a:b], look, sine2, order, offsets, words, errors, c_, p_,
                )  # fmt: skip
                evaluated += more
                bounded += bounds


@nb.njit(nogil=True, cache=True)
def _cell(
    table, inverse, values, gain, least, denominator, exponents, coefficients, refine, slack,
    w, unit, norm2, cell, look, sine2, order, offsets, words, errors, c_, p_,
):  # fmt: skip
    """Search the blocks of a cell; returns (seeds evaluated, bounds computed).

    cell: int64, the blocks; sine2: float32[n], of their angles to the cell's direction;
    order, offsets: seeds by growing angle to it.
    """
    c, p, blocks = len(c_), len(p_), len(cell)
    lanes, limit = np.zeros(((c + 1) // 2, LANES, 2), np.int16), np.empty(LANES, np.float32)
    energy, top = np.empty((_ROWS, LANES), np.float32), np.empty((1, LANES), np.float32)
    t, q = np.zeros(p), np.zeros(p, np.int64)
    nearest, queued = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    waiting, hopes = np.empty((LANES, _WAITING), np.int64), np.empty((LANES, _WAITING), np.float32)
    # Of each block: its least error, the seed, how far it looks, and whether some seed may round it to 0.
    best, best_seed, ends = np.full(blocks, np.inf), np.zeros(blocks, np.int64), np.empty(blocks, np.int64)
    small, active = np.empty(blocks, np.bool_), np.arange(blocks)
    tiny = 0.499 * power(exponents[0])
    evaluated = bounded = start = 0
    for at in range(blocks):
        block = cell[at]
        ends[at] = offsets[prefix(sine2[block], look[block], slack)]
        small[at] = least * math.sqrt(norm2[block]) < tiny
    left = blocks
    while True:
        # All blocks that look so far see the next rows, 16 blocks at once.
        still, stop = 0, 0
        for k in range(left):
            if ends[active[k]] > start:
                active[still] = active[k]
                stop = max(stop, ends[active[k]])
                still += 1
        left = still
        if left == 0:
            break
        rows = min(_ROWS, stop - start)
        bounded += left * rows
        for first in range(0, left, LANES):
            n = min(LANES, left - first)
            for lane in range(LANES):
                queued[lane], top[0, lane], limit[lane] = 0, -1.0, np.inf
                if lane < n:
                    at = active[first + lane]
                    block = cell[at]
                    limit[lane] = 1.0 - best[at] / norm2[block] - slack
                    for i in range(c):
                        lanes[i >> 1, lane, i & 1] = unit[block, i]
                else:
                    for i in range(c):
                        lanes[i >> 1, lane, i & 1] = 0
            for k in range(0, rows, 4):
                four_energies(table, order, start + k, lanes, energy, k, top, c_, p_)
            if start == 0:
                # The first incumbent is the nearest of these.
                for lane in range(LANES):
                    limit[lane] = top[0, lane] - np.float32(1e-6)
                    nearest[lane] = order[0]
                for k in range(rows):
                    mask = above(energy, k, limit)
                    while mask:
                        nearest[lowest(mask)] = order[k]
                        mask &= mask - 1
                for lane in range(n):
                    ask(inverse, nearest[lane], c_, p_)
                    ask(values, nearest[lane], c_, p_)
                for lane in range(n):
                    at, s = active[first + lane], nearest[lane]
                    block = cell[at]
                    best_seed[at] = s
                    best[at], _ = evaluate(
                        w, block, inverse, values, s, denominator, exponents, coefficients, refine, t, q, c_, p_
                    )
                    limit[lane] = 1.0 - best[at] / norm2[block] - slack
                    top[0, lane] = np.inf
                for lane in range(n, LANES):
                    limit[lane] = np.inf
                evaluated += n
            k = 0 if above(top, 0, limit) else rows + 1
            while k <= rows:
                # After the last row, all queues are emptied.
                mask = above(energy, k, limit) if k < rows else (1 << n) - 1
                while mask:
                    lane = lowest(mask)
                    mask &= mask - 1
                    at = active[first + lane]
                    if k < rows:
                        s = np.int64(order[start + k])
                        if s == best_seed[at]:
                            continue
                        ask(inverse, s, c_, p_)
                        ask(values, s, c_, p_)
                        waiting[lane, queued[lane]] = s
                        hopes[lane, queued[lane]] = energy[k, lane]
                        queued[lane] += 1
                        if queued[lane] < _WAITING:
                            continue
                    block = cell[at]
                    while queued[lane]:
                        pick = queued[lane] - 1
                        if k == rows:
                            for other in range(queued[lane] - 1):
                                if hopes[lane, other] > hopes[lane, pick]:
                                    pick = other
                        s, hope = waiting[lane, pick], hopes[lane, pick]
                        queued[lane] -= 1
                        waiting[lane, pick] = waiting[lane, queued[lane]]
                        hopes[lane, pick] = hopes[lane, queued[lane]]
                        if hope <= limit[lane]:
                            continue
                        if small[at] and gain[s] * math.sqrt(norm2[block]) < tiny and not refine:
                            error = 0.0  # every coefficient rounds to 0: the error is that of no weights at all
                            for i in range(c):
                                error += w[block, i] * w[block, i]
                        else:
                            error, _ = evaluate(
                                w, block, inverse, values, s, denominator, exponents, coefficients, refine, t, q, c_, p_
                            )
                            evaluated += 1
                        if error < best[at] or (error == best[at] and s < best_seed[at]):
                            best[at], best_seed[at] = error, s
                            limit[lane] = 1.0 - error / norm2[block] - slack
                k += 1
            for lane in range(n):
                at = active[first + lane]
                block = cell[at]
                ends[at] = min(ends[at], offsets[prefix(sine2[block], best[at] / norm2[block], slack)])
        start += rows
    for at in range(blocks):
        block, s = cell[at], best_seed[at]
        errors[block] = best[at]
        if best[at] < np.inf:
            _, e = evaluate(w, block, inverse, values, s, denominator, exponents, coefficients, refine, t, q, c_, p_)
            words[block] = pack(s + 1, e, q, len(gain), exponents, coefficients)
    return evaluated, bounded
