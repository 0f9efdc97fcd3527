"""Values of graph ops, one sample at a time: float32, or with operands rounded by a `quantize` function.

`quantize(x, what)` returns x rounded along its last axis, which is the reduction of the op; `what` is "weights",
"activations" (the other operand of a multiply-add) or "vector" (a result of the vector unit). Of `hwsim.workload` only
this module, `graph.data` and `graph.onnx` import numpy, none of which a run without values or files loads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.graph.convolution import Conv, Pool, Window
from hwsim.workload.graph.dense import Attention, Interact, Linear, Matmul
from hwsim.workload.graph.elementwise import Activate, Elementwise, Norm, Reduce, Softmax
from hwsim.workload.graph.graph import Graph
from hwsim.workload.graph.irregular import Farthest, Gather, Knn, Scatter, Segment, Sort, Table, TopK
from hwsim.workload.graph.layout import Concat, Expand, Pad, Reshape, Resize, Slice, Transpose
from hwsim.workload.graph.node import Node
from hwsim.workload.graph.recurrent import Recurrent
from hwsim.workload.graph.sites import Assign, Distribute

Array = np.ndarray[Any, np.dtype[Any]]
Quantize = Callable[[Array, str], Array]


def evaluate(
    graph: Graph, inputs: Mapping[str, Array], weights: Mapping[str, Array], quantize: Quantize | None = None
) -> dict[str, Array]:
    """Every tensor of a graph by name, for one sample.

    inputs: by name, of the shapes in the file. weights: by `node.weight`, and parameters by name.
    raises: InputError for a tensor that is missing or of another shape, and for an index beyond its table.
    """
    problems = []
    known: dict[str, Array] = {}
    for given, arrays, what in (
        *((g, inputs, "input") for g in graph.inputs),
        *((g, weights, "parameter") for g in graph.parameters),
    ):
        array = arrays.get(given.name)
        if array is None or array.shape != given.shape:
            there = "is missing" if array is None else f"has the shape {list(array.shape)}"
            problems.append(f"{what} {given.name} {there}; give an array of shape {list(given.shape)}")
        else:
            known[given.name] = array.astype(np.int64 if given.tensor.rows else np.float32)
            if given.tensor.rows:
                problems += _beyond(given.name, known[given.name], given.tensor.rows)
    if problems:
        raise InputError(*problems)
    for node in graph.nodes:
        own = {each.name: weights[f"{node.name}.{each.name}"] for each in node.weights}
        known[node.name] = value(node, [known[g.name] for g in node.given], own, quantize)
    return known


def random_weights(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Weights of a graph by name: matrices N(0, 1/K), gains 1, biases and shifts 0, tables and parameters N(0, 1)."""
    draw = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for node in graph.nodes:
        for each in node.weights:
            spread = 1 / math.sqrt(each.shape[-1]) if each.name == "weight" else 1.0
            if each.name in ("weight", "table"):
                array = draw.standard_normal(each.shape) * spread
            else:
                array = np.full(each.shape, 1.0 if each.name == "gain" else 0.0)
            found[f"{node.name}.{each.name}"] = array.astype(np.float32)
    for given in graph.parameters:
        found[given.name] = draw.standard_normal(given.shape).astype(np.float32)
    return found


