"""Ops on the vector unit: norms, activations, softmax, arithmetic with broadcasting, reductions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hwsim.workload import vector as passes
from hwsim.workload.graph.node import EPSILON, Activation, Node, NormKind, OpFile, Weight, made
from hwsim.workload.graph.tensor import Given, Misfit, Shape, axis_of, broadcast, shown, values
from hwsim.workload.op import Op

Arithmetic = Literal["add", "sub", "mul", "div", "max", "min", "pow", "equal", "less", "greater", "where"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm(Node):
    """y = (x - mean) / sqrt(variance + epsilon) * gain + shift, over `kind`:

    batch:    the statistics of training, folded into gain and shift; one of each per channel.
    layer:    mean and variance of the last axis (or the channels, where they are first).
    rms:      x / sqrt(mean of squares), times gain.
    instance: mean and variance of each channel over its places.
    axis:     the axis of the channels, counted from 0.
    """

    KIND: ClassVar[str] = "norm"
    JOINS: ClassVar[bool] = True

    kind: str
    axis: int
    epsilon: float

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Gain, and shift except for rms."""
        shape = (self.given[0].shape[self.axis],)
        names = ("gain",) if self.kind == "rms" else ("gain", "shift")
        return tuple(Weight(name, shape, "norm") for name in names)

    def vector(self, batch: int = 1) -> int:
        """Passes per element, as `hwsim.workload.vector` counts them."""
        each = {"batch": passes.SCALE_SHIFT, "rms": passes.RMSNORM}.get(self.kind, passes.LAYERNORM)
        return each * self.outputs(batch)

    def op(self, batch: int, layer: int) -> Op:
        """A norm reads its own weights."""
        n = self.outputs(batch)
        return Op(
            self.name,
            "norm",
            layer,
            "norm",
            params=self.weight_elements,
            vector=self.vector(batch),
            inputs=n,
            outputs=n,
        )


