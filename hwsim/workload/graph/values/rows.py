"""Ops whose addresses the data tell: tables, gather, scatter, sorting, neighbours, assignment to sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.graph.irregular import Gather, Scatter, Segment, Table
from hwsim.workload.graph.node import Node
from hwsim.workload.graph.ordering import Farthest, Knn, Sort, TopK
from hwsim.workload.graph.sites import Assign, Distribute
from hwsim.workload.graph.values.functions import Array, Quantize, softmax


def irregular_of(node: Node, given: Sequence[Array], weights: Mapping[str, Array], q: Quantize) -> Array:
    """The result of a node of this file, before it is cast. q: rounds operands."""
    x = given[0]
    match node:
        case Table():
            return _table(node, x, q(weights["table"], "weights"))
        case Gather():
            index = within(node, given[1], len(x))
            if not node.pairs:
                return x[index]
            centre = np.broadcast_to(x[:, None], (*index.shape, x.shape[1]))
            return np.concatenate([centre, x[index] - centre], -1)
        case Scatter() | Segment():
            return grouped(x, within(node, given[1], node.made.shape[0]), node.made.shape[0], node.function)
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
                return grouped(x, within(node, given[1], sites), sites, "mean")
            p = given[1].astype(np.float64)
            columns = q(np.ascontiguousarray(x.T), "activations").astype(np.float64)
            taken = q(np.ascontiguousarray(given[1].T), "activations").astype(np.float64)
            return taken @ columns.T / p.sum(0)[:, None]
    raise AssertionError(f"every op has a value, {type(node).__name__} too")


def beyond(name: str, index: Array, rows: int) -> list[str]:
    """A problem if some index is below 0 or not below `rows`."""
    wrong = index[(index < 0) | (index >= rows)]
    return [f"{name}: index {int(wrong.flat[0])} is beyond the {rows:,} rows; give indices below"] if wrong.size else []


def within(node: Node, index: Array, rows: int) -> Array:
    """The indices. raises: InputError if one is beyond the rows."""
    problems = beyond(node.name, index, rows)
    if problems:
        raise InputError(*problems)
    return index


def _table(node: Table, index: Array, table: Array) -> Array:
    if not node.function:
        return table[within(node, index, node.rows_of[0])]
    found = np.zeros(node.made.shape, np.float32)
    start = first = 0
    for i, (rows, hot) in enumerate(zip(node.rows_of, node.hot, strict=True)):
        taken = table[first + within(node, index[start : start + hot], rows)]
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
