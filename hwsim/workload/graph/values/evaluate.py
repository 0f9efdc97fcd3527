"""Every tensor of a graph from its inputs and weights, node by node."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.graph.convolution import Conv, Pool
from hwsim.workload.graph.dense import Attention, Interact, Linear, Matmul
from hwsim.workload.graph.elementwise import Activate, Elementwise, Norm, Reduce, Softmax
from hwsim.workload.graph.graph import Graph
from hwsim.workload.graph.layout import Concat, Expand, Pad, Reshape, Resize, Slice, Transpose
from hwsim.workload.graph.node import Node
from hwsim.workload.graph.recurrent import Recurrent
from hwsim.workload.graph.values.functions import (
    ARITHMETIC,
    FUNCTIONS,
    REDUCTIONS,
    Array,
    Quantize,
    norm_of,
    softmax,
)
from hwsim.workload.graph.values.rows import beyond, irregular_of
from hwsim.workload.graph.values.sequences import attention_of, recurrent_of
from hwsim.workload.graph.values.windows import conv_of, pool_of


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
                problems += beyond(given.name, known[given.name], given.tensor.rows)
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
            spread = 1.0 if each.name == "table" else 1 / math.sqrt(each.shape[-1])
            if len(each.shape) > 1:
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
            return conv_of(node, x, weights, q)
        case Pool():
            return pool_of(node, x)
        case Matmul():
            a, b = x, given[1]
            rows = np.swapaxes(a, -1, -2) if node.transpose_a else a
            columns = b if node.transpose_b else np.swapaxes(b, -1, -2)  # [N, K]: the reduction is last
            found = q(np.ascontiguousarray(rows), "activations"), q(np.ascontiguousarray(columns), "activations")
            return np.matmul(found[0], np.swapaxes(found[1], -1, -2))
        case Attention():
            return attention_of(node, given, q)
        case Recurrent():
            return recurrent_of(node, given, weights, q)
        case Norm():
            return norm_of(node, x, weights)
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
            return irregular_of(node, given, weights, q)


def _bias(weights: Mapping[str, Array]) -> Array:
    return weights["bias"] if "bias" in weights else np.zeros((), np.float32)
