"""Direct cast: a trained model runs in a number format, with nothing retrained and nothing calibrated.

Weights and the other operand of every multiply-add are rounded with blocks along the reduction; results of the vector
unit (norms, functions, sums, biases, depthwise convolutions) are rounded to BF16. That is how the MX and BDR papers
state that a format takes FP32's place (arXiv 2310.10537, section 5; arXiv 2302.08007, section 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwsim.formats import get_format
from hwsim.formats.names import layout
from hwsim.workload.graph.graph import Graph
from hwsim.workload.graph.values import evaluate
from hwsim.workload.op import FIXED_CLASSES

Array = np.ndarray[Any, np.dtype[Any]]

#: Formats of weights alone: activations beside them are BF16.
WEIGHTS_ONLY = ("int4_g128", "seedlm4", "seedlm3")


def weights_only(name: str) -> bool:
    """Whether a format, by name or file, is one of weights alone; of own ones seeds, codebooks, INT4."""
    form = layout(name)
    return form.name in WEIGHTS_ONLY or (bool(form.definition) and (form.kind == "seed" or form.activations == "wide"))


@dataclass(frozen=True)
class Cast:
    """A number format in which models run; "fp32": nothing is rounded. vector: the format of vector results.

    alone: weights are in the format, activations in that of vector results.
    """

    name: str
    vector: str = "bf16"
    alone: bool = False

    @cached_property
    def _weights(self) -> Any:
        return get_format(self.name)

    @cached_property
    def _activations(self) -> Any:
        return self._vector if self.alone or weights_only(self.name) else self._weights

    @cached_property
    def _vector(self) -> Any:
        return get_format(self.vector)

    @property
    def exact(self) -> bool:
        """Whether nothing is rounded."""
        return self.name == "fp32"

    def matrix(self, w: Array) -> Array:
        """A matrix of weights [N, K], rounded."""
        return w if self.exact else _rounded(self._weights, w)

    def quantize(self, x: Array, what: str) -> Array:
        """Round x along its last axis. Weights are rounded once, by `weights`, and pass."""
        if self.exact or what == "weights":
            return x
        return _rounded(self._vector if what == "vector" else self._activations, x)

    def weights(self, graph: Graph, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """All weights of a graph, rounded: matrices to the format; biases, norms and parameters to BF16."""
        if self.exact:
            return dict(arrays)
        found = {name: _rounded(self._vector, a) for name, a in arrays.items()}
        for node in graph.nodes:
            for each in node.weights:
                if each.weights not in FIXED_CLASSES and each.name != "bias":
                    name = f"{node.name}.{each.name}"
                    found[name] = _rounded(self._weights, arrays[name])
        return found


def _rounded(form: Any, x: Array) -> Array:
    rows = np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1] if x.ndim else 1)
    found: Array = form.quantize(rows)
    return found.reshape(x.shape)


@dataclass(frozen=True)
class Running:
    """A graph in a format: its weights are rounded once."""

    graph: Graph
    cast: Cast
    arrays: Mapping[str, Array]

    @cached_property
    def _mine(self) -> dict[str, Array]:
        return self.cast.weights(self.graph, self.arrays)

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Every tensor by name, for one sample."""
        return evaluate(self.graph, inputs, self._mine, None if self.cast.exact else self.cast.quantize)
