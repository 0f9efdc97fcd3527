"""Blocks and seeds by direction, compiled: which seeds a group of blocks of like directions need look at.

By the triangle inequality of angles, a seed matters to no block of a group if its angle to the group's direction is
above the sum of a block's angle to it and the angle at which that block still looks for seeds. Angles are given by
their sin^2; numbers are those of `_seed_vectors`.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from hwsim.formats._seed_vectors import LANES, UNIT, above, energies, entries, lowest

CELL = 128  # blocks, about, that share a list of seeds
BINS = 1024  # of sin^2 of the angle between a direction and a seed's subspace
SEED_BITS = 18  # of an entry of a list; its bin is above them
_MEANS = 2  # times that directions become the means of their blocks


@nb.njit(nogil=True, cache=True)
def reach(sine2, look, slack):
    """sin^2 of the sum of two angles, each widened by `slack`; 1 from a right angle on."""
    a, b = min(max(sine2, 0.0) + slack, 1.0), min(max(look, 0.0) + slack, 1.0)
    if a + b >= 1.0:
        return 1.0
    sine = math.sqrt(a * (1.0 - b)) + math.sqrt(b * (1.0 - a))
    return min(1.0, sine * sine)


@nb.njit(nogil=True, cache=True)
def _nearest(unit, block, vector, energy, fan, c_):
    """(lane, energy) of the direction nearest to a block."""
    energies(unit, block, vector, energy, 0, c_, (0,))
    lane = 0
    for other in range(1, fan):
        if energy[0, other] > energy[0, lane]:
            lane = other
    return lane, energy[0, lane]


@nb.njit(nogil=True, cache=True)
def divide(unit, rank, first, last, sine2, edges, vector, c_):
    """Divide rank[first..last-1], which are reordered, among up to LANES directions; returns how many.

    unit: int16[n, even C], length UNIT. Filled: edges: int64[LANES + 1], where each direction's blocks begin in `rank`;
    sine2: float32[n], sin^2 of each block's angle to its direction; vector: the directions, one a lane.
    """
    c, blocks = len(c_), last - first
    fan = min(LANES, max(1, blocks // CELL))
    total, energy = np.zeros((LANES, c), np.float32), np.empty((1, LANES), np.float32)
    vector[:] = 0
    for lane in range(fan):
        for i in range(c):
            vector[i >> 1, lane, i & 1] = unit[rank[first + (2 * lane + 1) * blocks // (2 * fan)], i]
    for _ in range(_MEANS if fan > 1 else 1):
        total[:] = 0.0
        for at in range(first, last, max(1, blocks // (fan * CELL))):
            block = rank[at]
            lane, _ = _nearest(unit, block, vector, energy, fan, c_)
            along = np.float32(0.0)
            for i in range(c):
                along += np.float32(unit[block, i]) * np.float32(vector[i >> 1, lane, i & 1])
            for i in range(c):
                total[lane, i] += unit[block, i] if along > 0 else -unit[block, i]
        for lane in range(fan):
            size = np.float32(0.0)
            for i in range(c):
                size += total[lane, i] * total[lane, i]
            if size > 0:
                for i in range(c):
                    vector[i >> 1, lane, i & 1] = np.rint(np.float32(UNIT) * total[lane, i] / np.sqrt(size))
    edges[:] = 0
    home = np.empty(blocks, np.int8)
    for at in range(first, last):
        block = rank[at]
        lane, near = _nearest(unit, block, vector, energy, fan, c_)
        home[at - first], sine2[block] = lane, np.float32(1.0) - near
        edges[lane + 1] += 1
    for lane in range(LANES):
        edges[lane + 1] += edges[lane]
    moved = rank[first:last].copy()
    for at in range(blocks):
        lane = home[at]
        rank[first + edges[lane]] = moved[at]
        edges[lane] += 1
    for lane in range(LANES, 0, -1):
        edges[lane] = first + edges[lane - 1]
    edges[0] = first
    return fan


@nb.njit(nogil=True, cache=True)
def narrow(table, rank, look, slack, sine2, edges, vector, listed, count, lists, counts, c_, p_):
    """Of the listed seeds, those that matter to the blocks of each direction of `divide`.

    table: int16[seeds, >= P * even C]. look: float64[n]. listed: uint32[count]; lists, counts: filled, one a lane.
    """
    energy, limit = np.empty((1, LANES), np.float32), np.empty(LANES, np.float32)
    entry = np.empty(LANES, np.uint32)
    for lane in range(LANES):
        counts[lane], widest = 0, 0.0
        for at in range(edges[lane], edges[lane + 1]):
            widest = max(widest, reach(sine2[rank[at]], look[rank[at]], slack))
        limit[lane] = np.inf if edges[lane] == edges[lane + 1] else 1.0 - widest - slack if widest < 1.0 else -1.0
    for k in range(count):
        s = np.int64(listed[k]) & ((1 << SEED_BITS) - 1)
        energies(table, s, vector, energy, 0, c_, p_)
        mask = above(energy, 0, limit)
        if mask:
            entries(energy, s, BINS, SEED_BITS, entry)
        while mask:
            lane = lowest(mask)
            mask &= mask - 1
            lists[lane, counts[lane]] = entry[lane]
            counts[lane] += 1


@nb.njit(nogil=True, cache=True)
def by_angle(listed, count, order, offsets):
    """Sort seeds by growing angle to their direction; offsets[b] is the number of seeds before bin b."""
    offsets[:] = 0
    for k in range(count):
        offsets[(listed[k] >> SEED_BITS) + 1] += 1
    for b in range(BINS):
        offsets[b + 1] += offsets[b]
    for k in range(count):
        b = listed[k] >> SEED_BITS
        order[offsets[b]] = listed[k] & ((1 << SEED_BITS) - 1)
        offsets[b] += 1
    for b in range(BINS, 0, -1):
        offsets[b] = offsets[b - 1]
    offsets[0] = 0


@nb.njit(nogil=True, cache=True)
def prefix(sine2, look, slack):
    """Number of bins that can hold a seed that matters to a block."""
    return min(BINS, int((reach(sine2, look, slack) + slack) * BINS) + 1)
