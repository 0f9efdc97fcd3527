"""Ops on windows of feature maps: convolutions and pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from hwsim.workload.graph.convolution import Conv, Pool, Window
from hwsim.workload.graph.values.functions import Array, Quantize


def windows(x: Array, window: Window, empty: float, reach: Sequence[int] = ()) -> Array:
    """Every window of a feature map [channels, sides]: [places, taps, channels]. reach: places by dimension."""
    places, cuts, x = _cuts(x, window, empty, reach)
    found = np.empty((*places, len(cuts), x.shape[-1]), x.dtype)
    for i, cut in enumerate(cuts):
        found[..., i, :] = x[cut]
    return found.reshape(-1, len(cuts), x.shape[-1])


def _cuts(
    x: Array, window: Window, empty: float, reach: Sequence[int] = ()
) -> tuple[Sequence[int], list[tuple[slice, ...]], Array]:
    """Places by dimension; by tap, the cut of the feature map that it sees; and the map itself: padded, channels last.

    Channels are last, as copies of whole rows of channels are several times as fast as those of single elements.
    """
    x = np.moveaxis(x, 0, -1)
    sides = [side + sum(pad) for side, pad in zip(x.shape, window.pad, strict=False)]
    places = reach or [
        (side - span) // stride + 1 for side, span, stride in zip(sides, window.spans, window.stride, strict=True)
    ]
    edges = [
        (before, after + max(0, (n - 1) * stride + span - side))
        for (before, after), n, stride, span, side in zip(
            window.pad, places, window.stride, window.spans, sides, strict=True
        )
    ]
    if window.circular:
        x = np.pad(x, [*window.pad, (0, 0)], "wrap")
    elif any(map(any, edges)):
        x = np.pad(x, [*edges, (0, 0)], constant_values=empty)
    cuts = [
        tuple(
            slice(t * d, t * d + (n - 1) * stride + 1, stride)
            for t, d, n, stride in zip(tap, window.dilation, places, window.stride, strict=True)
        )
        for tap in product(*map(range, window.kernel))
    ]
    return places, cuts, x


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
        if node.depthwise:
            return _channelled(node, _depthwise(node, x, q(matrix[:, :, :, 0], "vector"), q), weights)
        rows = windows(x, node.window, 0.0).reshape(-1, taps, g, c // g)
        parts = []
        for i in range(g):
            taken = q(np.ascontiguousarray(rows[:, :, i]).reshape(len(rows), -1), "activations")
            parts.append(taken @ q(matrix[i].reshape(n // g, -1), "weights").T)
        found = np.concatenate(parts, 1).T.reshape(n, *sides)
    return _channelled(node, found, weights)


def _depthwise(node: Conv, x: Array, matrix: Array, q: Quantize) -> Array:
    """One input channel per group, weights [groups, outputs of one, taps]: work of the vector unit, rounded as such.

    Blocks of a format run through the channels of one place, so that a map is rounded before its windows are taken.
    """
    places, cuts, x = _cuts(x, node.window, 0.0)
    groups, outputs, _ = matrix.shape
    x = q(np.ascontiguousarray(x), "vector")
    found = np.zeros((outputs, *places, groups), np.float32)
    for i, cut in enumerate(cuts):
        for j in range(outputs):
            found[j] += x[cut] * matrix[:, j, i]
    return np.moveaxis(found, (-1, 0), (0, 1)).reshape(groups * outputs, *places)


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
