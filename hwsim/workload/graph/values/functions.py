"""Functions of the vector unit: of each element, along an axis, of two tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwsim.workload.graph.elementwise import Activate, Norm

Array = np.ndarray[Any, np.dtype[Any]]
Quantize = Callable[[Array, str], Array]


def softmax(x: Array, axis: int) -> Array:
    """exp(x - max) / sum along an axis."""
    e = np.exp(x - x.max(axis, keepdims=True))
    found: Array = e / e.sum(axis, keepdims=True)
    return found


def norm_of(node: Norm, x: Array, weights: Mapping[str, Array]) -> Array:
    """A tensor normalized along its axis (all axes of an instance but the channels), times its gain."""
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
