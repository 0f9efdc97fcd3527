"""Node: one op of a graph, with three views of it: what it counts, what it lowers to, what value it has."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, Field, WithJsonSchema

from hwsim.files.fields import FilePart
from hwsim.files.yaml import short
from hwsim.workload.graph.tensor import Given, Misfit, Shape, Tensor, batched
from hwsim.workload.op import WEIGHT_CLASSES, Gemm, Op

if TYPE_CHECKING:
    import numpy as np

    #: Rounds an array to a format along its last axis; the text says what it is: weights, activations or vector.
    Quantize = Callable[[np.ndarray, str], np.ndarray]

NAME = r"^[A-Za-z_][A-Za-z0-9_./:-]{0,199}$"
_NETWORK = r"^[a-z0-9][a-z0-9._-]{0,63}$"


def _network(name: str) -> str:
    if not re.search(_NETWORK, name):
        raise ValueError(
            f"`{short(name)}`: write lower-case letters from a to z, digits, . _ - (at most 64), first a letter or "
            "digit; for example name: resnet50"
        )
    return name


NetworkName = Annotated[str, AfterValidator(_network), WithJsonSchema({"type": "string", "pattern": _NETWORK})]
"""The name of a network or of a list of GEMMs."""


class Weight(NamedTuple):
    """A tensor of weights of one node: matrices are [N, K], with the reduction last."""

    name: str
    shape: Shape
    weights: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What one op does for a batch.

    macs: multiply-adds, on whatever unit. weights: elements of its weights. vector: passes besides the multiply-adds.
    inputs, outputs: activation elements. rows: rows read or written at places that only the data tell.
    """

    macs: int = 0
    weights: int = 0
    vector: int = 0
    inputs: int = 0
    outputs: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One op of a graph, its shapes known. Subclasses add what they need to know beyond their tensors.

    given: the tensors that it takes. made: the one that it makes, under the node's own name.
    """

    #: Op kind in tables.
    KIND: ClassVar[str] = ""
    #: Whether it works element by element on its first input, so that it can join the op that makes that input.
    JOINS: ClassVar[bool] = False
    #: Whether it moves no data: what takes its result takes its input.
    FREE: ClassVar[bool] = False

    name: str
    given: tuple[Given, ...]
    made: Tensor

    # -- counts ------------------------------------------------------------------------------------

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Its weights, in the order in which `value` takes them."""
        return ()

    def macs(self, batch: int = 1) -> int:
        """Multiply-adds of a batch."""
        return 0

    def products(self, batch: int = 1) -> tuple[Gemm, ...]:
        """The GEMMs of two tensors of activations that its multiply-adds are."""
        return ()

    def vector(self, batch: int = 1) -> int:
        """Passes of the vector unit of a batch, in addition to multiply-adds."""
        return 0

    def rows(self, batch: int = 1) -> int:
        """Rows that a batch reads or writes at places that only the data tell."""
        return 0

    def inputs(self, batch: int = 1) -> int:
        """Activation elements that a batch reads."""
        return sum(each.tensor.elements(batch) for each in self.given if each.tensor.batched)

    def outputs(self, batch: int = 1) -> int:
        """Activation elements that a batch writes."""
        return self.made.elements(batch)

    def counts(self, batch: int = 1) -> Counts:
        """All of them."""
        return Counts(
            self.macs(batch),
            self.weight_elements,
            self.vector(batch),
            self.inputs(batch),
            self.outputs(batch),
            self.rows(batch),
        )

    @property
    def weight_elements(self) -> int:
        """Elements of all its weights."""
        return sum(Tensor(each.shape).size for each in self.weights)

    # -- lowering ----------------------------------------------------------------------------------

    def op(self, batch: int, layer: int) -> Op:
        """The op of a batch; a node without weights of its own reads its parameters as constants."""
        constants = sum(each.tensor.size for each in self.given if not each.tensor.batched)
        return Op(
            self.name,
            self.KIND,
            layer,
            weights="constant" if constants else "",
            macs=self.macs(batch),
            vector=self.vector(batch),
            params=constants,
            inputs=self.inputs(batch),
            outputs=self.outputs(batch),
            products=self.products(batch),
        )

    # -- value -------------------------------------------------------------------------------------

    def value(
        self, given: Sequence[np.ndarray], weights: Mapping[str, np.ndarray], quantize: Quantize | None = None
    ) -> np.ndarray:
        """The result for one sample: arrays of the shapes in `given`, and weights by name.

        quantize: rounds operands to formats, blocks along the reduction (None: float32 throughout).
        """
        from hwsim.workload.graph.values import value

        return value(self, given, weights, quantize)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""
        return tuple(each.shape for each in self.given)


Activation = Literal[
    "relu", "relu6", "leaky_relu", "elu", "sigmoid", "hard_sigmoid", "tanh", "silu", "hard_swish", "gelu", "softplus",
    "exp", "log", "sqrt", "erf", "abs", "neg", "reciprocal", "floor", "clip",
]  # fmt: skip
NormKind = Literal["batch", "layer", "rms", "instance"]
#: Classes of weights that an op may be given.
WeightClass = Literal["linear", "convolution", "head", "embedding", "attention_qkv", "attention_out", "mlp", "experts"]
assert {*WeightClass.__args__} <= {*WEIGHT_CLASSES}  # type: ignore[attr-defined]

EPSILON = 1e-5


class EntryFile(FilePart):
    """One entry of a graph's list: its name is also that of the tensor that it makes."""

    name: str = Field(pattern=NAME, description="Name of the op and of its result.", examples=["conv1"])
    op: str
    in_: list[str] = Field(
        alias="in", min_length=1, max_length=256, description="Tensors that it takes.", examples=[["image"]]
    )

    #: How many tensors it takes: least and most.
    TAKES: ClassVar[tuple[int, int]] = (1, 1)

    def check_count(self, given: Sequence[Any]) -> None:
        """raises: Misfit if the op takes another number of tensors."""
        least, most = self.TAKES
        if not least <= len(given) <= most:
            wanted = str(least) if least == most else f"{least} or more" if most > 99 else f"{least} to {most}"
            raise Misfit("in", f"names {len(given)} tensors; write {wanted}")


class OpFile(EntryFile):
    """One op of a graph."""

    @abstractmethod
    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """The op as nodes; the last makes its result. raises: Misfit."""


def one_or_list(value: Any) -> str:
    """The tag of a value that is one number or a list of numbers."""
    return "list" if isinstance(value, list) else "one"


def made(shape: Sequence[int], given: Sequence[Given], rows: int = 0) -> Tensor:
    """The tensor that an op makes from what it takes."""
    return Tensor(tuple(shape), rows, batched(given))
