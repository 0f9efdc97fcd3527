"""Ops on sequences: attention, and recurrent layers step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hwsim.workload.graph.dense import Attention
from hwsim.workload.graph.recurrent import Recurrent
from hwsim.workload.graph.values.functions import Array, Quantize, softmax


def attention_of(node: Attention, given: Sequence[Array], q: Quantize) -> Array:
    """Queries, keys and values [positions, width] to [positions, width], head by head. q: rounds operands."""
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


def recurrent_of(node: Recurrent, given: Sequence[Array], weights: Mapping[str, Array], q: Quantize) -> Array:
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