class NormFile(OpFile):
    """A normalization."""

    op: Literal["norm"] = Field(description="Normalization.", examples=["norm"])  # type: ignore[assignment]
    kind: NormKind = Field(description="What is normalized: batch, layer, rms or instance.", examples=["layer"])
    channels: Literal["first", "last"] = Field("last", description="Which axis holds the channels.")
    epsilon: float = Field(EPSILON, ge=0, le=1, description="Added to the variance.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        return [norm(name, given[0], self.kind, self.channels, self.epsilon)]


def norm(name: str, given: Given, kind: str, channels: str, epsilon: float = EPSILON) -> Norm:
    """The norm of one tensor. raises: Misfit."""
    shape = values(given).shape
    axis = 0 if channels == "first" else len(shape) - 1
    return Norm(name=name, given=(given,), made=made(shape, [given]), kind=kind, axis=axis, epsilon=epsilon)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate(Node):
    """A function of each element. alpha: the slope of leaky_relu, the scale of elu. bounds: of clip."""

    KIND: ClassVar[str] = "activation"
    JOINS: ClassVar[bool] = True

    function: str
    alpha: float = 0.01
    bounds: tuple[float, float] = (0.0, 6.0)

    def vector(self, batch: int = 1) -> int:
        """Passes per element, as `hwsim.workload.vector` counts them."""
        return passes.FUNCTION[self.function] * self.outputs(batch)


class ActivationFile(OpFile):
    """An activation function."""

    op: Literal["activation"] = Field(description="A function of each element.", examples=["activation"])  # type: ignore[assignment]
    function: Activation = Field(description="The function.", examples=["relu"])
    alpha: float = Field(0.01, description="Slope below zero of leaky_relu; scale of elu.")
    bounds: Annotated[list[float], Field(min_length=2, max_length=2)] = Field([0.0, 6.0], description="Of clip.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        low, high = self.bounds
        return [activation(name, given[0], self.function, self.alpha, (low, high))]


def activation(
    name: str, given: Given, function: str, alpha: float = 0.01, bounds: tuple[float, float] = (0.0, 6.0)
) -> Activate:
    """The function of one tensor. raises: Misfit."""
    shape = values(given).shape
    return Activate(name=name, given=(given,), made=made(shape, [given]), function=function, alpha=alpha, bounds=bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Node):
    """exp(x - max) / sum along one axis."""

    KIND: ClassVar[str] = "softmax"

    axis: int

    def vector(self, batch: int = 1) -> int:
        """Passes per element."""
        return passes.SOFTMAX * self.outputs(batch)


class SoftmaxFile(OpFile):
    """A softmax."""

    op: Literal["softmax"] = Field(description="Softmax along one axis.", examples=["softmax"])  # type: ignore[assignment]
    axis: int = Field(-1, description="The axis; negative ones count from the end.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        shape = values(given[0]).shape
        axis = axis_of(self.axis, shape)
        return [Softmax(name=name, given=given, made=made(shape, given), axis=axis)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise(Node):
    """A sum, product, ... of tensors of the same shape, sides of 1 stretched; `constant` is one more operand."""

    KIND: ClassVar[str] = "elementwise"
    JOINS: ClassVar[bool] = True

    function: str
    constant: float | None = None

    def vector(self, batch: int = 1) -> int:
        """One pass per element and operand after the first."""
        operands = len(self.given) + (self.constant is not None)
        return max(1, operands - 1) * self.outputs(batch)


class ElementwiseFile(OpFile):
    """Arithmetic on elements."""

    TAKES: ClassVar[tuple[int, int]] = (1, 256)

    op: Literal["elementwise"] = Field(description="Arithmetic on elements.", examples=["elementwise"])  # type: ignore[assignment]
    function: Arithmetic = Field(
        description="What is computed, from left to right. Comparisons give 1 or 0; `where` takes the second operand "
        "where the first is not 0, else the third.",
        examples=["add"],
    )
    constant: float | None = Field(None, description="A number that is the last operand.", examples=[0.5])
    activation: Activation | None = Field(None, description="A function of the result.", examples=["relu"])

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node, and one for the activation."""
        if len(given) == 1 and self.constant is None:
            raise Misfit("in", "names one tensor; write two or more, or a `constant`")
        operands = len(given) + (self.constant is not None)
        if self.function in ("equal", "less", "greater", "where") and operands != 2 + (self.function == "where"):
            raise Misfit("in", f"{self.function} has {operands} operands; write {2 + (self.function == 'where')}")
        shape = broadcast([values(each).shape for each in given])
        constant = None if self.constant is None else float(self.constant)
        node = Elementwise(name=name, given=given, made=made(shape, given), function=self.function, constant=constant)
        return followed(node, self.activation)


def followed(node: Node, function: str | None, kind: str | None = None, channels: str = "last") -> list[Node]:
    """A node, then a norm and an activation function of its result, each where there is one."""
    found = [node]
    if kind:
        found.append(norm(f"{node.name}.norm", Given(node.name, node.made), kind, channels))
    if function:
        found.append(activation(f"{node.name}.{function}", Given(found[-1].name, node.made), function))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce(Node):
    """A sum, mean, maximum or minimum over axes; `arg` gives the index of the maximum in its place."""

    KIND: ClassVar[str] = "reduce"

    function: str
    axes: tuple[int, ...]
    keep: bool

    def vector(self, batch: int = 1) -> int:
        """One pass per element taken, one per element of a mean."""
        return self.inputs(batch) + (self.outputs(batch) if self.function == "mean" else 0)


class ReduceFile(OpFile):
    """A reduction."""

    op: Literal["reduce"] = Field(description="A sum, mean, maximum, ... over axes.", examples=["reduce"])  # type: ignore[assignment]
    function: Literal["sum", "mean", "max", "min", "argmax"] = Field(description="What is computed.", examples=["max"])
    axes: list[int] | None = Field(None, description="The axes; all if left out.", examples=[[0]])
    keep: bool = Field(False, description="Whether the axes stay, with a side of 1.")

    def nodes(self, name: str, given: tuple[Given, ...]) -> list[Node]:
        """One node."""
        shape = values(given[0]).shape
        axes = tuple(sorted({axis_of(axis, shape, "axes") for axis in self.axes or range(len(shape))}))
        if self.function == "argmax" and len(axes) != 1:
            raise Misfit("axes", f"argmax of {shown(shape)} is along one axis; write one")
        result = reduced(shape, axes, self.keep)
        rows = shape[axes[0]] if self.function == "argmax" else 0
        return [
            Reduce(
                name=name,
                given=given,
                made=made(result, given, rows),
                function=self.function,
                axes=axes,
                keep=self.keep,
            )
        ]


def reduced(shape: Shape, axes: tuple[int, ...], keep: bool) -> Shape:
    """The shape without the axes; a tensor of one element has the shape [1]."""
    if keep:
        return tuple(1 if i in axes else side for i, side in enumerate(shape))
    return tuple(side for i, side in enumerate(shape) if i not in axes) or (1,)
