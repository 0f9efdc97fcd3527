"""The graph in the making: which ONNX tensors are known, and the ops of the graph file that make them.

ONNX's tensors have a batch axis and ours have none: a tensor whose first axis has one element loses that axis (`bare`).
Every helper keeps to this rule, so the shape of an ONNX tensor alone says the shape of ours; a `reshape`, which moves
nothing, stands where an op leaves another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hwsim.workload.graph.onnx.constant import Array, Constant
from hwsim.workload.graph.schema import ENTERS
from hwsim.workload.graph.tensor import Shape


class Unsupported(Exception):
    """A node that has no counterpart among the ops of a graph; the message says why."""


class Skip(Exception):
    """A node whose inputs failed already."""


def bare(shape: Sequence[int]) -> Shape:
    """The shape without a first axis of one element; a graph's tensor has at least one axis."""
    return tuple(shape[1:]) if len(shape) > 1 and shape[0] == 1 else tuple(shape) or (1,)


@dataclass(frozen=True)
class Call:
    """One node of an ONNX graph. number: its place in the file, from 0. version: of the operator set."""

    node: Any
    number: str
    version: int

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Attributes by name; texts as str."""
        from onnx import helper

        found = {each.name: helper.get_attribute_value(each) for each in self.node.attribute}
        return {name: each.decode() if isinstance(each, bytes) else each for name, each in found.items()}

    @property
    def kind(self) -> str:
        """The operator."""
        return str(self.node.op_type)

    def has(self, i: int) -> bool:
        """Whether there is an input `i`."""
        return len(self.node.input) > i and bool(self.node.input[i])

    def input(self, i: int) -> str:
        """Name of an input. raises: Unsupported."""
        if not self.has(i):
            raise Unsupported(f"has no input {i}")
        return str(self.node.input[i])

    def made(self, i: int) -> str:
        """Name of an output, or ""."""
        return str(self.node.output[i]) if len(self.node.output) > i else ""


@dataclass
class Building:
    """What is known of an ONNX graph so far, and the ops of the graph file.

    shapes, kinds: of ONNX tensors. constants: those that no input changes. names: ONNX tensor -> tensor of the graph
    (None: its node failed). made: shapes of the graph's tensors. arrays: functions that give the weights, by name.
    taken: names of ONNX tensors that some node takes, or that are results.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    names: dict[str, str | None] = field(default_factory=dict)
    made: dict[str, Shape] = field(default_factory=dict)
    inputs: dict[str, Shape] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, Shape] = field(default_factory=dict)
    ops: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, Callable[[], Array]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    _shaped: dict[str, str] = field(default_factory=dict)
    _params: dict[str, str] = field(default_factory=dict)
    _used: dict[str, int] = field(default_factory=lambda: {ENTERS: 1})

    # -- what there is -----------------------------------------------------------------------------

    def shape(self, name: str) -> Shape:
        """Shape of an ONNX tensor, all axes. raises: Skip."""
        if name not in self.shapes:
            raise Skip
        return self.shapes[name]

    def constant(self, call: Call, i: int, what: str) -> Constant:
        """An input that must be a constant. raises: Unsupported naming it."""
        name = call.input(i)
        if name not in self.constants:
            if name in self.names and self.names[name] is None:
                raise Skip
            hint = "; if an input of one whole number decides it, write --size NAME=N" if what == "condition" else ""
            raise Unsupported(f"its {what} is computed from the inputs{hint}")
        return self.constants[name]

    def optional(self, call: Call, i: int, what: str) -> list[int] | None:
        """Whole numbers of an input that may be left out. raises: Unsupported."""
        return self.constant(call, i, what).numbers() if call.has(i) else None

    def given(self, name: str) -> str:
        """The graph's tensor of an ONNX tensor; a constant becomes a parameter. raises: Skip."""
        if name in self.constants:
            return self.parameter(name)
        found = self.names.get(name)
        if found is None:
            raise Skip
        return found

    def parameter(self, name: str) -> str:
        """A constant as a parameter of the graph, once."""
        if name not in self._params:
            constant = self.constants[name]
            mine = self._params[name] = self.unique(name)
            shape = self.parameters[mine] = self.made[mine] = bare(constant.shape)
            self.arrays[mine] = lambda: constant.array.reshape(shape)
        return self._params[name]

    def scalar(self, name: str) -> float | None:
        """The number that a constant of one element holds; None for other tensors."""
        constant = self.constants.get(name)
        if constant is None or constant.size != 1:
            return None
        number = float(constant.array.reshape(-1)[0])
        return number if abs(number) < float("inf") else None

    # -- what is made ------------------------------------------------------------------------------

    def unique(self, text: str) -> str:
        """A name of the graph that resembles a text."""
        name = re.sub(r"[^A-Za-z0-9_./:-]+", "_", text).strip("/._:-")[:150] or "t"
        name = name if name[0].isalpha() or name[0] == "_" else f"t{name}"
        n = self._used[name] = self._used.get(name, 0) + 1
        return name if n == 1 else self.unique(f"{name}.{n}")

    def emit(self, call: Call, op: str, given: Sequence[str], shape: Sequence[int], /, **fields: Any) -> str:
        """Add an op that makes a tensor of this shape; its name."""
        name = self.unique(call.node.name or call.made(0))
        self.ops.append({"name": name, "op": op, "in": list(given)} | fields)
        self.made[name] = tuple(shape)
        return name

    def shaped(self, call: Call, name: str, shape: Sequence[int]) -> str:
        """A tensor in another shape."""
        if self.made[name] == tuple(shape):
            return name
        name = self._shaped.get(name, name)  # a change of shape of a change of shape is one
        if self.made[name] == tuple(shape):
            return name
        found = self.emit(call, "reshape", [name], shape, shape=list(shape))
        self._shaped[found] = name
        return found

    def whole(self, call: Call, tensor: str) -> str:
        """An ONNX tensor with all its axes."""
        return self.shaped(call, self.given(tensor), self.shape(tensor) or (1,))

    def finish(self, call: Call, name: str, output: int = 0) -> None:
        """The tensor of an output, in the shape that it has to have."""
        tensor = call.made(output)
        self.names[tensor] = self.shaped(call, name, bare(self.shape(tensor)))

    def indexed(self, call: Call, tensor: str, rows: int) -> None:
        """Take a tensor as indices below `rows`: the input that it comes from holds them. raises: Unsupported."""
        makers = {op["name"]: op for op in self.ops}
        waiting = [self.given(tensor)]
        while waiting:
            name = waiting.pop()
            if name in self.inputs:
                self.rows[name] = min(rows, self.rows.get(name, rows))
            elif name in makers and makers[name]["op"] in ("reshape", "transpose", "concat", "slice", "expand"):
                waiting += makers[name]["in"]
            elif name not in makers or not (makers[name]["op"] == "topk" or makers[name].get("function") == "argmax"):
                raise Unsupported("its indices are computed from the inputs")

    def sole(self, call: Call) -> None:
        """raises: Unsupported if an output beside the first is taken."""
        more = [name for name in call.node.output[1:] if name in self.taken]
        if more:
            raise Unsupported(f"its output `{more[0][:60]}` is used; only its first has a counterpart")

    def note(self, text: str) -> None:
        """Something that a reader must know."""
        self.notes[text] = None

    # -- axes --------------------------------------------------------------------------------------

    def lost(self, tensor: str) -> int:
        """How many first axes ours lacks."""
        shape = self.shape(tensor)
        return len(shape) - len(bare(shape)) if shape else 0

    def axis(self, tensor: str, axis: int) -> int:
        """An axis of ours; -1: the one that ours lacks."""
        rank = max(1, len(self.shape(tensor)))
        if not -rank <= axis < rank:
            raise Unsupported(f"has no axis {axis}")
        return axis % rank - self.lost(tensor)
