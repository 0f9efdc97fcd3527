"""Graph: a network of ops as a workload."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hwsim.errors import InputError
from hwsim.workload.graph.node import Counts, Node
from hwsim.workload.graph.tensor import Given
from hwsim.workload.op import FIXED_CLASSES, Kept, Op, StepOptions, Stored


@dataclass(frozen=True)
class Graph:
    """A network: nodes in order, each taking inputs, parameters and results of earlier nodes.

    file: what it was read from, as plain data. notes: what a reader must know about how it was read.
    """

    name: str
    description: str
    inputs: tuple[Given, ...]
    parameters: tuple[Given, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    published_parameters: float | None = None
    published_macs: float | None = None
    file: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    notes: tuple[str, ...] = ()

    max_context: None = field(default=None, init=False)
    unit: str = field(default="sample", init=False)

    def ops(self, step: StepOptions) -> tuple[Op, ...]:
        """The ops of a batch; what works element by element joins the op whose result it takes.

        raises: InputError for several chips, for a phase that is not that of a graph, and for draft tokens.
        """
        if step.chips > 1:
            raise InputError(f"chips: {self.name} is a graph, which runs on one chip; leave it out")
        if step.phase != "decode":
            raise InputError(f"phase: {self.name} is a graph, which has no {step.phase}; leave it out")
        if step.new != 1:
            raise InputError(f"new: {self.name} is a graph, which has no tokens; leave it out")
        return self._lowered(step.batch)

    def stored(self, step: StepOptions) -> tuple[Stored, ...]:
        """Every weight, by class and layer."""
        rows = [
            Stored(each.weights, layer, _size(each.shape))
            for node, layer in zip(self.nodes, self.layers, strict=True)
            for each in node.weights
        ]
        return (*rows, *(Stored("constant", -1, each.tensor.size) for each in self.parameters))

    def kept(self, step: StepOptions) -> tuple[Kept, ...]:
        """Nothing."""
        return ()

    def config(self) -> dict[str, Any]:
        """The layout of its file; `load_model_text` can read it."""
        return self.file

    # -- counts ------------------------------------------------------------------------------------

    def counts(self, batch: int = 1) -> Counts:
        """Sums over the nodes that move or compute something."""
        each = [node.counts(batch) for node in self.nodes if not node.FREE]
        return Counts(*(sum(getattr(one, name) for one in each) for name in Counts.__dataclass_fields__))

    @property
    def total(self) -> int:
        """All weights."""
        parameters = sum(each.tensor.size for each in self.parameters)
        return parameters + sum(node.weight_elements for node in self.nodes)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """By node: the number of the layer, which begins with each node whose weights have a format (before: -1)."""
        layer, found = -1, []
        for node in self.nodes:
            layer += any(each.weights not in FIXED_CLASSES or each.weights == "depthwise" for each in node.weights)
            found.append(layer)
        return tuple(found)

    # -- lowering ----------------------------------------------------------------------------------

    def _lowered(self, batch: int) -> tuple[Op, ...]:
        """Ops in order, nodes that move nothing left out and nodes that can join joined."""
        sources = {node.name: node.given[0].name for node in self.nodes if node.FREE}

        def source(name: str) -> str:
            while name in sources:
                name = sources[name]
            return name

        uses: dict[str, int] = {}
        for name in (*(g.name for node in self.nodes if not node.FREE for g in node.given), *self.outputs):
            uses[source(name)] = uses.get(source(name), 0) + 1
        ops: list[Op] = []
        maker: dict[str, int] = {}
        for node, layer in zip(self.nodes, self.layers, strict=True):
            if node.FREE:
                continue
            op = node.op(batch, layer)
            host, last = -1, None
            if node.JOINS:
                host, last = max(((maker.get(source(g.name), -1), g) for g in node.given), key=lambda found: found[0])
            fits = last is not None and host >= 0 and uses[source(last.name)] == 1 and ops[host].outputs == op.outputs
            if last is not None and fits and not (op.params and ops[host].kind == "embedding"):
                ops[host] = joined(ops[host], op, last.tensor.elements(batch))
                maker[node.name] = host
            else:
                maker[node.name] = len(ops)
                ops.append(op)
        return tuple(ops)


def joined(host: Op, guest: Op, passed: int) -> Op:
    """Both as one op: `passed` elements go from one to the other and nowhere else."""
    return replace(
        host,
        weights=host.weights or guest.weights,
        vector=host.vector + guest.vector,
        params=host.params + guest.params,
        inputs=host.inputs + guest.inputs - passed,
        others=host.others + guest.inputs - passed if host.gemms else 0,
        outputs=guest.outputs,
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
