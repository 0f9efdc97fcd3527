"""Ops on windows of feature maps: convolutions and pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from hwsim.workload.graph.convolution import Conv, Pool, Window
from hwsim.workload.graph.values.functions import Array, Quantize


def windows(x: Array, window: Window, empty: float, reach: Sequence[int] = ()) -> Array:
    """Every window of a feature map [channels, sides]: [places, taps, channels]. reach: places by dimension."""
    edges = [(0, 0), *window.pad]
    if window.circular:
        x = np.pad(x, edges, "wrap")
    else:
        x = np.pad(x, edges, constant_values=empty)
    places = reach or tuple(
        (side - span) // stride + 1 for side, span, stride in zip(x.shape[1:], window.spans, window.stride, strict=True)
    )
    more = [
        max(0, (n - 1) * stride + span - side)
        for n, stride, span, side in zip(places, window.stride, window.spans, x.shape[1:], strict=True)
    ]
    x = np.pad(x, [(0, 0), *((0, n) for n in more)], constant_values=empty)
    found = []
    for tap in product(*map(range, window.kernel)):
        cut = tuple(
            slice(t * d, t * d + (n - 1) * stride + 1, stride)
            for t, d, n, stride in zip(tap, window.dilation, places, window.stride, strict=True)
        )
        found.append(x[(slice(None), *cut)].reshape(len(x), -1).T)
    return np.stack(found, 1)


def conv_of(node: Conv, x: Array, weights: Mapping[str, Array], q: Quantize) -> Array:
    """A feature map [channels, sides] (or channels last) convolved; depthwise, q rounds as for the vector unit."""
    c, n = node.channels
    g, taps = node.groups, node.window.taps
    x = np.moveaxis(x, -1, 0) if node.last else x
    sides = node.made.shape[:-1] if node.last else node.made.shape[1:]
    matrix = weights["weight"].reshape(g, n // g, taps, c // g)
    if node.transposed:
        found = _transposed(node, x, matrix, sides, q)
    else:
        rows = windows(x, node.window, 0.0).reshape(-1, taps, g, c // g)
        if node.depthwise:  # work of the vector unit: its operands are rounded as such
            wide = q(matrix[:, :, :, 0], "vector")
            found = np.einsum("ptg,gnt->gnp", q(rows[:, :, :, 0], "vector"), wide, optimize=True).reshape(n, *sides)
            return _channelled(node, found, weights)
        parts = []
        for i in range(g):
            taken = q(np.ascontiguousarray(rows[:, :, i]).reshape(len(rows), -1), "activations")
            parts.append(taken @ q(matrix[i].reshape(n // g, -1), "weights").T)
        found = np.concatenate(parts, 1).T.reshape(n, *sides)
    return _channelled(node, found, weights)


def _channelled(node: Conv, found: Array, weights: Mapping[str, Array]) -> Array:
    """A result [channels, sides] with its bias, its channels where the node has them."""
    if "bias" in weights:
        found = found + weights["bias"].reshape(-1, *(1,) * (found.ndim - 1))
    return np.moveaxis(found, 0, -1) if node.last else found


def _transposed(node: Conv, x: Array, matrix: Array, sides: Sequence[int], q: Quantize) -> Array:
    """Each input place adds its window; places outside the result are dropped."""
    window, (g, n, taps, c) = node.window, matrix.shape
    room = [
        (side - 1) * stride + span for side, stride, span in zip(x.shape[1:], window.stride, window.spans, strict=True)
    ]
    room = [max(side, pad[0] + want) for side, pad, want in zip(room, window.pad, sides, strict=True)]
    found = np.zeros((g * n, *room), np.float32)
    places = x.reshape(g, c, -1)
    for i in range(g):
        rows = q(np.ascontiguousarray(places[i].T), "activations")
        sums = (rows @ q(matrix[i].reshape(n * taps, c), "weights").T).reshape(-1, n, taps)
        for j, tap in enumerate(product(*map(range, window.kernel))):
            cut = tuple(
                slice(t * d, t * d + (side - 1) * stride + 1, stride)
                for t, d, side, stride in zip(tap, window.dilation, x.shape[1:], window.stride, strict=True)
            )
            found[(slice(i * n, (i + 1) * n), *cut)] += sums[:, :, j].T.reshape(n, *x.shape[1:])
    cut = tuple(slice(pad[0], pad[0] + want) for pad, want in zip(window.pad, sides, strict=True))
    return found[(slice(None), *cut)]


def pool_of(node: Pool, x: Array) -> Array:
    """The largest element of each window, or its mean; padding counts in a mean only where the node says so."""
    x = np.moveaxis(x, -1, 0) if node.last else x
    sides = node.made.shape[:-1] if node.last else node.made.shape[1:]
    if node.function == "max":
        found = windows(x, node.window, -np.inf, sides).max(1)
    else:
        total = windows(x, node.window, 0.0, sides).sum(1)
        whole = [(before, after) for before, after in node.window.pad] if node.counted else None
        ones = np.ones((1, *x.shape[1:]), np.float32)
        bare = node.window
        if whole:
            ones = np.pad(ones, [(0, 0), *whole], constant_values=1.0)
            bare = Window(bare.kernel, bare.stride, ((0, 0),) * len(sides), bare.dilation)
        found = total / windows(ones, bare, 0.0, sides).sum(1)
    result = found.T.reshape(len(x), *sides)
    return np.moveaxis(result, 0, -1) if node.last else result