def value(node: Node, given: Sequence[Array], weights: Mapping[str, Array], quantize: Quantize | None = None) -> Array:
    """The result of one node; see `Node.value`. raises: InputError for an index beyond its table."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = _value(node, given, weights, quantize or _same)
    if node.made.rows:
        return found.astype(np.int64)
    found = found.astype(np.float32)
    return quantize(found, "vector") if quantize else found


def _same(x: Array, what: str) -> Array:
    return x


def _value(node: Node, given: Sequence[Array], weights: Mapping[str, Array], q: Quantize) -> Array:
    x = given[0]
    match node:
        case Linear():
            return q(x, "activations") @ q(weights["weight"], "weights").T + _bias(weights)
        case Conv():
            return _conv(node, x, weights, q)
        case Pool():
            return _pool(node, x)
        case Matmul():
            a, b = x, given[1]
            rows = np.swapaxes(a, -1, -2) if node.transpose_a else a
            columns = b if node.transpose_b else np.swapaxes(b, -1, -2)  # [N, K]: the reduction is last
            found = q(np.ascontiguousarray(rows), "activations"), q(np.ascontiguousarray(columns), "activations")
            return np.matmul(found[0], np.swapaxes(found[1], -1, -2))
        case Attention():
            return _attention(node, given, q)
        case Recurrent():
            return _recurrent(node, given, weights, q)
        case Norm():
            return _norm(node, x, weights)
        case Activate():
            return FUNCTIONS[node.function](x, node)
        case Softmax():
            return softmax(x, node.axis)
        case Elementwise():
            result: Any = x
            others: list[Any] = [*given[1:], *([] if node.constant is None else [np.float32(node.constant)])]
            if node.function == "where":
                return np.where(x != 0, others[0], others[1])
            for other in others:
                result = ARITHMETIC[node.function](result, other)
            return result
        case Reduce():
            return REDUCTIONS[node.function](x, axis=node.axes[0] if node.function == "argmax" else node.axes).reshape(
                node.made.shape
            )
        case Reshape():
            return x.reshape(node.made.shape)
        case Transpose():
            return x.transpose(node.order)
        case Concat():
            return np.concatenate(given, node.axis)
        case Slice():
            return x[(*(slice(None),) * node.axis, slice(node.start, node.stop, node.step))]
        case Expand():
            return np.broadcast_to(x, node.made.shape)
        case Pad():
            return np.pad(x, node.edges, node.mode)  # type: ignore[call-overload,no-any-return]
        case Resize():
            for axis, factor in enumerate(node.factors):
                x = np.repeat(x, factor, axis)
            return x
        case Interact():
            vectors = np.concatenate([x[None], given[1]])
            vectors = q(vectors, "activations")
            low = np.tril_indices(len(vectors), -1)
            return np.concatenate([x, (vectors @ vectors.T)[low]])
        case _:
            return _irregular(node, given, weights, q)


def _irregular(node: Node, given: Sequence[Array], weights: Mapping[str, Array], q: Quantize) -> Array:
    x = given[0]
    match node:
        case Table():
            return _table(node, x, q(weights["table"], "weights"))
        case Gather():
            index = _within(node, given[1], len(x))
            if not node.pairs:
                return x[index]
            centre = np.broadcast_to(x[:, None], (*index.shape, x.shape[1]))
            return np.concatenate([centre, x[index] - centre], -1)
        case Scatter() | Segment():
            return grouped(x, _within(node, given[1], node.made.shape[0]), node.made.shape[0], node.function)
        case Sort():
            order = np.lexsort((*(-x[:, i] for i in reversed(range(x.shape[1] - 1))), -x[:, -1]))
            found = np.zeros(node.made.shape, np.float32)
            found[: min(len(x), len(found))] = x[order[: len(found)]]
            return found
        case TopK():
            return np.argsort(-x, axis=-1, kind="stable")[..., : node.made.shape[-1]]
        case Knn():
            y = given[-1]
            cross = q(y, "activations") @ q(x, "activations").T
            distance = (y.astype(np.float64) ** 2).sum(1)[:, None] - 2.0 * cross + (x.astype(np.float64) ** 2).sum(1)
            return np.argsort(distance, axis=-1, kind="stable")[:, : node.made.shape[-1]]
        case Farthest():
            return _farthest(x, node.made.shape[0])
        case Assign():
            return _assign(node, x, weights, q)
        case Distribute():
            sites = node.made.shape[0]
            if node.mode != "soft":
                return grouped(x, _within(node, given[1], sites), sites, "mean")
            p = given[1].astype(np.float64)
            columns = q(np.ascontiguousarray(x.T), "activations").astype(np.float64)
            taken = q(np.ascontiguousarray(given[1].T), "activations").astype(np.float64)
            return taken @ columns.T / p.sum(0)[:, None]
    raise AssertionError(f"every op has a value, {type(node).__name__} too")


# -- the dot array ---------------------------------------------------------------------------------


def _bias(weights: Mapping[str, Array]) -> Array:
    return weights["bias"] if "bias" in weights else np.zeros((), np.float32)


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


def _conv(node: Conv, x: Array, weights: Mapping[str, Array], q: Quantize) -> Array:
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


def _attention(node: Attention, given: Sequence[Array], q: Quantize) -> Array:
    heads = node.heads
    split = [np.moveaxis(x.reshape(len(x), heads, -1), 1, 0) for x in given]
    queries, keys, taken = (np.ascontiguousarray(x) for x in split)
    scores = q(queries, "activations") @ np.swapaxes(q(keys, "activations"), 1, 2)
    scores = scores / np.float32(math.sqrt(queries.shape[2]))
    if node.causal:
        new, kept = scores.shape[1:]
        scores = np.where(np.tri(new, kept, kept - new, dtype=bool), scores, -np.inf)
    p = q(softmax(scores, -1), "activations")
    columns = q(np.ascontiguousarray(np.swapaxes(taken, 1, 2)), "activations")
    return np.moveaxis(p @ np.swapaxes(columns, 1, 2), 0, 1).reshape(node.made.shape)


def _recurrent(node: Recurrent, given: Sequence[Array], weights: Mapping[str, Array], q: Quantize) -> Array:
    """Step by step; results of the functions are of the vector unit."""
    d, h, lstm = node.directions, node.hidden, node.kind == "lstm"
    w = q(weights["input"], "weights").reshape(d, -1, weights["input"].shape[1])
    r = q(weights["recurrent"], "weights").reshape(d, -1, h)
    bias = weights["bias"].reshape(d, 2, -1) if node.bias else np.zeros((d, 2, r.shape[1]), np.float32)
    states = [*(x.reshape(d, h) for x in given[1:]), *np.zeros((3 - len(given), d, h), np.float32)]
    x = q(given[0], "activations")
    found = np.zeros(node.made.shape, np.float32)
    for i in range(d):
        hidden, cell = states[0][i], states[1][i]
        backwards = node.reverse or i == 1
        for t in range(node.steps - 1, -1, -1) if backwards else range(node.steps):
            one, two = w[i] @ x[t] + bias[i, 0], r[i] @ q(hidden[None], "activations")[0] + bias[i, 1]
            if lstm:
                a, o, f = (1 / (1 + np.exp(-gate)) for gate in (one + two)[: 3 * h].reshape(3, h))
                cell = q((f * cell + a * np.tanh((one + two)[3 * h :])).astype(np.float32), "vector")
                hidden = (o * np.tanh(cell)).astype(np.float32)
            else:
                z, reset = (1 / (1 + np.exp(-gate)) for gate in (one + two)[: 2 * h].reshape(2, h))
                again = two[2 * h :]
                if node.before_reset:
                    again = reset * again
                else:
                    again = r[i, 2 * h :] @ q((reset * hidden)[None].astype(np.float32), "activations")[0]
                    again = again + bias[i, 1, 2 * h :]
                hidden = ((1 - z) * np.tanh(one[2 * h :] + again) + z * hidden).astype(np.float32)
            hidden = q(hidden, "vector")
            found[t, i * h : (i + 1) * h] = hidden
        if lstm:
            found[-1, i * h : (i + 1) * h] = cell
    return found


# -- the vector unit -------------------------------------------------------------------------------


def softmax(x: Array, axis: int) -> Array:
    """exp(x - max) / sum along an axis."""
    e = np.exp(x - x.max(axis, keepdims=True))
    found: Array = e / e.sum(axis, keepdims=True)
    return found


def _norm(node: Norm, x: Array, weights: Mapping[str, Array]) -> Array:
    side = [1] * x.ndim
    side[node.axis] = -1
    gain = weights["gain"].reshape(side)
    if node.kind == "batch":
        return x * gain + weights["shift"].reshape(side)
    if node.kind == "rms":
        return x / np.sqrt((x**2).mean(node.axis, keepdims=True) + np.float32(node.epsilon)) * gain
    axes = tuple(i for i in range(x.ndim) if i != node.axis) if node.kind == "instance" else (node.axis,)
    centred = x - x.mean(axes, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + np.float32(node.epsilon))
    return scaled * gain + weights["shift"].reshape(side)


def _pool(node: Pool, x: Array) -> Array:
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


_erf = np.vectorize(math.erf, otypes=[np.float64])

#: Activation functions by name: of an array and the node.
FUNCTIONS: dict[str, Callable[[Array, Activate], Array]] = {
    "relu": lambda x, _: np.maximum(x, 0),
    "relu6": lambda x, _: np.clip(x, 0, 6),
    "leaky_relu": lambda x, node: np.where(x < 0, np.float32(node.alpha) * x, x),
    "elu": lambda x, node: np.where(x < 0, np.float32(node.alpha) * np.expm1(np.minimum(x, 0)), x),
    "sigmoid": lambda x, _: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x, _: np.clip(x / np.float32(6) + np.float32(0.5), 0, 1),
    "tanh": lambda x, _: np.tanh(x),
    "silu": lambda x, _: x / (1 + np.exp(-x)),
    "hard_swish": lambda x, _: x * np.clip(x + 3, 0, 6) / np.float32(6),
    "gelu": lambda x, _: x * np.float32(0.5) * (1 + _erf(x / math.sqrt(2))).astype(np.float32),
    "softplus": lambda x, _: np.logaddexp(x, np.float32(0)),
    "exp": lambda x, _: np.exp(x),
    "log": lambda x, _: np.log(x),
    "sqrt": lambda x, _: np.sqrt(x),
    "erf": lambda x, _: _erf(x),
    "abs": lambda x, _: np.abs(x),
    "neg": lambda x, _: -x,
    "reciprocal": lambda x, _: 1 / x,
    "floor": lambda x, _: np.floor(x),
    "clip": lambda x, node: np.clip(x, np.float32(node.bounds[0]), np.float32(node.bounds[1])),
}
ARITHMETIC: dict[str, Callable[[Array, Any], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "equal": np.equal,
    "less": np.less,
    "greater": np.greater,
}
REDUCTIONS: dict[str, Callable[..., Array]] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "argmax": np.argmax,
}


# -- addresses that the data tell ------------------------------------------------------------------


def _beyond(name: str, index: Array, rows: int) -> list[str]:
    """A problem if some index is below 0 or not below `rows`."""
    wrong = index[(index < 0) | (index >= rows)]
    return [f"{name}: index {int(wrong.flat[0])} is beyond the {rows:,} rows; give indices below"] if wrong.size else []


def _within(node: Node, index: Array, rows: int) -> Array:
    """The indices. raises: InputError if one is beyond the rows."""
    problems = _beyond(node.name, index, rows)
    if problems:
        raise InputError(*problems)
    return index


def _table(node: Table, index: Array, table: Array) -> Array:
    if not node.function:
        return table[_within(node, index, node.rows_of[0])]
    found = np.zeros(node.made.shape, np.float32)
    start = first = 0
    for i, (rows, hot) in enumerate(zip(node.rows_of, node.hot, strict=True)):
        taken = table[first + _within(node, index[start : start + hot], rows)]
        found[i] = taken.mean(0) if node.function == "mean" else taken.sum(0)
        start, first = start + hot, first + rows
    return found


def grouped(x: Array, index: Array, rows: int, function: str) -> Array:
    """Rows of x added up (or the largest taken) by index; the mean, or the largest, of none is 0."""
    if function == "max":
        found = np.full((rows, x.shape[1]), -np.inf)
        np.maximum.at(found, index, x)
        return np.where(np.isinf(found), 0, found)
    found = np.zeros((rows, x.shape[1]), np.float64)
    np.add.at(found, index, x)
    if function == "mean":
        found /= np.maximum(np.bincount(index, minlength=rows), 1)[:, None]
    return found


def _farthest(x: Array, samples: int) -> Array:
    chosen = [0]
    distance = np.full(len(x), np.inf)
    for _ in range(samples - 1):
        distance = np.minimum(distance, ((x - x[chosen[-1]]).astype(np.float64) ** 2).sum(1))
        chosen.append(int(np.argmax(distance)))
    return np.array(chosen)


def _assign(node: Assign, x: Array, weights: Mapping[str, Array], q: Quantize) -> Array:
    if node.mode == "sort":
        order = np.lexsort((*(x[:, i] for i in reversed(range(x.shape[1] - 1))), x[:, -1]))
        rank = np.empty(len(x), np.int64)
        rank[order] = np.arange(len(x))
        return rank * node.sites // len(x)
    scores = q(x, "activations") @ q(weights["weight"], "weights").T
    return softmax(scores, -1) if node.mode == "soft" else np.argmax(scores, -1)
